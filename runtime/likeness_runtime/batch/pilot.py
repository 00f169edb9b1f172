"""What a catalogue will take: a few of its subjects are tuned, nothing of it is published."""

from __future__ import annotations

import logging
import statistics
import time

from likeness_api.accept import run_order
from likeness_api.batch_order import BatchOrder
from likeness_api.order import Order
from likeness_runtime.batch.batch_folder import BatchFolder, shard_name
from likeness_runtime.batch.plan import BatchPlan, PlannedSubject
from likeness_runtime.batch.template import OrderTemplate
from likeness_runtime.batch.work import SUBJECTS_A_PASS
from likeness_runtime.failure import RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import prepare_all, tune_all
from likeness_runtime.order.prepare import LocatedModels, PreparedSubject

PILOT_GROUPS = 3
"""That are tuned; the first one alone would count what happens once."""

log = logging.getLogger(__name__)


def seconds_of_a_subject(
    order: BatchOrder, folder: BatchFolder, plan: BatchPlan, models: LocatedModels, context: RunContext
) -> float | None:
    """Seconds that one worker takes for one subject, all passes together; None where no subject could be tuned.

    Raises `RunError` where the model cannot be loaded, and whatever `context.check` does.
    """
    from likeness_runtime.order.produce import load_models

    run = run_order(order.spec.template.tuning, order.profile, order.namespace)
    load_models(run, models, context.models)
    template = OrderTemplate(order.namespace, order.spec.template, order.profile, local=False)
    sample = _sample(folder, plan)
    whole = 0.0
    for steps in order.spec.passes:
        orders = [template.order(each.number, each.subject, steps) for each in sample]
        seconds = _measured([each for each in orders if isinstance(each, Order)], context, models)
        if seconds is None:
            return None
        whole += seconds
    return whole


def _sample(folder: BatchFolder, plan: BatchPlan) -> list[PlannedSubject]:
    """Some from the first shard and some from the last: a source is often sorted."""
    wanted = PILOT_GROUPS * SUBJECTS_A_PASS
    shards = sorted({0, len(plan.shards) - 1}) if plan.shards else []
    lines = [line for shard in shards for line in (folder.read(shard_name(0, shard)) or b"").splitlines()]
    return [PlannedSubject.decode(line) for line in lines[:: max(1, len(lines) // wanted)][:wanted]]


def _measured(orders: list[Order], context: RunContext, models: LocatedModels) -> float | None:
    """The median of the groups' seconds for each subject."""
    taken = []
    for first in range(0, len(orders), SUBJECTS_A_PASS):
        group = prepare_all(orders[first : first + SUBJECTS_A_PASS], context, lambda: models)
        waiting = sum(isinstance(each, PreparedSubject) for each in group)
        began = time.monotonic()
        products = tune_all(group, context, SUBJECTS_A_PASS)
        if waiting and not any(isinstance(each, RunError) for each in products):
            taken.append((time.monotonic() - began) / waiting)
    if not taken:
        log.warning("None of %d subjects could be tuned to see how long it takes.", len(orders))
        return None
    return statistics.median(taken)
