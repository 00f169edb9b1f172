"""A whole batch in this process: plan, work, collect, report. Stopped and started again, it goes on where it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from likeness_api.accept import run_order
from likeness_api.field import Condition, timestamp
from likeness_api.personalization_batch import JUDGED_FROM, Counts, PersonalizationBatchSpec, PersonalizationBatchStatus
from likeness_api.published import batch_home
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.batch.batch_folder import (
    REPORT_NAME,
    RESULTS_NAME,
    BatchFolder,
    segment_name,
    shard_name,
)
from likeness_runtime.batch.collect import Tally, collect
from likeness_runtime.batch.erase import erase_removed
from likeness_runtime.batch.next_pass import plan_next_pass, read_plan
from likeness_runtime.batch.plan import BatchPlan, PlannedSubject
from likeness_runtime.batch.read_source import SourceReader
from likeness_runtime.batch.report import ReportFacts, write_report
from likeness_runtime.batch.result_line import Outcome, ResultLine, read_lines
from likeness_runtime.batch.template import OrderTemplate
from likeness_runtime.batch.work import (
    SUBJECTS_A_PASS,
    CircuitBreaker,
    GroupWork,
    in_groups,
    may_pass,
    one_after_the_other,
)
from likeness_runtime.failure import RunError
from likeness_runtime.local.documents import absolute
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.prepare import LocatedModels, locate_models
from likeness_runtime.storage.local import path_of


@dataclass(frozen=True)
class LocalBatch:
    """One batch on this machine."""

    name: str
    namespace: str
    spec: PersonalizationBatchSpec
    profile: TuningProfileSpec
    context: RunContext

    def run(self) -> tuple[PersonalizationBatchStatus, int]:
        """The status that the batch ends with, and the exit code.

        Raises `InterruptedRunError` where `context.check` does: what is published until then is written down, and the
        same call goes on from there.
        """
        started = datetime.now(UTC)
        try:
            return self._run(started)
        except RunError as error:
            end = _condition("Failed", error.reason, error.message)
            return PersonalizationBatchStatus(revision=self.spec.revision, conditions=[end]), int(
                EXIT_CODE_OF[error.reason]
            )

    def _run(self, started: datetime) -> tuple[PersonalizationBatchStatus, int]:
        models = self._models()
        orders = OrderTemplate(self.namespace, self.spec.template, self.profile, local=True)
        home = batch_home(self.spec.template.output, self.namespace, self.name)
        folder = BatchFolder(self.context.stores.of(home), home, self.spec.revision)
        with tempfile.TemporaryDirectory(prefix="likeness-batch-") as scratch:
            reader = SourceReader(self.spec, orders, models, self.context.stores, self._absolute())
            plan = reader.plan(folder, Path(scratch))
            if self.spec.mode == "Plan" or self.spec.suspend:
                return self._planned(plan), int(ExitCode.DONE)
            worker = _Worker(self.spec, orders, models, self.context, plan, folder, Path(scratch))
            worker.work(f"{self.namespace}/{self.name}")
            if self.spec.deletion_policy == "Delete" and plan.removed:
                removed = Path(scratch) / "removed"
                folder.download("removed.jsonl", removed)
                output = self.spec.template.output
                erase_removed(removed, output, self.namespace, self.context.stores, self.context.check)
            plans = [read_plan(folder, number) for number in range(len(self.spec.passes))]
            tally, results = collect(plans, folder, self.spec.passes, Path(scratch))
            self._report(folder, plan, tally, results, started)
        return self._finished(folder, plan, tally, started)

    def _absolute(self) -> Callable[[Any], Any]:
        """In a manifest on this machine, file://./x means "from the manifest's folder"."""
        manifest = self.spec.source.manifest or ""
        if not manifest.startswith("file://"):
            return lambda document: document
        return partial(absolute, folder=path_of(manifest).parent)

    def _models(self) -> LocatedModels:
        run = run_order(self.spec.template.tuning, self.profile, self.namespace, local=True)
        return locate_models(run, self.context.stores)

    def _report(self, folder: BatchFolder, plan: BatchPlan, tally: Tally, results: Path, started: datetime) -> None:
        seconds = (datetime.now(UTC) - started).total_seconds()
        title = f"{self.namespace}/{self.name}"
        facts = ReportFacts(title, self.spec.revision, tally.counts(plan.lines), tally.failures(), seconds)
        write_report(folder, facts, results)

    def _planned(self, plan: BatchPlan) -> PersonalizationBatchStatus:
        counts = Counts(total=plan.lines, skipped=plan.skipped, failed=plan.quarantined, pending=plan.subjects)
        conditions = [_condition("Planned", Reason.FINISHED, plan.summary)]
        if self.spec.suspend:
            conditions.insert(0, _condition("Suspended", Reason.SUSPENDED, "spec.suspend is true"))
        return PersonalizationBatchStatus(revision=self.spec.revision, conditions=conditions, counts=counts)

    def _finished(
        self, folder: BatchFolder, plan: BatchPlan, tally: Tally, started: datetime
    ) -> tuple[PersonalizationBatchStatus, int]:
        counts, ended = tally.counts(plan.lines), datetime.now(UTC)
        hours = (ended - started).total_seconds() / 3600
        failed = too_many_failed(counts.failed, counts.total, self.spec.max_failed_percent)
        message = f"{counts.succeeded} tuned, {counts.skipped} unchanged, {counts.failed} failed of {counts.total}"
        end = (
            _condition(
                "Failed", Reason.TOO_MANY_FAILED, f"{message}; spec.maxFailedPercent is {self.spec.max_failed_percent}"
            )
            if failed
            else _condition("Succeeded", Reason.FINISHED, message)
        )
        status = PersonalizationBatchStatus(
            revision=self.spec.revision,
            conditions=[end],
            counts=counts,
            start_time=timestamp(started),
            completion_time=timestamp(ended),
            subjects_per_hour=round(counts.succeeded / hours) if counts.succeeded else None,
            failures=tally.failures(),
            results=folder.address + RESULTS_NAME,
            report=folder.address + REPORT_NAME,
        )
        return status, int(ExitCode.INPUT_WRONG if failed else ExitCode.DONE)


