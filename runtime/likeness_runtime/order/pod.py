"""`likeness tune`, `likeness erase`: what pods run. Order in by environment, Result out by termination message."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from likeness_api.order import ORDER_VARIABLE, EraseOrder, Order
from likeness_api.reason import Reason
from likeness_api.result import TERMINATION_MESSAGE_PATH, Result
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.reporter import reporter_from_environment
from likeness_runtime.order.stop import Stop

LOGGED_SHARES = 4
"""Progress is logged so many times in a run, however many steps it has."""

log = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    add_work(subparsers, "tune", _tune, "tune a subject (the pod's command)")
    add_work(subparsers, "erase", _erase, "erase what was published for a subject")


def add_work(subparsers: Any, name: str, work: Callable[[str, Stop], Result], what: str) -> None:
    """A command of a pod's, whose order comes by environment and whose result goes by termination message."""
    parser = subparsers.add_parser(name, help=f"{what}; the order is in ${ORDER_VARIABLE}")
    parser.add_argument(
        "--termination-log",
        type=Path,
        default=Path(TERMINATION_MESSAGE_PATH),
        help="where the result goes (default: %(default)s)",
    )
    parser.set_defaults(handler=handle, work=work)


def handle(arguments: argparse.Namespace) -> int:
    stop = Stop()
    stop.listen()
    try:
        result = arguments.work(_text(), stop)
    except RunError as failed:
        result = failed.as_result()
    except InterruptedRunError:
        result = Result(reason=Reason.INTERRUPTED, message="the pod was told to end before it was done")
    stop.ignore()
    log.info("Ended with %s: %s.", result.reason, result.message.rstrip("."))
    write_result(result, arguments.termination_log)
    return int(result.exit_code)


def write_result(result: Result, path: Path) -> None:
    """Writes the result for the kubelet; a run by hand has it in its log."""
    try:
        path.write_bytes(result.encode())
    except OSError as error:
        log.warning("The result could not be written to %s: %s.", path, error.strerror)


def _text() -> str:
    text = os.environ.get(ORDER_VARIABLE)
    if text is None:
        raise RunError(Reason.BAD_ORDER, f"${ORDER_VARIABLE} is not set; expected an order as JSON")
    return text


def _erase(text: str, stop: Stop) -> Result:
    try:
        order = EraseOrder.decode(text)
    except ValueError as error:
        raise RunError(Reason.BAD_ORDER, str(error)) from None
    log.info("Accepted to erase %s/%s below %s.", order.namespace, order.name, order.output)

    from likeness_runtime.order.erase import erase_artifacts
    from likeness_runtime.storage.stores import Stores

    return erase_artifacts(order, Stores(order.storage, stop.sleep), stop.check)


def _tune(text: str, stop: Stop) -> Result:
    try:
        order = Order.decode(text)
    except ValueError as error:
        raise RunError(Reason.BAD_ORDER, str(error)) from None
    subject, steps = order.subject, order.tuning.steps
    log.info("Accepted %s/%s: %d pictures, %d steps.", subject.namespace, subject.name, len(subject.images), steps)

    from likeness_runtime.order.context import RunContext
    from likeness_runtime.order.fulfil import fulfil
    from likeness_runtime.storage.stores import Stores

    reporter = reporter_from_environment(subject.name)

    def progress(step: int, total: int) -> None:
        stop.check()
        if reporter is not None:
            reporter.report(step, total)
        if step == total or step % max(1, total // LOGGED_SHARES) == 0:
            log.info("Tuned %d of %d steps.", step, total)

    return fulfil(order, RunContext(Stores(order.run.storage, stop.sleep), progress, stop.check))
