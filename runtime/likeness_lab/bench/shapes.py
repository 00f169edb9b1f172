"""What the method needs on real models, whose weights are not at hand: `likeness bench shapes`.

The published configurations of SD 1.5, SD 2.1 and SDXL are built twice. On torch's meta device at full resolution, to
count parameters and the bytes that autograd keeps in a tuning step: nothing is computed, every shape is true. And with
random weights on the CPU at a small resolution, to predict once and to take one tuning step for real.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench.published import PUBLISHED_RANK, build_published
from likeness_lab.bench.step import tuning_step
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.encoder_folder import CLIP, TrainedEncoder
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.from_encoder import FromEncoder
from likeness_runtime.method.memory import saved_bytes
from likeness_runtime.method.tune import TuningSubject, tune

BATCHES = (1, 2, 4, 8)
ALPHAS = (0.8, 1.0)
GPU_BYTES = {"8 GB": 8e9, "16 GB": 16e9, "24 GB": 24e9}
USABLE_GPU_SHARE = 0.9
"""Of a GPU's memory; the rest is CUDA's own and lost between blocks."""


@dataclass(frozen=True)
class Fit:
    """How many rows a tuning step can have on each GPU at one alpha; 0 where not even one fits."""

    alpha: float
    saved_bytes_of_one_row: int
    saved_bytes_of_two_rows: int
    rows_on: dict[str, int]


@dataclass(frozen=True)
class Account:
    """One model's numbers. Bytes: UNet, VAE and tower in bfloat16, text encoders and encoder in float32."""

    name: str
    unet_parameters: int
    attention_projections: int
    lora_numbers: int
    encoder_parameters: int
    weight_bytes: int
    fits: list[Fit]


@dataclass(frozen=True)
class Ran:
    """One prediction and one tuning step with random weights on the CPU."""

    name: str
    resolution_px: int
    predict_seconds: float
    step_seconds: float
    loss_before: float
    loss_after: float


def account(name: str) -> Account:
    """Counts on the meta device, at the model's own resolution."""
    model, encoder, tower = build_published(name, torch.device("meta"))
    weights = _bytes_of(*model.networks, model.latent_space.network, tower, encoder)
    layers = model.denoiser.adapter_sites()
    return Account(
        name=name,
        unet_parameters=_numbers(model.denoiser.network),
        attention_projections=len(layers),
        lora_numbers=PUBLISHED_RANK * sum(layer.in_features + layer.out_features for layer in layers.values()),
        encoder_parameters=_numbers(encoder),
        weight_bytes=weights,
        fits=[_fit(model, alpha, weights) for alpha in ALPHAS],
    )


def ran(name: str, resolution_px: int) -> Ran:
    """Predicts once and takes one step. Raises `RunError` where the loss is not finite."""
    model, encoder, tower = build_published(name, torch.device("cpu"), sample_size=resolution_px // 8)
    tower.float()
    trained = TrainedEncoder(encoder.eval().requires_grad_(False), tower, CLIP, [])
    generator = torch.Generator().manual_seed(0)
    picture = Image.radial_gradient("L").convert("RGB")
    started = time.perf_counter()
    prediction = FromEncoder(trained).predict(model, [[picture]], PUBLISHED_RANK, [generator])
    predicted = time.perf_counter()
    subject = TuningSubject(
        torch.randn(1, 1, *model.denoiser.latent_shape, generator=generator),
        [sentences("<subject>")],
        "<subject>",
        generator,
    )
    settings = ResolvedTuning(steps=1, batch_size=1, alpha="0.8")
    instants: list[float] = []
    tuned = tune(
        model,
        prediction,
        [subject],
        tuning=settings,
        progress=lambda _done, _total: instants.append(time.perf_counter()),
    ).checked()
    return Ran(
        name=name,
        resolution_px=resolution_px,
        predict_seconds=predicted - started,
        step_seconds=instants[1] - instants[0],
        loss_before=float(tuned.loss_before[0]),
        loss_after=float(tuned.loss_after[0]),
    )


def write_shapes(accounts: list[Account], runs: list[Ran], folder: Path) -> str:
    """shapes.json in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"accounts": [asdict(each) for each in accounts], "runs": [asdict(each) for each in runs]}
    text = json.dumps(facts, indent=2)
    (folder / "shapes.json").write_text(text + "\n")
    return text


def _fit(model: DiffusionModel, alpha: float, weights: int) -> Fit:
    """Activations grow with the rows; what one row and two rows keep gives the slope."""
    with fused_attention():
        one, two = (saved_bytes(model, tuning_step(model, rows, alpha)) for rows in (1, 2))
    fixed, slope = one - (two - one), two - one
    rows_on = {
        gpu: max((rows for rows in BATCHES if weights + fixed + rows * slope <= USABLE_GPU_SHARE * size), default=0)
        for gpu, size in GPU_BYTES.items()
    }
    return Fit(alpha, one, two, rows_on)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention keeps what a GPU's fused kernel keeps; the meta device would keep all scores, which no GPU does."""
    original = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _fused  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def _fused(q: Tensor, k: Tensor, v: Tensor, **_settings: object) -> Tensor:
    out: Tensor = _Fused.apply(q, k, v)  # type: ignore[no-untyped-call]
    return out


class _Fused(torch.autograd.Function):
    """Shapes only: inputs, output and one number a row, as FlashAttention (arXiv:2205.14135) keeps them."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG004 - on meta, its shape is all
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])


def _numbers(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _bytes_of(*networks: nn.Module) -> int:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
