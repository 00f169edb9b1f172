"""The process of a worker that tunes, `python -m` this module. It loads the model once, takes shards from standard
input one after the other, and says on standard output how far it is. Its supervisor starts it anew when it dies.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import FrameType

from likeness_api.accept import run_order
from likeness_api.batch_order import BatchOrder
from likeness_api.order import ORDER_VARIABLE, Order
from likeness_api.published import batch_home
from likeness_api.shard_report import ShardProgress
from likeness_runtime.batch.batch_folder import BatchFolder
from likeness_runtime.batch.pipeline import pipelined
from likeness_runtime.batch.shard_work import EndingError, ShardWork
from likeness_runtime.batch.template import OrderTemplate
from likeness_runtime.batch.work import SUBJECTS_A_PASS, CircuitBreaker, GroupWork
from likeness_runtime.batch.worker_messages import Failed, InHand, Progressed, Ready, WorkerMessage, WorkOn, line_of
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.prepare import LocatedModels, locate_models
from likeness_runtime.process import prepare_process
from likeness_runtime.storage.stores import Stores

FINISH_SECONDS = 25.0
"""After SIGTERM, for the group in hand."""


class Ending:
    """The wish to end: at once where nothing is in hand, else after the group that is."""

    def __init__(self) -> None:
        self._since: float | None = None

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def wanted(self) -> bool:
        return self._since is not None

    def check(self) -> None:
        """Raises `InterruptedRunError` where the group in hand takes too long."""
        if self._since is not None and time.monotonic() - self._since > FINISH_SECONDS:
            raise InterruptedRunError

    def sleep(self, seconds: float) -> None:
        self.check()
        time.sleep(seconds)
        self.check()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._since = self._since or time.monotonic()


class ShardWorker:
    """Takes shards until standard input ends."""

    def __init__(self, order: BatchOrder, ending: Ending) -> None:
        self._order = order
        self._ending = ending
        spec = order.spec
        stores = Stores(order.storage, ending.sleep)
        self._context = RunContext(stores, lambda _step, _total: ending.check(), ending.check, revision=spec.revision)
        home = batch_home(spec.template.output, order.namespace, order.name)
        self._folder = BatchFolder(stores.of(home), home, spec.revision)
        self._breaker = CircuitBreaker()

    def run(self) -> int:
        """The exit code: 0, or that of what ended it; it has been said then."""
        try:
            spec = self._order.spec
            run = run_order(spec.template.tuning, self._order.profile, self._order.namespace)
            models = locate_models(run, self._context.stores)
            from likeness_runtime.order.produce import load_models

            load_models(run, models, self._context.models)
            say(Ready())
            for line in sys.stdin.buffer:
                self._work(WorkOn.model_validate_json(line), models)
                if self._ending.wanted:
                    break
        except RunError as error:
            failed = error.as_result()
            say(Failed(reason=failed.reason, message=failed.message))
            return int(failed.exit_code)
        except (EndingError, InterruptedRunError):
            pass
        return 0

    def _work(self, wanted: WorkOn, models: LocatedModels) -> None:
        template = OrderTemplate(self._order.namespace, self._order.spec.template, self._order.profile, local=False)
        steps = self._order.spec.passes[wanted.which_pass]

        def group_work(take: Callable[[list[Order]], None]) -> GroupWork:
            def taken(orders: list[Order]) -> None:
                take(orders)
                say(InHand(subjects=len(orders)))

            fulfil = partial(pipelined, context=self._context, models=models, group_size=SUBJECTS_A_PASS, take=taken)
            order = partial(template.order, steps=steps)
            return GroupWork(order, self._breaker, fulfil, lambda: datetime.now(UTC))

        ShardWork(
            self._folder, wanted.which_pass, wanted.shard, group_work, lambda: self._ending.wanted, progressed,
            last_death=wanted.last_death, timed_out=wanted.timed_out,
        ).run()  # fmt: skip


def progressed(progress: ShardProgress) -> None:
    say(Progressed(progress=progress))


def say(message: WorkerMessage) -> None:
    sys.stdout.buffer.write(line_of(message))
    sys.stdout.buffer.flush()


def main() -> int:
    prepare_process()
    ending = Ending()
    ending.listen()
    return ShardWorker(BatchOrder.decode(os.environ[ORDER_VARIABLE]), ending).run()


if __name__ == "__main__":
    sys.exit(main())
