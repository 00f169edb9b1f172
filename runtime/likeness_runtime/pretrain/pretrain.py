"""Pre-training of the encoder: see a picture, predict word and offsets, denoise with them, learn from the error.

In two stages [ours, the habit of E4T (arXiv:2302.12228)]: first the embedding alone; then with the hypernetwork, whose
offsets are dropped for a share of each batch, so that the embedding stays meaningful on its own. The model itself is
frozen throughout. The loss is the one of tuning, except that the negatives of L_c are the other concepts of the batch.

Letters: s examples, each a subject with one draw; d text width, c h w latent channels, height, width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from likeness_runtime.denoiser.denoiser import Features
from likeness_runtime.denoiser.lora import Factors, Offsets, injected
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.noise_process import prediction_losses
from likeness_runtime.denoiser.text import Conditioning
from likeness_runtime.method.contrastive import Strength, Vocabulary, contrastive_loss, norm_loss, vocabularies
from likeness_runtime.method.encoder import Encoder, image_features
from likeness_runtime.method.encoder_folder import Normalisation, TrainedEncoder
from likeness_runtime.method.from_encoder import tower_pixels
from likeness_runtime.pretrain.checkpoint import resume
from likeness_runtime.pretrain.image_set import Example, ImageSet
from likeness_runtime.pretrain.parallel import Processes
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train
from likeness_runtime.pretrain.training_run import TrainingRun, averaged_copy

WORD = "<subject>"
VAE_BATCH = 8
"""Pictures in one pass of the VAE, which takes no gradients here."""


@dataclass(frozen=True, kw_only=True)
class EncoderPlan(TrainingPlan):
    """How one encoder is pre-trained; all numbers [ours]."""

    batch: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    embedding_share: float = 0.3
    """Share of the steps that learn the embedding alone."""
    dropped_share: float = 0.25
    """Share of a batch that is denoised without offsets afterwards."""
    bank: int = 128
    """Predictions kept as negatives for tuning."""
    strength: Strength = field(default_factory=Strength)
    bfloat16: bool = False
    checkpoint_seconds: float = 120.0
    log_seconds: float = 20.0


@dataclass(frozen=True)
class Frozen:
    """What is looked through but never learns."""

    model: DiffusionModel
    image_tower: Any
    normalisation: Normalisation
    vocabulary: list[Vocabulary]
    empty: Conditioning


def pretrain(
    model: DiffusionModel,
    trained: TrainedEncoder,
    images: ImageSet,
    plan: EncoderPlan,
    folder: Path,
    *,
    processes: Processes | None = None,
    check: Callable[[], None] = lambda: None,
) -> TrainedEncoder:
    """Trains `trained.encoder` in place, or takes up what `folder` holds; `check` may raise between steps to stop."""
    networks: tuple[Any, ...] = (model.denoiser.network, model.latent_space.network)
    for network in networks:
        network.to(memory_format=torch.channels_last)  # a tenth faster on a CPU in bfloat16
    frozen = Frozen(model, trained.image_tower, trained.normalisation, vocabularies(model), model.text.empty())
    run = _run(trained.encoder, frozen, plan, folder, processes or Processes())
    resume(run)

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.step, draw.rank))
        generator = torch.Generator().manual_seed(int(random.integers(2**63)))
        examples = [images.draw(random, model.resolution_px) for _ in range(draw.count)]
        losses, v_star = encoder_losses(run.network, frozen, examples, generator, plan, share=run.share)
        for name, fresh in zip(run.memory, v_star, strict=True):
            run.memory[name] = torch.cat([fresh.detach(), run.memory[name]])[: plan.bank]
        return losses.mean()

    train(run, loss_of, check=check)
    encoder = run.network.eval().requires_grad_(False)
    return replace(trained, encoder=encoder, negatives=list(run.memory.values()))


def _run(
    encoder: Encoder, frozen: Frozen, plan: EncoderPlan, folder: Path, processes: Processes
) -> TrainingRun[Encoder]:
    """The training that begins; its memory is the bank: the latest m predictions (m, d), newest first."""
    encoder = encoder.train().requires_grad_(True)
    return TrainingRun(
        name="encoder",
        network=encoder,
        average=averaged_copy(encoder, plan),
        optimizer=torch.optim.AdamW(encoder.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay),
        plan=plan,
        folder=folder,
        log=folder / "log.jsonl",
        basis={
            "model": frozen.model.digest,
            "shape": encoder.description(),
            "batch": plan.batch // processes.size,  # each process's: their number may change
        },
        memory={f"bank.{number}": words.rows[:0] for number, words in enumerate(frozen.vocabulary)},
        processes=processes,
    )


def encoder_losses(
    encoder: Encoder,
    frozen: Frozen,
    examples: list[Example],
    generator: torch.Generator,
    plan: EncoderPlan,
    *,
    share: float,
) -> tuple[Tensor, list[Tensor]]:
    """Each example's loss (s,) and v* (s, d) of each text encoder; `share` of the steps are done."""
    model = frozen.model
    with torch.no_grad(), autocast(model, plan):
        features_of_tower, features_of_denoiser = _features(frozen, examples, generator)
        z = model.latent_space.encode([each.target for each in examples], VAE_BATCH)
    features = encoder.mixed(features_of_tower, features_of_denoiser)
    v_star = encoder.embeddings(features, frozen.vocabulary)
    offsets: Offsets = {}
    if share >= plan.embedding_share:
        offsets = dropped(encoder.offsets(features), round(plan.dropped_share * len(examples)))
    noise = torch.randn(z.shape, generator=generator).to(model.device)
    times = model.noise.draw_independent_times(len(z), generator).to(model.device)
    text = model.text.encode(model.text.tokenize([each.sentence.format(WORD) for each in examples], WORD), v_star)
    with autocast(model, plan), injected(model.denoiser.adapter_sites(), offsets):
        predicted = model.denoiser.predict(model.noise.noised(z, noise, times), times, text)
    rows = prediction_losses(model.noise, predicted, z, noise, times)
    return rows + _regularisation(v_star, frozen.vocabulary, plan.strength), v_star


