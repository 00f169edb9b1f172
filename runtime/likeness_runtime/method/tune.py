"""Tuning: a few optimizer steps on the predicted embedding and LoRA factors, the model itself stays as it is.

The loss is L_diff, through the dual path, + lambda_c L_c + lambda_2 L_2 (Arar et al., arXiv:2307.06925).

Letters: s subjects, b draws a subject and step, rows (s b), k pictures, v views, n tokens, c h w latent channels,
height, width.
Every random draw is made on the CPU from the subject's own generator, so that a subject gets the same draws on every
device, alone or together with others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from PIL import Image
from torch import Tensor, nn

from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.lora import Factors, Offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.text import Conditioning, Prompts
from likeness_runtime.failure import RunError
from likeness_runtime.image.views import views_of
from likeness_runtime.method.contrastive import Strength, Vocabulary, regularisation, vocabularies
from likeness_runtime.method.dual_prompt import dual_prompt
from likeness_runtime.method.memory import budget_bytes, draws_that_fit, saved_bytes
from likeness_runtime.method.predictor import Prediction
from likeness_runtime.method.progress import ProgressCallback

MEASURED_DRAWS = 4
"""Of the loss before and after. Few, for each costs a forward pass; there is no backward pass, as tuning has."""
LORA_WEIGHT_DECAY = 0.01
A_SHARE = 1 / 16
"""A's learning rate as a share of B's: B wants far more (LoRA+, arXiv:2402.12354), and steps of B's size undo A."""
DEFAULT_STRENGTH = Strength()


@dataclass(frozen=True)
class TuningSubject:
    """What one subject is tuned on: k pictures, each in v views and with sentences of its own."""

    latents: Tensor
    """(k, v, c, h, w), scaled as the denoiser expects."""
    sentences: list[list[str]]
    """k lists of prompts with the token, which describe the picture: what it shows beside the subject and no
    sentence names, the offsets would have to learn."""
    token: str
    """The learned word as the sentences write it."""
    generator: torch.Generator
    """On the CPU."""


@dataclass(frozen=True)
class Draw:
    """One batch of (view, timestep, noise, sentence) for all subjects, subject-major rows, on the device."""

    latents: Tensor  # (s b, c, h, w)
    noise: Tensor  # (s b, c, h, w)
    times: Tensor  # (s b)
    sentences: Tensor  # (s)
    """Indices into all subjects' sentences: one a subject and step, so that its text is encoded once."""


@dataclass(frozen=True)
class Setting:
    """What stays the same over the steps."""

    sentences: list[Prompts]
    """All subjects' sentences, one after the other, as each text encoder takes them."""
    vocabulary: list[Vocabulary]
    alpha: float
    """The dual path's blend."""
    subjects: int
    words: Tensor | None = None
    """Token ids (s,) that the hard prompts name; the nearest words of the moment where there are none."""


@dataclass(frozen=True)
class TuningResult:
    """What became of each of s subjects."""

    prediction: Prediction
    """The tuned embeddings and offsets; a failed subject's rows are of no use."""
    loss_before: Tensor
    """(s,) on the CPU, on fixed draws."""
    loss_after: Tensor
    """(s,) on the CPU, on the same draws."""
    failed_after: list[int | None]
    """For each subject the number of steps after which its loss was not a finite number; None where it always was."""

    def failure(self, subject: int) -> RunError | None:
        """`RunError(LossNotFinite)` of the subject with this index, or None where its loss stayed finite."""
        steps = self.failed_after[subject]
        if steps is None:
            return None
        return RunError(
            Reason.LOSS_NOT_FINITE,
            f"after {steps} steps the loss was not a finite number; lower"
            " spec.tuning.learningRate or spec.tuning.embeddingLearningRate",
        )

    def checked(self) -> TuningResult:
        """Itself where every subject's loss stayed finite. Raises the first failure, `RunError(LossNotFinite)`."""
        for failure in map(self.failure, range(len(self.failed_after))):
            if failure is not None:
                raise failure
        return self


