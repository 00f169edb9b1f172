"""The arms of `likeness bench method`: every method and ablation, each as one function from a case to what it learns.

An arm runs for increasing numbers of steps, and starts anew for each: times do not add up. What is learned is drawn
in two ways afterwards, which is no part of the method: see `bench/draw.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench.clock import now
from likeness_lab.bench.condition import DRAWINGS, TELLINGS
from likeness_lab.bench.draw import TOKEN_WORD, Learned
from likeness_lab.bench.subject import Case
from likeness_runtime.denoiser.lora import zero_offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.contrastive import Strength
from likeness_runtime.method.forms import with_article
from likeness_runtime.method.nearest_word import nearest_word, whole_words
from likeness_runtime.method.predictor import START_WORD, FromWord, Prediction, Predictor
from likeness_runtime.method.tune import DEFAULT_STRENGTH, tune, tuning_subject

OFF = Strength(contrastive=0.0, norm=0.0)
HALF_BYTES, FLOAT_BYTES = 2, 4
CALLED = with_article(TOKEN_WORD)


@dataclass(frozen=True)
class Stage:
    """What an arm has learned after so many steps."""

    steps: int
    rows: int
    """Noisy pictures that went through the denoiser with a backward pass."""
    seconds: float
    """From the decoded picture on, the model loaded; drawing is not counted. See `bench/clock.py` for whose seconds."""
    artifact_bytes: int
    word: str | None
    cosine: float | None
    learned: Learned | None
    """None where nothing is drawn, because `pictures` are there."""
    pictures: Tensor | None = None
    """(k, 3, h, w) in [0, 1]: true renders of the prompts."""
    peak_bytes: int | None = None
    """Most memory held on the way here: the GPU's, or on a CPU the whole process's."""


ArmFunction = Callable[[DiffusionModel, Case, int], Stage | None]
"""Model, case and number of steps; None where the arm has nothing to say about the subject."""


@dataclass(frozen=True)
class Arm:
    """A method, and at which steps, with which captions and drawings it is measured."""

    name: str
    run: ArmFunction
    steps: tuple[int, ...] = (12,)
    tellings: tuple[str, ...] = TELLINGS[:1]
    drawings: tuple[str, ...] = DRAWINGS

    def only(self, steps: list[int] | None, tellings: list[str] | None, drawings: list[str] | None) -> Arm:
        """The arm, limited to those of its own that are given; None limits nothing."""
        return replace(
            self,
            steps=tuple(own for own in self.steps if steps is None or own in steps),
            tellings=tuple(own for own in self.tellings if tellings is None or own in tellings),
            drawings=tuple(own for own in self.drawings if drawings is None or own in drawings),
        )


@dataclass(frozen=True)
class TunedArm:
    """Ours and its relatives: predict, then tune word and offsets."""

    predictor: Predictor | None
    """None starts from the subject's class word, as users of the baselines do."""
    tuning: ResolvedTuning
    strength: Strength = DEFAULT_STRENGTH
    keep_offsets: bool = True
    """False starts from offsets of zero, as without a hypernetwork."""
    learn_offsets: bool = True
    """False leaves the attention alone: textual inversion."""
    keep_word: bool = True
    """False starts from the word "object", as without an embedding head."""
    class_word: bool = False
    """The hard prompt names the subject's class instead of the nearest word."""

    def __call__(self, model: DiffusionModel, case: Case, steps: int) -> Stage:
        started = now(model.device)
        prediction = self._tuned(model, case, steps)
        seconds = now(model.device) - started
        word, cosine = nearest_word(model, [v_star[0] for v_star in prediction.embeddings])
        return Stage(
            steps=steps,
            rows=steps * self.tuning.batch_size,
            seconds=seconds,
            artifact_bytes=bytes_of(prediction),
            word=word,
            cosine=cosine,
            learned=Learned(prediction, CALLED, float(self.tuning.alpha), self._words(model, case)),
        )

    def _tuned(self, model: DiffusionModel, case: Case, steps: int) -> Prediction:
        generator = torch.Generator().manual_seed(self.tuning.seed)
        predictor = self.predictor or FromWord(case.subject.class_word)
        picture = case.subject.picture
        start = predictor.predict(model, [[picture]], self.tuning.rank, [generator])
        if not self.keep_offsets:
            start = replace(start, offsets=zero_offsets(model.denoiser.adapter_sites(), self.tuning.rank, [generator]))
        if not self.learn_offsets:
            start = replace(start, offsets={})
        if not self.keep_word:
            start = replace(start, embeddings=[row[None] for row in model.text.embedding_of(START_WORD)])
        if steps == 0:
            return start
        pictures, sentences = [picture], [case.told.sentences]
        subject = tuning_subject(model, pictures, sentences, model.resolution_px, generator, token=TOKEN_WORD)
        result = tune(
            model,
            start,
            [subject],
            tuning=self.tuning.model_copy(update={"steps": steps}),
            progress=lambda _done, _total: None,
            strength=self.strength,
            words=self._words(model, case),
        )
        return result.checked().prediction

    def _words(self, model: DiffusionModel, case: Case) -> Tensor | None:
        if not self.class_word:
            return None
        return torch.tensor([whole_words(model)[case.subject.class_word]], device=model.device)


def bytes_of(prediction: Prediction) -> int:
    """As published: word in float32, factors in float16."""
    words = sum(v_star[0].numel() for v_star in prediction.embeddings)
    factors = sum(each.A[0].numel() + each.B[0].numel() for each in prediction.offsets.values())
    return FLOAT_BYTES * words + HALF_BYTES * factors
