"""`likeness plan`, `likeness work`, `likeness collect`: what the pods of a PersonalizationBatch run. The order comes by
environment, a BatchResult goes by termination message.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from likeness_api.accept import run_order
from likeness_api.batch_order import BatchOrder
from likeness_api.batch_result import BatchResult
from likeness_api.order import ORDER_VARIABLE, BatchEraseOrder
from likeness_api.progress_report import PROGRESS_TOKEN_FOLDER
from likeness_api.published import batch_home
from likeness_api.reason import EXIT_CODE_OF, Reason
from likeness_api.result import TERMINATION_MESSAGE_PATH, Result
from likeness_api.shard_ranges import encode_ranges
from likeness_api.shard_report import SHARDS_URL_VARIABLE
from likeness_runtime.batch.batch_folder import PLAN_NAME, BatchFolder, plan_name
from likeness_runtime.batch.claims import Claims
from likeness_runtime.batch.collect import Tally, collect, missing_shards
from likeness_runtime.batch.erase import erase_batch, erase_removed
from likeness_runtime.batch.next_pass import plan_next_pass, read_plan
from likeness_runtime.batch.pilot import seconds_of_a_subject
from likeness_runtime.batch.plan import BatchPlan
from likeness_runtime.batch.read_source import SourceReader
from likeness_runtime.batch.report import ReportFacts, write_report
from likeness_runtime.batch.result_line import ResultLine, read_lines
from likeness_runtime.batch.shard_work import samples_of
from likeness_runtime.batch.supervisor import Supervisor
from likeness_runtime.batch.template import OrderTemplate
from likeness_runtime.batch.worker_process import WorkerProcess
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.allowed import check_batch_allowed
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.pod import add_work
from likeness_runtime.order.prepare import locate_models
from likeness_runtime.order.stop import Stop
from likeness_runtime.storage.stores import Stores

WORKER = (sys.executable, "-m", "likeness_runtime.batch.worker")

log = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    commands = (
        ("plan", make_plan, "read a catalogue's source and write down what there is to do (a batch's first pod)"),
        ("work", work_on_shards, "work on a catalogue's shards as the operator hands them out (a batch's workers)"),
        ("collect", collect_results, "write a catalogue's results and report (a batch's last pod)"),
    )
    for name, task, what in commands:
        parser = subparsers.add_parser(name, help=f"{what}; the order is in ${ORDER_VARIABLE}")
        parser.add_argument(
            "--termination-log",
            type=Path,
            default=Path(TERMINATION_MESSAGE_PATH),
            help="where the result goes (default: %(default)s)",
        )
        if name == "plan":
            parser.add_argument("--pilot", action="store_true", help="tune a few to see how long it takes, too")
        if name == "collect":
            parser.add_argument("--unfinished", action="store_true", help="collect though not all shards are done")
        parser.set_defaults(handler=handle, task=task)
    add_work(subparsers, "erase-batch", erase_all, "erase what was published for a catalogue's subjects")


def handle(arguments: argparse.Namespace) -> int:
    try:
        result: BatchResult = arguments.task(_order(), arguments)
    except RunError as error:
        failed = error.as_result()
        result = BatchResult(reason=failed.reason, message=failed.message)
    except InterruptedRunError:
        result = BatchResult(reason=Reason.INTERRUPTED, message="the pod was told to end before it was done")
    log.info("Ended with %s: %s.", result.reason, result.message.rstrip("."))
    try:
        arguments.termination_log.write_bytes(result.encode())
    except OSError as error:
        log.warning("The result could not be written to %s: %s.", arguments.termination_log, error.strerror)
    return int(EXIT_CODE_OF[result.reason])


def make_plan(order: BatchOrder, arguments: argparse.Namespace) -> BatchResult:
    """Raises `RunError` and `InterruptedRunError`."""
    stores, folder, stop = _books(order)
    with tempfile.TemporaryDirectory(prefix="likeness-plan-") as scratch:
        if order.pass_index:
            most = order.spec.workers.max
            return _planned(plan_next_pass(folder, order.pass_index, most, Path(scratch)), [])
        run = run_order(order.spec.template.tuning, order.profile, order.namespace)
        models = locate_models(run, stores)
        template = OrderTemplate(order.namespace, order.spec.template, order.profile, local=False)
        reader = SourceReader(order.spec, template, models, stores, lambda document: document)
        made = reader.plan(folder, Path(scratch))
        planned = _planned(made, list(read_lines(folder.read("quarantined.jsonl"))))
    if not (arguments.pilot and made.subjects):
        return planned
    context = RunContext(stores, lambda _step, _total: stop.check(), stop.check)
    seconds = seconds_of_a_subject(order, folder, made, models, context)
    return planned.model_copy(update={"seconds_each": seconds and round(seconds, 3)})


def work_on_shards(order: BatchOrder, _arguments: argparse.Namespace) -> BatchResult:
    """Never raises: what tunes is another process."""
    url = os.environ.get(SHARDS_URL_VARIABLE)
    if url is None:
        raise RunError(Reason.BAD_ORDER, f"${SHARDS_URL_VARIABLE} is not set; expected the operator's address")
    claims = Claims(url, Path(PROGRESS_TOKEN_FOLDER) / "token")
    supervisor = Supervisor(order, lambda: WorkerProcess(WORKER), claims.report, _told_to_end())
    return supervisor.run()


def erase_all(text: str, stop: Stop) -> Result:
    """Raises `RunError` and `InterruptedRunError`."""
    try:
        order = BatchEraseOrder.decode(text)
    except ValueError as error:
        raise RunError(Reason.BAD_ORDER, str(error)) from None
    return erase_batch(order, Stores(order.storage, stop.sleep), stop.check)


def collect_results(order: BatchOrder, arguments: argparse.Namespace) -> BatchResult:
    """Raises `RunError` and `InterruptedRunError`."""
    stores, folder, stop = _books(order)
    steps = [each for number, each in enumerate(order.spec.passes) if folder.read(plan_name(number)) is not None]
    plans = [read_plan(folder, number) for number in range(len(steps))]
    if not plans:
        raise RunError(Reason.SOURCE_NOT_FOUND, f"{folder.address}{PLAN_NAME} is gone; raise spec.revision")
    missing = missing_shards(plans[-1], folder, len(plans) - 1)
    if missing and not arguments.unfinished:
        text = f"{len(missing)} shards of {len(plans[-1].shards)} have no whole segment"
        return BatchResult(reason=Reason.COLLECTED, message=text, missing=encode_ranges(missing))
    with tempfile.TemporaryDirectory(prefix="likeness-collect-") as scratch:
        if order.spec.deletion_policy == "Delete" and plans[0].removed:
            removed = Path(scratch) / "removed"
            folder.download("removed.jsonl", removed)
            output = order.spec.template.output
            erased = erase_removed(removed, output, order.namespace, stores, stop.check)
            log.info("Erased what was published for %d removed subjects.", erased)
        tally, results = collect(plans, folder, steps, Path(scratch))
        _write_report(order, folder, plans[0], tally, results)
    counts = tally.counts(plans[0].lines)
    return BatchResult(
        reason=Reason.COLLECTED,
        message=f"{counts.succeeded} tuned, {counts.skipped} unchanged, {counts.failed} failed of {counts.total}",
        lines=counts.total,
        succeeded=counts.succeeded,
        skipped=counts.skipped,
        failed=counts.failed,
        removed=plans[0].removed,
        shards=len(plans[-1].shards),
        failures=tally.failures(),
    )


def _order() -> BatchOrder:
    text = os.environ.get(ORDER_VARIABLE)
    if text is None:
        raise RunError(Reason.BAD_ORDER, f"${ORDER_VARIABLE} is not set; expected an order as JSON")
    try:
        order = BatchOrder.decode(text)
    except ValueError as error:
        raise RunError(Reason.BAD_ORDER, str(error)) from None
    check_batch_allowed(order)
    return order


def _books(order: BatchOrder) -> tuple[Stores, BatchFolder, Stop]:
    stop = Stop()
    stop.listen()
    stores = Stores(order.storage, stop.sleep)
    home = batch_home(order.spec.template.output, order.namespace, order.name)
    return stores, BatchFolder(stores.of(home), home, order.spec.revision), stop


def _told_to_end() -> Callable[[], bool]:
    """Whether SIGTERM or SIGINT has come."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(came)


def _planned(made: BatchPlan, quarantined: list[ResultLine]) -> BatchResult:
    return BatchResult(
        reason=Reason.PLANNED,
        message=made.summary,
        lines=made.lines,
        planned=made.subjects,
        skipped=made.skipped,
        failed=made.quarantined,
        removed=made.removed,
        shards=len(made.shards),
        failures=samples_of(quarantined),
    )


def _write_report(order: BatchOrder, folder: BatchFolder, made: BatchPlan, tally: Tally, results: Path) -> None:
    with results.open("rb") as lines:
        ends = [end for line in lines if (end := ResultLine.decode(line).end_time) is not None]
    moments = [datetime.fromisoformat(end) for end in (min(ends, default=None), max(ends, default=None)) if end]
    seconds = (moments[1] - moments[0]).total_seconds() if len(moments) == 2 else 0.0
    facts = ReportFacts(
        f"{order.namespace}/{order.name}", order.spec.revision, tally.counts(made.lines), tally.failures(), seconds
    )
    write_report(folder, facts, results)