def tune(
    model: DiffusionModel,
    prediction: Prediction,
    subjects: list[TuningSubject],
    *,
    tuning: ResolvedTuning,
    progress: ProgressCallback,
    strength: Strength = DEFAULT_STRENGTH,
    words: Tensor | None = None,
    rows_per_pass: int | None = None,
) -> TuningResult:
    """Moves copies of the prediction for `tuning.steps` steps of AdamW, whose rates fall linearly to zero.

    `words`, token ids (s,), fix what the hard prompts call the subjects; otherwise they follow v*. A step's rows go
    through the model at most `rows_per_pass` at once; None takes what the device's memory holds. The step is the same.
    No operation mixes subjects, so a loss that is not finite fails its own subject and none beside it: the answer says
    which ones failed, `TuningResult.checked` raises.
    """
    learned = trainable(prediction)
    sentences = _sentences_of(model, subjects)
    setting = Setting(sentences, vocabularies(model), float(tuning.alpha), len(subjects), words)
    fixed = fixed_draw(model, subjects)
    optimizer = torch.optim.AdamW(
        [
            {"params": learned.embeddings, "lr": float(tuning.embedding_learning_rate), "weight_decay": 0.0},
            {
                "params": [factors.A for factors in learned.offsets.values()],
                "lr": float(tuning.learning_rate) * A_SHARE,
                "weight_decay": LORA_WEIGHT_DECAY,
            },
            {
                "params": [factors.B for factors in learned.offsets.values()],
                "lr": float(tuning.learning_rate),
                "weight_decay": LORA_WEIGHT_DECAY,
            },
        ],
        fused=True,
    )
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / max(tuning.steps, 1))
    with model.denoiser.paths(learned.offsets, setting.alpha):
        losses = [_measure(model, learned, setting, fixed)]
        at_once = _draws_at_once(model, learned, setting, fixed, draws=tuning.batch_size, rows_per_pass=rows_per_pass)
        progress(0, tuning.steps)
        for step in range(tuning.steps):
            drawn = draw_rows(model, subjects, tuning.batch_size)
            optimizer.zero_grad(set_to_none=True)
            losses.append(_backward(model, learned, setting, drawn, strength=strength, at_once=at_once))
            optimizer.step()
            falling.step()
            progress(step + 1, tuning.steps)
        losses.append(_measure(model, learned, setting, fixed))
    # Looked at once, at the end: a look at each step would make the device wait for the CPU.
    failed_after = steps_before_failure(torch.stack(losses).cpu())
    return TuningResult(_detached(learned), losses[0].cpu(), losses[-1].cpu(), failed_after)


def subject_losses(model: DiffusionModel, learned: Prediction, setting: Setting, drawn: Draw) -> Tensor:
    """Each subject's mean diffusion loss, (s,). The caller has the denoiser take both paths."""
    return _denoising_losses(model, _text_of(model, learned, setting, drawn), setting, drawn)


def _backward(
    model: DiffusionModel, learned: Prediction, setting: Setting, drawn: Draw, *, strength: Strength, at_once: int
) -> Tensor:
    """Leaves a step's gradients in `learned`; each subject's loss, (s,), without a graph.

    The text is encoded once. `at_once` draws of each subject go through the denoiser side by side and leave their
    gradients at the encoded text, from where they go on to v* in the end.
    """
    text = _text_of(model, learned, setting, drawn)
    leaves = text.as_leaves()
    loss = torch.zeros(setting.subjects, device=model.device)
    for part, share in _parts(drawn, setting.subjects, at_once):
        of_part = share * _denoising_losses(model, leaves, setting, part)
        if of_part.requires_grad:  # with alpha 0 nothing that learns takes part
            of_part.sum().backward()
        loss += of_part.detach()
    regular = regularisation(learned.embeddings, setting.vocabulary, learned.negatives, strength)
    encoded = zip(text.tensors, leaves.tensors, strict=True)
    pairs = [(regular.sum(), None), *((tensor, leaf.grad) for tensor, leaf in encoded)]
    roots = [
        (root, gradient) for root, gradient in pairs if root.requires_grad and (root.ndim == 0 or gradient is not None)
    ]
    torch.autograd.backward([root for root, _ in roots], [gradient for _, gradient in roots])
    return loss + regular.detach()


def _parts(drawn: Draw, subjects: int, at_once: int) -> Iterator[tuple[Draw, float]]:
    """The draw in parts of `at_once` rows of each subject, each with its share of the whole."""
    draws = len(drawn.latents) // subjects
    for first in range(0, draws, at_once):
        rows = torch.arange(first, min(first + at_once, draws), device=drawn.latents.device)
        rows = (torch.arange(subjects, device=rows.device)[:, None] * draws + rows).flatten()
        part = Draw(drawn.latents[rows], drawn.noise[rows], drawn.times[rows], drawn.sentences)
        yield part, len(rows) / len(drawn.latents)


