"""What a subject's generated pictures are worth: identity, prompt fidelity, and their harmonic mean.

Letters: k generated pictures, v references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from likeness_lab.judge.background import read_backgrounds, same_colours, same_pattern
from likeness_lab.judge.identity import Embed, similarity
from likeness_lab.pocket.caption import context_phrase
from likeness_lab.pocket.scene import Background
from likeness_runtime.method.forms import FORMS

BACKGROUNDS: tuple[Background, ...] = (
    Background("plain", "red", "red"),
    Background("plain", "blue", "blue"),
    Background("plain", "green", "green"),
    Background("plain", "yellow", "yellow"),
    Background("plain", "purple", "purple"),
    Background("striped", "red", "white"),
    Background("checked", "blue", "yellow"),
    Background("dotted", "green", "white"),
)
"""One prompt each."""


@dataclass(frozen=True)
class Score:
    """All in [0, 1], means over the pictures."""

    identity: float
    """Cosine with other pictures of the subject."""
    likeness_to_input: float
    """Cosine with the picture that was learned from; far above identity means copying."""
    colours: float
    """Share with the background colours that the prompt names."""
    pattern: float
    """Share with the pattern that the prompt names."""

    @property
    def fidelity(self) -> float:
        return (self.colours + self.pattern) / 2

    @property
    def harmonic(self) -> float:
        """Of identity and fidelity."""
        total = self.identity + self.fidelity
        return 2 * self.identity * self.fidelity / total if total else 0.0


def prompts(subject: str) -> list[str]:
    """One for each background; `subject` as it stands in the sentence, such as "a <cat>" or "a fox"."""
    return [f"{FORMS[1].format(subject)} {context_phrase(background)}" for background in BACKGROUNDS]


@torch.no_grad()
def score(
    images: Tensor,
    given: Tensor,
    references: Tensor,
    embed: Embed,
    backgrounds: Sequence[Background] = BACKGROUNDS,
) -> Score:
    """`images` (k, 3, h, w) in [0, 1] are drawn from prompts with `backgrounds` in turn; `given` (1, 3, h, w) was
    learned from.
    """
    expected = [backgrounds[index % len(backgrounds)] for index in range(len(images))]
    found = read_backgrounds(images)
    pairs = list(zip(expected, found, strict=True))
    return Score(
        identity=_mean(similarity(images, references, embed)),
        likeness_to_input=_mean(similarity(images, given, embed)),
        colours=sum(same_colours(*pair) for pair in pairs) / len(pairs),
        pattern=sum(same_pattern(*pair) for pair in pairs) / len(pairs),
    )


def _mean(cosines: Tensor) -> float:
    """Negative cosines count as no likeness at all."""
    return float(cosines.clamp(min=0.0).mean())
