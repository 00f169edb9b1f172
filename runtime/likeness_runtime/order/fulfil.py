"""From orders to results: what the pod and `likeness run` both do, wherever the bytes lie.

    prepare each subject ─► group those that share forward passes ─► tune each group ─► publish each subject

One Personalization is a group of one. torch and diffusers take seconds to import, so nothing here does; only what is
really tuned pays for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from likeness_api.encoder_use import encoder_use
from likeness_api.order import Order, RunOrder, SubjectOrder
from likeness_api.reason import Reason
from likeness_api.result import MESSAGE_CHARACTERS, Result
from likeness_runtime.failure import RunError, attempt
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.latest import write_latest
from likeness_runtime.order.manifest import metric, result_of
from likeness_runtime.order.prepare import LocatedModels, PreparedSubject, groups_of, locate_models, prepare
from likeness_runtime.order.publish import publish

if TYPE_CHECKING:
    from likeness_runtime.order.produce import Product

log = logging.getLogger(__name__)
Prepared = PreparedSubject | Result | RunError


def fulfil(order: Order, context: RunContext) -> Result:
    """Tunes and publishes one subject, all of it or nothing.

    Raises `RunError` with the reason, and `InterruptedRunError` where `context.check` does.
    """
    use = encoder_use(order)
    if not use.used:
        log.warning("%s/%s: %s.", order.subject.namespace, order.subject.name, use.message)
    (outcome,) = _outcomes(order.run, [order.subject], context, group_size=1)
    if isinstance(outcome, RunError):
        raise outcome
    return outcome


def fulfil_together(
    run: RunOrder,
    subjects: list[SubjectOrder],
    context: RunContext,
    group_size: int,
    models: LocatedModels | None = None,
) -> list[Result]:
    """Each subject's result, in their order; at most `group_size` share a forward pass. `models`: the run's, where they
    were located before.

    What is wrong with one subject is in its own result and fails none beside it; what is wrong with the run (its model
    is missing) is in the result of each. All pictures are in memory at once. Raises `InterruptedRunError` where
    `context.check` does; what is published until then stays.
    """
    outcomes = _outcomes(run, subjects, context, group_size=group_size, models=models)
    return [each.as_result() if isinstance(each, RunError) else each for each in outcomes]


def _outcomes(
    run: RunOrder,
    subjects: list[SubjectOrder],
    context: RunContext,
    *,
    group_size: int,
    models: LocatedModels | None = None,
) -> list[Result | RunError]:
    found = (
        (lambda: models) if models is not None else cache(partial(attempt, partial(locate_models, run, context.stores)))
    )

    def located() -> LocatedModels:
        """Asked of the stores once, also where they do not have them."""
        here = found()
        if isinstance(here, RunError):
            raise here
        return here

    orders = [Order(run=run, subject=subject) for subject in subjects]
    prepared = prepare_all(orders, context, located)
    return publish_all(prepared, tune_all(prepared, context, group_size), context)


def prepare_all(orders: list[Order], context: RunContext, located: Callable[[], LocatedModels]) -> list[Prepared]:
    """Each subject with its pictures, or its end: it is published already, or something is wrong with it."""
    return [attempt(partial(prepare, order, context, located)) for order in orders]


def tune_all(prepared: list[Prepared], context: RunContext, group_size: int) -> list[Product | RunError]:
    """The products of those that wait to be tuned, in their order; at most `group_size` share a forward pass."""
    waiting = [each for each in prepared if isinstance(each, PreparedSubject)]
    if not waiting:
        return []
    rows = waiting[0].order.run.rows_per_pass
    size = min(group_size, rows or group_size)  # a pass has a row of each subject at least
    return [outcome for group in groups_of(waiting, size) for outcome in _tuned(group, context)]


def publish_all(
    prepared: list[Prepared], products: list[Product | RunError], context: RunContext
) -> list[Result | RunError]:
    """How each subject ended, in the order of `prepared`."""
    made = iter(products)
    return [
        _published_or_not(each, next(made), context) if isinstance(each, PreparedSubject) else each for each in prepared
    ]


def _tuned(group: list[PreparedSubject], context: RunContext) -> list[Product | RunError]:
    context.check()
    from likeness_runtime.order.produce import produce

    products = attempt(partial(produce, group, context))
    return [products for _ in group] if isinstance(products, RunError) else products


def _published_or_not(subject: PreparedSubject, product: Product | RunError, context: RunContext) -> Result | RunError:
    if isinstance(product, RunError):
        return product
    return attempt(partial(_published, subject, product, context))


def _published(subject: PreparedSubject, product: Product, context: RunContext) -> Result:
    stands = publish(subject.place, product.files, product.manifest, context.stores.sleep)
    write_latest(subject.place, stands.sha256, context.revision)
    seconds = time.monotonic() - subject.started
    message = f"tuned in {subject.order.tuning.steps} steps, {seconds:.1f} s in all"
    if subject.mended:
        message = f"{message}; published again, for {subject.mended}"[:MESSAGE_CHARACTERS]
    result = result_of(stands.manifest, stands.data, subject.place.folder, Reason.TUNED, message)
    return result.model_copy(update={"metrics": [*result.metrics, metric("totalSeconds", seconds)]})
