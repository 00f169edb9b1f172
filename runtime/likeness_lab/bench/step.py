"""What a tuning step costs, beside a bare forward and backward pass of the same UNet: `likeness bench step`.

Both kinds of step are taken in turn, and the quickest of each counts: whatever else a machine does only adds time. The
bare pass is an ordinary training step of the UNet's own weights without the optimizer; as a stricter measure there is
also the pass with frozen weights, which only takes the gradient of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from likeness_lab.bench.clock import now
from likeness_lab.bench.draw import TOKEN_WORD
from likeness_runtime.denoiser.lora import zero_offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.contrastive import Strength, regularisation, vocabularies
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.memory import saved_bytes
from likeness_runtime.method.predictor import Prediction
from likeness_runtime.method.tune import Setting, TuningSubject, draw_rows, subject_losses, trainable


@dataclass(frozen=True)
class Cost:
    """The quickest step in seconds, and its ratios to the quickest bare passes."""

    alpha: float
    seconds: float
    to_bare: float
    to_bare_frozen: float
    saved_bytes: int
    """What autograd keeps for the backward pass, parameters not counted."""


@dataclass(frozen=True)
class StepReport:
    model: str
    batch: int
    rounds: int
    threads: int
    device: str
    bare_seconds: float
    bare_frozen_seconds: float
    bare_saved_bytes: int
    costs: list[Cost]


def measure_step(model: DiffusionModel, name: str, batch: int, rounds: int, alphas: tuple[float, ...]) -> StepReport:
    """Takes `rounds` steps of each kind after one that warms up."""
    takers: dict[str, Callable[[], None]] = {
        "bare": bare_step(model, batch, frozen=False),
        "frozen": bare_step(model, batch, frozen=True),
        **{f"alpha {alpha}": tuning_step(model, batch, alpha) for alpha in alphas},
    }
    saved = {kind: saved_bytes(model, take) for kind, take in takers.items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in takers}
    for _ in range(rounds):
        for kind, take in takers.items():
            seconds[kind].append(timed(model, take))
    quickest = {kind: min(each) for kind, each in seconds.items()}
    costs = [
        Cost(
            alpha=alpha,
            seconds=quickest[f"alpha {alpha}"],
            to_bare=quickest[f"alpha {alpha}"] / quickest["bare"],
            to_bare_frozen=quickest[f"alpha {alpha}"] / quickest["frozen"],
            saved_bytes=saved[f"alpha {alpha}"],
        )
        for alpha in alphas
    ]
    return StepReport(
        model=name,
        batch=batch,
        rounds=rounds,
        threads=torch.get_num_threads(),
        device=model.device.type,
        bare_seconds=quickest["bare"],
        bare_frozen_seconds=quickest["frozen"],
        bare_saved_bytes=saved["bare"],
        costs=costs,
    )


def write_step_report(report: StepReport, folder: Path) -> str:
    """step.json in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(report), indent=2)
    (folder / "step.json").write_text(text + "\n")
    return text


def bare_step(model: DiffusionModel, batch: int, *, frozen: bool) -> Callable[[], None]:
    """Forward and backward of the UNet alone, the text given."""
    subject = _subject(model)
    drawn = draw_rows(model, [subject], batch)
    text = model.text.encode_plain([sentences(TOKEN_WORD)[0]] * batch)
    if frozen:
        text = text.as_leaves()
    network = model.denoiser.network

    def take() -> None:
        network.requires_grad_(not frozen)
        loss = model.denoiser.predict(drawn.latents, drawn.times, text).square().mean()
        loss.backward()
        network.zero_grad(set_to_none=True)
        network.requires_grad_(False)
        for tensor in text.tensors:
            tensor.grad = None

    return take


def tuning_step(model: DiffusionModel, batch: int, alpha: float) -> Callable[[], None]:
    """One step as `tune` takes it, optimizer and regularisation included."""
    setting, subject = _setting(model, alpha), _subject(model)
    words = [row[None] for row in model.text.embedding_of("object")]
    generator = torch.Generator().manual_seed(1)
    bank = [torch.randn(64, row.shape[1], generator=generator).to(model.device) for row in words]
    learned = trainable(Prediction(words, zero_offsets(model.denoiser.adapter_sites(), 4, [generator]), bank))
    parts = [part for each in learned.offsets.values() for part in (each.A, each.B)]
    optimizer = torch.optim.AdamW([*learned.embeddings, *parts], lr=1e-6)

    def take() -> None:
        with model.denoiser.paths(learned.offsets, alpha):
            loss = subject_losses(model, learned, setting, draw_rows(model, [subject], batch))
            loss = loss + regularisation(learned.embeddings, setting.vocabulary, learned.negatives, Strength())
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimizer.step()

    return take


def timed(model: DiffusionModel, take: Callable[[], None]) -> float:
    """Seconds of one step."""
    started = now(model.device)
    take()
    return now(model.device) - started


def _setting(model: DiffusionModel, alpha: float) -> Setting:
    return Setting(model.text.tokenize(sentences(TOKEN_WORD), TOKEN_WORD), vocabularies(model), alpha, subjects=1)


def _subject(model: DiffusionModel) -> TuningSubject:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 2, *model.denoiser.latent_shape, generator=generator).to(model.device)
    return TuningSubject(latents, [sentences(TOKEN_WORD)], TOKEN_WORD, generator)