def _draws_at_once(
    model: DiffusionModel,
    learned: Prediction,
    setting: Setting,
    drawn: Draw,
    *,
    draws: int,
    rows_per_pass: int | None,
) -> int:
    """How many draws of each subject a pass takes; where `rows_per_pass` is None, one is measured."""
    if draws == 1:
        return 1
    if rows_per_pass is not None:
        return max(1, min(draws, rows_per_pass // setting.subjects))
    one, _share = next(_parts(drawn, setting.subjects, 1))
    kept = saved_bytes(model, lambda: subject_losses(model, learned, setting, one))
    return draws_that_fit(kept, budget_bytes(model.device), draws)


def _text_of(model: DiffusionModel, learned: Prediction, setting: Setting, drawn: Draw) -> Conditioning:
    """Both paths' text of each subject's sentence, a row a subject."""
    sentences = [Prompts(each.ids[drawn.sentences], each.spots[drawn.sentences]) for each in setting.sentences]
    return dual_prompt(
        model, sentences, learned.embeddings, setting.vocabulary, alpha=setting.alpha, words=setting.words
    )


def _denoising_losses(model: DiffusionModel, text: Conditioning, setting: Setting, drawn: Draw) -> Tensor:
    """Each subject's mean over its rows, (s,); `text` has one row a subject."""
    text = text.repeated(len(drawn.latents) // setting.subjects)
    rows = model.denoising_losses(drawn.latents, drawn.noise, drawn.times, text)
    return reduce(rows, "(s b) -> s", "mean", s=setting.subjects)


def draw_rows(model: DiffusionModel, subjects: list[TuningSubject], draws: int) -> Draw:
    """`draws` rows of each subject, from its own generator: views of one of its pictures, one of that picture's
    sentences, and one time from each of as many equal parts of the schedule: few draws still see high and low noise
    [ours].
    """
    latents, noises, times, sentences = [], [], [], []
    before = 0
    for subject in subjects:
        picture = _one_of(len(subject.latents), subject.generator)
        views = torch.randint(subject.latents.shape[1], (draws,), generator=subject.generator)
        times.append(model.noise.draw_times(draws, subject.generator))
        counts = [len(of_picture) for of_picture in subject.sentences]
        sentences.append(before + sum(counts[:picture]) + _one_of(counts[picture], subject.generator))
        before += sum(counts)
        noises.append(torch.randn(draws, *subject.latents.shape[2:], generator=subject.generator))
        latents.append(subject.latents[picture, views.to(model.device)])
    return Draw(
        torch.cat(latents),
        torch.cat(noises).to(model.device),
        torch.cat(times).to(model.device),
        torch.tensor(sentences, device=model.device),
    )


def _one_of(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))


def fixed_draw(model: DiffusionModel, subjects: list[TuningSubject]) -> Draw:
    """What 'before' and 'after' are compared on: the first picture as a whole, its first sentence, times evenly
    spread.
    """
    drawn = draw_rows(model, subjects, MEASURED_DRAWS)
    spread = model.noise.times_at([part / (MEASURED_DRAWS + 1) for part in range(1, MEASURED_DRAWS + 1)], "down")
    first_views = torch.cat([subject.latents[0, :1].expand(MEASURED_DRAWS, -1, -1, -1) for subject in subjects])
    counts = [sum(len(of_picture) for of_picture in subject.sentences) for subject in subjects]
    first_sentences = torch.tensor([sum(counts[:index]) for index in range(len(subjects))], device=model.device)
    return Draw(first_views, drawn.noise, spread.repeat(len(subjects)), first_sentences)


def tuning_subject(
    model: DiffusionModel,
    pictures: list[Image.Image],
    sentences: list[list[str]],
    side_px: int,
    generator: torch.Generator,
    *,
    token: str,
) -> TuningSubject:
    """The pictures' views as latents; one list of sentences for each picture, which name the subject `token`."""
    latents = model.latent_space.encode(views_of(pictures, side_px, generator))
    return TuningSubject(rearrange(latents, "(k v) c h w -> k v c h w", k=len(pictures)), sentences, token, generator)


def trainable(prediction: Prediction) -> Prediction:
    """A copy that takes gradients."""
    return Prediction(
        [nn.Parameter(v_star.detach().clone()) for v_star in prediction.embeddings],
        {
            path: Factors(nn.Parameter(factors.A.detach().clone()), nn.Parameter(factors.B.detach().clone()))
            for path, factors in prediction.offsets.items()
        },
        prediction.negatives,
    )


def _detached(prediction: Prediction) -> Prediction:
    offsets: Offsets = {path: Factors(each.A.detach(), each.B.detach()) for path, each in prediction.offsets.items()}
    return Prediction([v_star.detach() for v_star in prediction.embeddings], offsets, prediction.negatives)


@torch.no_grad()
def _measure(model: DiffusionModel, learned: Prediction, setting: Setting, fixed: Draw) -> Tensor:
    return subject_losses(model, learned, setting, fixed)


def steps_before_failure(losses: Tensor) -> list[int | None]:
    """After how many steps each subject's loss was not finite, None where it always was.

    `losses` (steps + 2, s): measured before, one for each step, measured after.
    """
    broken = ~losses.isfinite()
    first = broken.int().argmax(dim=0).tolist()
    return [
        max(index - 1, 0) if failed else None for index, failed in zip(first, broken.any(dim=0).tolist(), strict=True)
    ]


def _sentences_of(model: DiffusionModel, subjects: list[TuningSubject]) -> list[Prompts]:
    """All subjects' sentences, one after the other, as each text encoder reads them; each has its own token."""
    of_each = [
        model.text.tokenize([sentence for of_picture in subject.sentences for sentence in of_picture], subject.token)
        for subject in subjects
    ]
    return [
        Prompts(torch.cat([each.ids for each in own]), torch.cat([each.spots for each in own]))
        for own in zip(*of_each, strict=True)
    ]
