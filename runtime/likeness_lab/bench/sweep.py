"""One number of the method changed at a time, all others as they are: the arms of `likeness bench method --sweep`.

The source gives none of these numbers [docs/method.md]. A sweep is made on subjects that the reported figures skip.
"""

from __future__ import annotations

from dataclasses import replace

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench.arm import Arm, TunedArm
from likeness_runtime.method.contrastive import Strength
from likeness_runtime.method.predictor import Predictor
from likeness_runtime.method.tune import DEFAULT_STRENGTH

TUNING: dict[str, tuple[object, ...]] = {
    "learning_rate": ("0.005", "0.01", "0.015", "0.02", "0.03"),
    "embedding_learning_rate": ("0.0002", "0.001", "0.004"),
    "batch_size": (4, 8, 16, 32),
    "rank": (2, 4, 8),
}
STRENGTHS: dict[str, Strength] = {
    **{f"contrastive = {weight}": replace(DEFAULT_STRENGTH, contrastive=weight) for weight in (0.0, 0.1)},
    **{f"norm = {weight}": replace(DEFAULT_STRENGTH, norm=weight) for weight in (0.0, 0.1)},
}


def variants(encoder: Predictor, tuning: ResolvedTuning) -> list[Arm]:
    """Ours with each source of the caption, then with each number changed to each other value, such as `rank = 8`."""
    ours = TunedArm(encoder, tuning)
    changed = {
        f"{name} = {value}": replace(ours, tuning=tuning.model_copy(update={name: value}))
        for name, values in TUNING.items()
        for value in values
        if value != getattr(tuning, name)
    }
    held = {name: replace(ours, strength=strength) for name, strength in STRENGTHS.items()}
    first = Arm("ours", ours, (12,), ("recognised", "given", "untold"))
    return [first, *(Arm(name, run) for name, run in (changed | held).items())]
