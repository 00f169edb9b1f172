"""The status that a Personalization would get in a cluster, for runs without one."""

from __future__ import annotations

from datetime import datetime

from likeness_api.accept import Refusal, prompt_warning
from likeness_api.encoder_use import encoder_use
from likeness_api.field import Condition, timestamp
from likeness_api.order import Order
from likeness_api.outcome import failed, published
from likeness_api.personalization import Failure, PersonalizationStatus
from likeness_api.reason import Reason
from likeness_api.result import Result


def status_of(
    order: Order | Refusal, result: Result | Refusal, started: datetime, ended: datetime
) -> PersonalizationStatus:
    """What the operator would write. A refused order is its own result."""
    status = PersonalizationStatus(
        start_time=timestamp(started),
        completion_time=timestamp(ended),
        conditions=conditions_of(order, result, timestamp(ended)),
    )
    if isinstance(result, Refusal):
        return status.model_copy(update={"failure": Failure(reason=result.reason, message=result.message)})
    return published(status, result) if result.manifest else failed(status, result, attempt=1)


def conditions_of(order: Order | Refusal, result: Result | Refusal, time: str) -> list[Condition]:
    """The terminal one first: it is the state."""

    def condition(kind: str, value: bool, reason: str, message: str) -> Condition:
        return Condition(
            type=kind,
            status="True" if value else "False",
            reason=reason,
            message=message,
            last_transition_time=time,
        )

    succeeded = isinstance(result, Result) and result.manifest is not None
    conditions = [condition("Succeeded" if succeeded else "Failed", True, result.reason, result.message)]
    if isinstance(order, Refusal):
        return [*conditions, condition("Accepted", False, order.reason, order.message)]
    conditions.append(condition("Accepted", True, Reason.PROFILE_MATCHED, f"with model {order.run.model.uri}"))
    use = encoder_use(order)
    conditions.append(condition("EncoderUsed", use.used, use.reason, use.message))
    warning = prompt_warning(order)
    return [*conditions, condition("TokenInPrompts", False, Reason.TOKEN_MISSING, warning)] if warning else conditions
