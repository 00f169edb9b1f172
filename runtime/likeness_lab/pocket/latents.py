"""Stage 3: scenes as latents on disk, so that no autoencoder runs while the UNet trains.

They show glyphs the UNet is to be taught by name, and unnamed ones; never a glyph that is named but not taught. A
shard is one safetensors file: latents (n, 4, 16, 16) in fp16, already scaled, and tokens (n, 24). Shards are drawn from
their number alone; one that is there is not drawn again.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from likeness_lab.pocket.clip import draw_example
from likeness_lab.pocket.glyphs import GlyphSet
from likeness_lab.pocket.pixels import pixels_of
from likeness_lab.pocket.stage import LOG_NAME, mixed_precision
from likeness_runtime.pretrain.training import append_line

log = logging.getLogger(__name__)

SHARDS: int = 12
"""Number of shards."""

SHARD_SCENES: int = 4096
"""Scenes per shard."""

CHUNK: int = 64
"""Scenes encoded at once."""


@dataclass(frozen=True)
class Latents:
    """All shards together: latents (n, 4, 16, 16) fp16, tokens (n, 24) int64."""

    latents: Tensor
    tokens: Tensor


@torch.no_grad()
def scaling_factor(vae: AutoencoderKL, glyphs: GlyphSet, device: torch.device) -> float:
    """The factor that gives the latents of 512 scenes a standard deviation of one."""
    random = np.random.default_rng((3, 0))
    pictures = [draw_example(glyphs, glyphs.named(), random).picture for _ in range(512)]
    means = [
        vae.encode(pixels_of(pictures[start : start + CHUNK], device)).latent_dist.mean
        for start in range(0, 512, CHUNK)
    ]
    return float(1 / torch.cat(means).float().std())


def write_shards(
    glyphs: GlyphSet, tokenizer: CLIPTokenizer, vae: AutoencoderKL, folder: Path, device: torch.device
) -> None:
    """Draw, encode and write every shard that is not in `folder` yet. The scale is `vae.config.scaling_factor`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(SHARDS):
        path = folder / f"scenes-{number:03d}.safetensors"
        if path.exists():
            continue
        started = time.monotonic()
        shard = draw_shard(glyphs, tokenizer, vae, number, device)
        partial = path.with_suffix(".partial")
        save_file(shard, partial)
        partial.replace(path)
        rate = SHARD_SCENES / (time.monotonic() - started)
        line = {"stage": "scenes", "shard": number + 1, "of": SHARDS, "examplesPerSecond": round(rate, 1)}
        append_line(folder.parent / LOG_NAME, line)
        log.info("Drew shard %(shard)d of %(of)d: %(examplesPerSecond).1f pictures a second.", line)


@torch.no_grad()
def draw_shard(
    glyphs: GlyphSet, tokenizer: CLIPTokenizer, vae: AutoencoderKL, number: int, device: torch.device
) -> dict[str, Tensor]:
    """The tensors of shard `number`."""
    random = np.random.default_rng((4, number))
    latents, tokens = [], []
    for _ in range(SHARD_SCENES // CHUNK):
        examples = [draw_example(glyphs, glyphs.drawn(), random) for _ in range(CHUNK)]
        with mixed_precision(device):
            encoded = vae.encode(pixels_of([example.picture for example in examples], device)).latent_dist.mean
        latents.append((encoded.float() * vae.config["scaling_factor"]).half().cpu().contiguous())
        captions = [example.caption for example in examples]
        tokens.append(tokenizer(captions, padding="max_length", return_tensors="pt").input_ids)
    return {"latents": torch.cat(latents), "tokens": torch.cat(tokens)}


def read_shards(folder: Path) -> Latents:
    """Everything `write_shards` wrote. Raises `FileNotFoundError` when there is nothing."""
    shards = [load_file(path) for path in sorted(folder.glob("scenes-*.safetensors"))]
    if not shards:
        raise FileNotFoundError(f"{folder}: no scenes-*.safetensors, expected {SHARDS} shards of the scenes stage")
    return Latents(*(torch.cat([shard[name] for shard in shards]) for name in ("latents", "tokens")))
