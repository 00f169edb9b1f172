"""The arms of `likeness bench method`: every method and ablation, each as one function from a subject to its stages.

An arm is asked for increasing numbers of steps; each stage says how long the subject took so far and can draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from likeness_api.tuning import ResolvedTuning
from likeness_runtime.bench.clock import now
from likeness_runtime.bench.draw import TOKEN_WORD, Sampling, draw_subject
from likeness_runtime.bench.memory import peak_bytes_of
from likeness_runtime.bench.subject import BenchSubject
from likeness_runtime.contrastive import Strength
from likeness_runtime.lora import Offsets, zero_offsets
from likeness_runtime.model import DiffusionModel
from likeness_runtime.nearest_word import nearest_word, whole_words
from likeness_runtime.predictor import FromWord, Prediction, Predictor
from likeness_runtime.tune import DEFAULT_STRENGTH, Subject, latents_of, tune
from likeness_runtime.views import views_of

OFF = Strength(contrastive=0.0, norm=0.0)
HALF_BYTES, FLOAT_BYTES = 2, 4


@dataclass(frozen=True)
class Stage:
    """A subject after so many steps."""

    steps: int
    seconds: float
    """From the decoded picture on, the model loaded; drawing is not counted. See `bench/clock.py` for whose seconds."""
    artifact_bytes: int
    word: str | None
    cosine: float | None
    draw: Callable[[Sequence[str], Sampling], Tensor]
    """Prompts in which the subject is `called`, to pictures (b, 3, h, w)."""
    called: str = TOKEN_WORD
    peak_bytes: int | None = None
    """Most memory held on the way here: the GPU's, or on a CPU the whole process's."""


Run = Callable[[DiffusionModel, BenchSubject, int], Stage | None]
"""Model, subject and number of steps; None where the arm has nothing to say about the subject."""


@dataclass(frozen=True)
class Arm:
    """A method at the steps it is measured at."""

    name: str
    steps: tuple[int, ...]
    run: Run

    def only(self, steps: list[int] | None) -> Arm:
        """At those of its steps that are asked for; None asks for all."""
        return self if steps is None else replace(self, steps=tuple(own for own in self.steps if own in steps))


@dataclass(frozen=True)
class Tuned:
    """Ours and its relatives: predict, then tune word and offsets."""

    predictor: Predictor | None
    """None starts from the subject's class word, as users of the baselines do."""
    tuning: ResolvedTuning
    strength: Strength = DEFAULT_STRENGTH
    keep_offsets: bool = True
    """False starts from offsets of zero, as without a hypernetwork."""
    learn_offsets: bool = True
    """False leaves the attention alone: textual inversion."""
    class_word: bool = False
    """The hard prompt names the subject's class instead of the nearest word."""
    drawn_alpha: float | None = None
    """The blend when drawing, where it is not the one of tuning."""
    untouched_guidance: bool = True
    """As our loader draws; False draws as a stock pipeline does."""

    def __call__(self, model: DiffusionModel, subject: BenchSubject, steps: int) -> Stage:
        started = now(model.device)
        prediction = self._tuned(model, subject, steps)
        seconds = now(model.device) - started
        word, cosine = nearest_word(model, [v_star[0] for v_star in prediction.embeddings])
        alpha = float(self.tuning.alpha) if self.drawn_alpha is None else self.drawn_alpha
        words = self._words(model, subject)
        return Stage(
            steps=steps,
            seconds=seconds,
            artifact_bytes=bytes_of(prediction),
            word=word,
            cosine=cosine,
            draw=lambda prompts, way: draw_subject(
                model,
                prediction,
                prompts,
                way,
                alpha=alpha,
                words=words,
                untouched_guidance=self.untouched_guidance,
            ),
        )

    def _tuned(self, model: DiffusionModel, subject: BenchSubject, steps: int) -> Prediction:
        generator = torch.Generator().manual_seed(self.tuning.seed)
        predictor = self.predictor or FromWord(subject.class_word)
        start = predictor.predict(model, [[subject.picture]], self.tuning.rank, [generator])
        if not self.keep_offsets:
            start = replace(start, offsets=zero_offsets(model.unet, self.tuning.rank, [generator]))
        if not self.learn_offsets:
            start = replace(start, offsets=_nothing())
        if steps == 0:
            return start
        latents = latents_of(model, views_of([subject.picture], model.resolution_px, generator))
        return tune(
            model,
            start,
            [Subject(latents, generator)],
            TOKEN_WORD,
            tuning=self.tuning.model_copy(update={"steps": steps}),
            progress=lambda _done, _total: None,
            strength=self.strength,
            words=self._words(model, subject),
        ).prediction

    def _words(self, model: DiffusionModel, subject: BenchSubject) -> Tensor | None:
        if not self.class_word:
            return None
        return torch.tensor([whole_words(model)[subject.class_word]], device=model.device)


def stages(arm: Arm, model: DiffusionModel, subject: BenchSubject) -> Iterator[Stage]:
    """One after the other, each from the start: times do not add up other arms' measuring."""
    for steps in arm.steps:
        stage, peak = peak_bytes_of(partial(arm.run, model, subject, steps), model.device)
        if stage:
            yield replace(stage, peak_bytes=peak)


def bytes_of(prediction: Prediction) -> int:
    """As published: word in float32, factors in float16."""
    words = sum(v_star[0].numel() for v_star in prediction.embeddings)
    factors = sum(each.A[0].numel() + each.B[0].numel() for each in prediction.offsets.values())
    return FLOAT_BYTES * words + HALF_BYTES * factors


def _nothing() -> Offsets:
    return {}
