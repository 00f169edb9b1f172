"""What a score holds for, beside the subject; light enough for the command's parser."""

from __future__ import annotations

from dataclasses import dataclass

TELLINGS = ("recognised", "given", "untold")
"""Who says what a picture shows beside its subject: the runtime itself, the user, who knows the truth, or nobody."""
DRAWINGS = ("untouched", "stock")
"""What guidance leads away from: the model without the subject, as our loader draws, or the adapted model, as stock
pipelines draw."""


@dataclass(frozen=True)
class BenchCondition:
    arm: str
    steps: int
    telling: str
    drawing: str
