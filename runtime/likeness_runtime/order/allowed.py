"""The second look at a profile's prefixes, in the pod; the operator had the first when it accepted."""

from __future__ import annotations

from likeness_api.batch_order import BatchOrder
from likeness_api.order import EraseOrder, Order, OrderStorage
from likeness_api.reason import Reason
from likeness_api.tuning_profile import is_allowed
from likeness_runtime.failure import RunError


def check_allowed(order: Order | EraseOrder) -> None:
    """Raises `RunError(BucketNotAllowed)` naming the first address outside of the order's prefixes."""
    if isinstance(order, EraseOrder):
        check_erase_allowed(order.output, order.storage, order.namespace)
        return
    subject, storage = order.subject, order.run.storage
    for index, image in enumerate(subject.images):
        _check(f"images[{index}]", image.uri, storage.source_prefixes, subject.namespace)
    _check("output", subject.output, storage.output_prefixes, subject.namespace)


def check_erase_allowed(output: str, storage: OrderStorage, namespace: str) -> None:
    """The same of the prefix below which something is to be erased."""
    _check("output", output, storage.output_prefixes, namespace)


def check_batch_allowed(order: BatchOrder) -> None:
    """The same of a batch's own addresses; those of its subjects are checked one by one."""
    source, storage = order.spec.source, order.storage
    field = "source.manifest" if source.manifest is not None else "source.prefix"
    _check(field, source.manifest or source.prefix or "", storage.source_prefixes, order.namespace)
    _check("template.output", order.spec.template.output, storage.output_prefixes, order.namespace)


def _check(field: str, uri: str, prefixes: list[str], namespace: str) -> None:
    if not is_allowed(uri, prefixes, namespace):
        expected = ", ".join(prefixes) or "nothing"
        raise RunError(Reason.BUCKET_NOT_ALLOWED, f"order.{field} is {uri}; this run may use {expected}")
