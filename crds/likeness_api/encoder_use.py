"""Whether an encoder predicts where tuning starts, in words for the condition `EncoderUsed` and the runtime's log.

The operator and `likeness run` both say it, so neither leaves out what the other one tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from likeness_api.order import Order
from likeness_api.reason import Reason


@dataclass(frozen=True, slots=True)
class EncoderUse:
    """The condition's status, reason and message."""

    used: bool
    reason: Reason
    message: str


def encoder_use(order: Order) -> EncoderUse:
    """Known from the order alone. Without an encoder the message says what to expect and what to do about it."""
    model, encoder = order.run.model, order.run.encoder
    if encoder:
        return EncoderUse(True, Reason.ENCODER_NAMED, f"encoder {encoder.uri} predicts where tuning starts")
    built_in = model.uri.startswith("builtin://")
    wanted = f"{{uri: {model.uri}}}" if built_in else "{uri: …} that `likeness pretrain` made for this model"
    return EncoderUse(
        False,
        Reason.NO_ENCODER,
        f"no encoder is named for model {model.uri}, so tuning starts from the word 'object': expect a"
        f" result much less like the subject; give the TuningProfile an encoder: {wanted}",
    )
