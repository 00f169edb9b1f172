"""Pre-training of the encoder: see a picture, predict word and offsets, denoise with them, learn from the error.

In two stages [ours, the habit of E4T (arXiv:2302.12228)]: first the embedding alone; then with the hypernetwork, whose
offsets are dropped for a share of each batch, so that the embedding stays meaningful on its own. The model itself is
frozen throughout. The loss is the one of tuning, except that the negatives of L_c are the other concepts of the batch.

Letters: b examples, d text width, c h w latent channels, height, width.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likeness_runtime.denoiser.denoiser import Features
from likeness_runtime.denoiser.lora import Factors, Offsets, injected
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.noise_process import prediction_losses
from likeness_runtime.denoiser.text import Conditioning
from likeness_runtime.method.contrastive import Strength, Vocabulary, contrastive_loss, norm_loss, vocabularies
from likeness_runtime.method.encoder import Encoder, image_features
from likeness_runtime.method.encoder_folder import Normalisation, TrainedEncoder
from likeness_runtime.method.from_encoder import tower_pixels
from likeness_runtime.pretrain.image_set import Example, ImageSet
from likeness_runtime.pretrain.parallel import Processes, average_gradients
from likeness_runtime.pretrain.state import Progress, State, resume, write

WORD = "<subject>"
MAX_GRADIENT = 1.0
VAE_BATCH = 8
"""Pictures in one pass of the VAE, which takes no gradients here."""
CHANGEABLE = ("steps", "checkpoint_seconds", "log_seconds")
"""What a resumed plan may say differently."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How one encoder is pre-trained; all numbers [ours]."""

    steps: int
    batch: int = 16
    """Examples of each process and step."""
    learning_rate: float = 5e-4
    """Largest, reached after the warm-up; a cosine takes it to zero at the last step."""
    warmup_steps: int = 100
    embedding_share: float = 0.3
    """Share of the steps that learn the embedding alone."""
    dropped_share: float = 0.25
    """Share of a batch that is denoised without offsets afterwards."""
    weight_decay: float = 0.01
    bank: int = 128
    """Predictions kept as negatives for tuning."""
    seed: int = 0
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
    plan: Plan,
    folder: Path,
    *,
    processes: Processes | None = None,
    check: Callable[[], None] = lambda: None,
) -> TrainedEncoder:
    """Trains `trained.encoder` in place, or takes up what `folder` holds; `check` may raise between steps to stop."""
    processes = processes or Processes()
    networks: tuple[Any, ...] = (model.denoiser.network, model.latent_space.network)
    for network in networks:
        network.to(memory_format=torch.channels_last)  # a tenth faster on a CPU in bfloat16
    frozen = Frozen(model, trained.image_tower, trained.normalisation, vocabularies(model), model.text.empty())
    encoder = trained.encoder.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    state = State(encoder, optimizer, [words.rows[:0] for words in frozen.vocabulary], Progress())
    basis = basis_of(model, encoder, plan)
    resume(state, folder, basis)
    book = _Book(state, folder, basis, plan, processes.rank)
    while state.progress.step < plan.steps:
        check()
        step = state.progress.step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, step)
        random = np.random.default_rng((plan.seed, step, processes.rank))
        generator = torch.Generator().manual_seed(int(random.integers(2**63)))
        examples = [images.draw(random, model.resolution_px) for _ in range(plan.batch)]
        loss, v_star = losses_of(encoder, frozen, examples, generator, plan, share=step / plan.steps)
        optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()
        average_gradients(encoder, processes)
        nn.utils.clip_grad_norm_(encoder.parameters(), MAX_GRADIENT)
        optimizer.step()
        pairs = zip(state.bank, v_star, strict=True)
        state.bank = [torch.cat([fresh.detach(), bank])[: plan.bank] for bank, fresh in pairs]
        book.turn(loss.detach().mean(), plan.batch * processes.size)
    book.close()
    encoder.eval().requires_grad_(False)
    return replace(trained, encoder=encoder, negatives=state.bank)


def basis_of(model: DiffusionModel, encoder: Encoder, plan: Plan) -> dict[str, Any]:
    """What a checkpoint must agree with, as JSON. A plan may be made longer: its learning rate then rises again."""
    settled = {name: value for name, value in asdict(plan).items() if name not in CHANGEABLE}
    basis = {"model": model.digest, "shape": encoder.description(), "plan": settled}
    agreed: dict[str, Any] = json.loads(json.dumps(basis))
    return agreed


def losses_of(
    encoder: Encoder,
    frozen: Frozen,
    examples: list[Example],
    generator: torch.Generator,
    plan: Plan,
    *,
    share: float,
) -> tuple[Tensor, list[Tensor]]:
    """Each example's loss (b,) and v* (b, d) of each text encoder; `share` of the steps are done."""
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
    """As at tuning, (b,), but each v*'s negatives are the others of the batch."""
    total = torch.zeros(len(embeddings[0]), device=embeddings[0].device)
    for v_star, words in zip(embeddings, vocabulary, strict=True):
        if strength.contrastive:
            pulled = contrastive_loss(v_star, words.rows, others(v_star), strength.neighbours, strength.temperature)
            total = total + strength.contrastive * pulled
        if strength.norm:
            total = total + strength.norm * norm_loss(v_star, words)
    return total


def others(v_star: Tensor) -> Tensor:
    """For each row the other rows, (b, b - 1, d)."""
    b = len(v_star)
    return v_star.expand(b, b, -1)[~torch.eye(b, dtype=torch.bool, device=v_star.device)].view(b, b - 1, -1)


def learning_rate(plan: Plan, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero at the last step."""
    warmup = min(1.0, (step + 1) / plan.warmup_steps)
    return plan.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * step / plan.steps))


def autocast(model: DiffusionModel, plan: Plan) -> torch.autocast:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=plan.bfloat16)


class _Book:
    """Counts, logs and saves; only the first process writes."""

    def __init__(self, state: State, folder: Path, basis: dict[str, Any], plan: Plan, rank: int) -> None:
        self.state, self.folder, self.basis, self.plan, self.rank = state, folder, basis, plan, rank
        self.last = self.saved = self.logged = time.monotonic()
        self.losses: list[Tensor] = []

    def turn(self, loss: Tensor, examples: int) -> None:
        """One step is done."""
        now, progress = time.monotonic(), self.state.progress
        progress.step += 1
        progress.examples += examples
        progress.seconds += now - self.last
        self.last = now
        self.losses.append(loss)
        if now - self.logged >= self.plan.log_seconds:
            self._log(now)
        if now - self.saved >= self.plan.checkpoint_seconds:
            self._save()
            self.saved = now

    def close(self) -> None:
        if self.losses:
            self._log(time.monotonic())
        self._save()

    def _save(self) -> None:
        if self.rank == 0:
            write(self.state, self.folder, self.basis)

    def _log(self, now: float) -> None:
        progress = self.state.progress
        line = {
            "step": progress.step,
            "examples": progress.examples,
            "seconds": round(progress.seconds, 1),
            "loss": round(float(torch.stack(self.losses).mean()), 5),
            "learningRate": float(f"{learning_rate(self.plan, progress.step):.3g}"),
        }
        self.losses, self.logged = [], now
        if self.rank == 0:
            log.info("Pre-trained %(step)d steps, loss %(loss).4f.", line)
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