@dataclass
class _Worker:
    """Goes through the shards that are not done, pass by pass."""

    spec: PersonalizationBatchSpec
    orders: OrderTemplate
    models: LocatedModels
    context: RunContext
    plan: BatchPlan
    folder: BatchFolder
    scratch: Path
    done: int = 0
    failed: int = 0

    def work(self, title: str) -> None:
        """Raises `RunError` by the circuit breaker or where too many failed, and whatever `context.check` does."""
        breaker = CircuitBreaker()
        self.failed = self.plan.quarantined
        with tqdm(total=self.plan.subjects * len(self.spec.passes), desc=title, unit="subject") as bar:
            for which, steps in enumerate(self.spec.passes):
                for index in range(len(self._plan_of(which).shards)):
                    for lines in self._shard(which, index, steps, breaker):
                        self._saw(lines, last=which == len(self.spec.passes) - 1)
                        bar.update(len(lines))
                        bar.set_postfix(failed=self.failed, refresh=False)

    def _plan_of(self, which: int) -> BatchPlan:
        if which == 0:
            return self.plan
        return plan_next_pass(self.folder, which, self.spec.workers.max, self.scratch)

    def _shard(self, which: int, index: int, steps: int, breaker: CircuitBreaker) -> Iterator[list[ResultLine]]:
        """The lines of a shard: first those of an earlier call, then each group's as it is published."""
        kept = [line for line in read_lines(self.folder.read(segment_name(which, index))) if not may_pass(line)]
        known = {line.line for line in kept}
        yield kept
        todo = [each for each in self._planned(which, index) if each.number not in known]
        if not todo:
            return
        fulfil = partial(one_after_the_other, context=self.context, models=self.models)
        work = GroupWork(partial(self.orders.order, steps=steps), breaker, fulfil, lambda: datetime.now(UTC))
        try:
            for lines in work.through(in_groups(todo, SUBJECTS_A_PASS)):
                kept += lines
                yield lines
        finally:
            kept.sort(key=lambda line: line.line)
            self.folder.write(segment_name(which, index), b"".join(line.encode() for line in kept))

    def _planned(self, which: int, index: int) -> list[PlannedSubject]:
        data = self.folder.read(shard_name(which, index))
        if data is None:
            missing = (
                f"{self.folder.address}{shard_name(which, index)} is gone; raise spec.revision to have it planned again"
            )
            raise RunError(Reason.SOURCE_NOT_FOUND, missing)
        return [PlannedSubject.decode(line) for line in data.splitlines()]

    def _saw(self, lines: list[ResultLine], *, last: bool) -> None:
        failed = sum(line.outcome is Outcome.FAILED for line in lines)
        self.failed += failed
        self.done += len(lines) if last else failed
        if self.done >= JUDGED_FROM and too_many_failed(
            self.failed, self.done + self.plan.quarantined, self.spec.max_failed_percent
        ):
            raise RunError(
                Reason.TOO_MANY_FAILED,
                f"{self.failed} of the first {self.done + self.plan.quarantined} failed; spec.maxFailedPercent is"
                f" {self.spec.max_failed_percent}: see {self.folder.address}segments/, mend the source and raise"
                " spec.revision",
            )


def too_many_failed(failed: int, done: int, percent: int) -> bool:
    return 100 * failed > percent * done


def _condition(kind: str, reason: Reason, message: str) -> Condition:
    return Condition(
        type=kind,
        status="True",
        reason=reason,
        message=message[:2048],
        last_transition_time=timestamp(datetime.now(UTC)),
    )
