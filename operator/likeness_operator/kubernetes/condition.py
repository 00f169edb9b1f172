"""Conditions as the Kubernetes API conventions want them, in the order that the State column reads."""

from __future__ import annotations

from datetime import datetime

from likeness_api.field import Condition, timestamp

ORDER = (
    "Failed",
    "Succeeded",
    "Suspended",
    "Running",
    "Waiting",
    "Accepted",
    "Planned",
    "OnTrack",
    "EncoderUsed",
    "TokenInPrompts",
    "Erased",
)
"""`kubectl get pz` shows the first true one."""
LONGEST_MESSAGE = 2048


def truncate(text: str) -> str:
    """The text, cut to what the CRD allows for a message; servers and kubelets may be wordy."""
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def condition_of(kind: str, *, value: bool, reason: str, message: str, now: datetime, generation: int) -> Condition:
    """A condition of that type, True or False, as of now and of that `metadata.generation`."""
    return Condition(
        type=kind,
        status="True" if value else "False",
        reason=reason,
        message=message,
        last_transition_time=timestamp(now),
        observed_generation=generation,
    )


def with_condition(conditions: list[Condition], new: Condition) -> list[Condition]:
    """`conditions` with `new` in its place; the transition time is kept where the status did not change.

    One of a type that is not ours, such as a later operator's, is kept behind our own.
    """
    others = [condition for condition in conditions if condition.type != new.type]
    for old in conditions:
        if old.type == new.type and old.status == new.status:
            new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    return sorted([*others, new], key=_place)


def _place(condition: Condition) -> int:
    return ORDER.index(condition.type) if condition.type in ORDER else len(ORDER)
