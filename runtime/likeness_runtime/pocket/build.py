"""The whole build, stage after stage; each stage that is done is passed over, and one that was cut off is resumed."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from likeness_runtime.pocket import clip, latents, unet, vae
from likeness_runtime.pocket.caption import vocabulary
from likeness_runtime.pocket.export import export, split
from likeness_runtime.pocket.glyphs import GlyphSet, load, pack
from likeness_runtime.pocket.tokenizer import build_tokenizer
from likeness_runtime.pocket.training import Plan, read_average


@dataclass(frozen=True)
class Plans:
    """The plan of each trained stage."""

    vae: Plan = field(default=vae.PLAN)
    clip: Plan = field(default=clip.PLAN)
    unet: Plan = field(default=unet.PLAN)

    def with_minutes(self, minutes: dict[str, float]) -> "Plans":
        """The same plans with other lengths, by stage name."""
        return replace(self, **{stage: replace(getattr(self, stage), minutes=m) for stage, m in minutes.items()})


@dataclass(frozen=True)
class Workshop:
    """The files of one build: all paths below one home."""

    home: Path

    @property
    def glyphs(self) -> Path:
        """Table and pictures in one file."""
        return self.home / "glyphs.safetensors"

    @property
    def build(self) -> Path:
        """Checkpoints, latents and the log."""
        return self.home / "build"

    def open_glyphs(self) -> GlyphSet:
        """The glyph set, packed from the npm packages when it is not there yet."""
        if not self.glyphs.exists():
            pack(self.home / "downloads", self.glyphs)
        return load(self.glyphs)


def build(home: Path, target: Path, plans: Plans, device: torch.device) -> None:
    """Train what is missing under `home` and write the finished model to `target`."""
    workshop = Workshop(home)
    glyphs = workshop.open_glyphs()
    tokenizer = build_tokenizer(vocabulary(), workshop.build / "tokenizer")
    autoencoder = scaled(vae.train_vae(glyphs, workshop.build, plans.vae, device), glyphs, device)
    pair = clip.train_clip(glyphs, tokenizer, workshop.build, plans.clip, device)
    latents.write_shards(glyphs, tokenizer, autoencoder, workshop.build / "scenes", device)
    scenes = latents.read_shards(workshop.build / "scenes")
    text_encoder = split(pair)[0].to(device).requires_grad_(False)
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
    denoiser = unet.train_unet(scenes, text_encoder, empty, workshop.build, plans.unet, device)
    export(target, tokenizer, pair, autoencoder, denoiser)


def scaled(autoencoder: AutoencoderKL, glyphs: GlyphSet, device: torch.device) -> AutoencoderKL:
    """The autoencoder with the scaling factor of its latents in its configuration."""
    autoencoder.eval().register_to_config(scaling_factor=latents.scaling_factor(autoencoder, glyphs, device))
    return autoencoder


def export_checkpoints(home: Path, target: Path) -> None:
    """Write the model as it stands in the checkpoints under `home`, finished or not, to `target`."""
    workshop, device = Workshop(home), torch.device("cpu")
    glyphs = workshop.open_glyphs()
    tokenizer = build_tokenizer(vocabulary(), workshop.build / "tokenizer")
    autoencoder, pair = vae.build(), clip.build(glyphs, tokenizer)
    text_width = pair.pair.config.text_config.hidden_size
    denoiser = unet.build(text_width)
    for name, network in (("vae", autoencoder), ("clip", pair), ("unet", denoiser)):
        network.load_state_dict(read_average(workshop.build, name))
    export(target, tokenizer, pair, scaled(autoencoder, glyphs, device), denoiser)