def _features(frozen: Frozen, examples: list[Example], generator: torch.Generator) -> tuple[Features, Features]:
    """The backbone's features of what is seen, at a timestep of its own: a prediction must hold for every one."""
    model, tower = frozen.model, frozen.image_tower
    seen = [each.seen for each in examples]
    z = model.latent_space.encode(seen, VAE_BATCH)
    times = model.noise.draw_independent_times(len(z), generator).to(model.device)
    noise = torch.randn(z.shape, generator=generator).to(model.device)
    z_t = model.noise.noised(z, noise, times)
    pixels = tower_pixels(seen, tower.config.image_size, frozen.normalisation, model)
    return image_features(tower, pixels), model.denoiser.features(z_t, times, frozen.empty)


def dropped(offsets: Offsets, count: int) -> Offsets:
    """The first `count` subjects' offsets become zero; which examples come first is random anyway."""
    changed = {}
    for path, each in offsets.items():
        kept = torch.arange(len(each.B), device=each.B.device) >= count
        changed[path] = Factors(each.A, each.B * kept[:, None, None])
    return changed


def _regularisation(embeddings: list[Tensor], vocabulary: list[Vocabulary], strength: Strength) -> Tensor:
    """As at tuning, (s,), but each v*'s negatives are the others of the batch."""
    total = torch.zeros(len(embeddings[0]), device=embeddings[0].device)
    for v_star, words in zip(embeddings, vocabulary, strict=True):
        if strength.contrastive:
            pulled = contrastive_loss(v_star, words.rows, others(v_star), strength.neighbours, strength.temperature)
            total = total + strength.contrastive * pulled
        if strength.norm:
            total = total + strength.norm * norm_loss(v_star, words)
    return total


def others(v_star: Tensor) -> Tensor:
    """For each row the other rows, (s, s - 1, d)."""
    s = len(v_star)
    return v_star.expand(s, s, -1)[~torch.eye(s, dtype=torch.bool, device=v_star.device)].view(s, s - 1, -1)


def autocast(model: DiffusionModel, plan: EncoderPlan) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=plan.bfloat16)
