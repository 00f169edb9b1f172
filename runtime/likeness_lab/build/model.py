"""The whole build, stage after stage; each stage that is done is passed over, and one that was cut off is resumed."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPTokenizer

from likeness_lab.judge.glyph import WEIGHTS_PATH, train_judge, write_judge
from likeness_lab.pocket import clip, latents, unet, vae
from likeness_lab.pocket.caption import caption_words
from likeness_lab.pocket.clip import CLIP_PLAN
from likeness_lab.pocket.export import Parts, export, split
from likeness_lab.pocket.glyphs import TABLE_PATH, GlyphSet, load_glyphs, pack, write_table
from likeness_lab.pocket.scene_set import GLYPHS_FILE
from likeness_lab.pocket.stage import LOG_NAME, channels_last
from likeness_lab.pocket.subjects import SUBJECTS_PATH, write_subjects
from likeness_lab.pocket.tokenizer import build_tokenizer
from likeness_lab.pocket.unet import UNET_PLAN
from likeness_lab.pocket.vae import DECODER_PLAN, VAE_PLAN
from likeness_runtime.pretrain.checkpoint import has_checkpoint, read_average, refuse_older
from likeness_runtime.pretrain.parallel import present_processes
from likeness_runtime.pretrain.plan import TrainingPlan


@dataclass(frozen=True)
class BuildPlans:
    """The plan of each trained stage."""

    vae: TrainingPlan = VAE_PLAN
    clip: TrainingPlan = CLIP_PLAN
    unet: TrainingPlan = UNET_PLAN
    decoder: TrainingPlan = DECODER_PLAN

    def with_minutes(self, minutes: dict[str, float]) -> "BuildPlans":
        """The same plans with other lengths, by stage name."""
        return replace(self, **{stage: replace(getattr(self, stage), minutes=m) for stage, m in minutes.items()})


@dataclass(frozen=True)
class Workshop:
    """The files of one build: all paths below one home."""

    home: Path

    @property
    def glyphs(self) -> Path:
        """Table and pictures in one file."""
        return self.home / GLYPHS_FILE.name

    @property
    def build(self) -> Path:
        """Checkpoints, latents and the log."""
        return self.home / "build"

    def carry_on(self, log: Path) -> None:
        """Begin the build log with another build's, if there is none yet."""
        self.build.mkdir(parents=True, exist_ok=True)
        if not (self.build / LOG_NAME).exists():
            shutil.copy(log, self.build / LOG_NAME)

    def open_glyphs(self) -> GlyphSet:
        """The glyph set, packed from the npm packages when it is not there yet."""
        present_processes().first_alone(self._pack)
        return load_glyphs(self.glyphs)

    def _pack(self) -> None:
        if not self.glyphs.exists():
            pack(self.home / "downloads", self.glyphs)


def build_model(home: Path, target: Path, plans: BuildPlans, device: torch.device, start: Path | None = None) -> None:
    """Train what is missing under `home` and write the finished model to `target`.

    With `start`, the folder of a finished model, its tokenizer and its latents are kept as they are, and the other
    stages begin with its weights and carry on its log. What `home` already holds comes first.
    """
    workshop = Workshop(home)
    if start is not None:
        present_processes().first_alone(lambda: workshop.carry_on(start / LOG_NAME))
    glyphs = workshop.open_glyphs()
    words = (start or workshop.build) / "tokenizer"
    if start is None:
        present_processes().first_alone(lambda: build_tokenizer(caption_words(), words))
    tokenizer = CLIPTokenizer.from_pretrained(words)
    if start is None:
        autoencoder = scaled(vae.train_vae(glyphs, workshop.build, plans.vae, device), glyphs, device)
    else:
        autoencoder = AutoencoderKL.from_pretrained(start / "vae").float().to(device).eval()
    pair = clip.train_clip(glyphs, tokenizer, folder=workshop.build, plan=plans.clip, device=device, start=start)
    shards = workshop.build / "scenes"
    present_processes().first_alone(lambda: latents.write_shards(glyphs, tokenizer, autoencoder, shards, device))
    scenes = latents.read_shards(shards)
    text_encoder = channels_last(split(pair)[0], device).requires_grad_(False)
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
    denoiser = unet.train_unet(
        scenes, text_encoder, empty, folder=workshop.build, plan=plans.unet, device=device, start=start
    )
    refined = vae.refine_decoder(autoencoder, glyphs, workshop.build, plans.decoder, device)
    parts = Parts(tokenizer, pair, refined, denoiser)
    present_processes().first_alone(lambda: export(parts, workshop.build / LOG_NAME, target))


def build_judge(home: Path, plan: TrainingPlan, device: torch.device) -> None:
    """Train the glyph judge and write, with it, the table and the pictures that ship with the package."""
    workshop = Workshop(home)
    glyphs = workshop.open_glyphs()
    write_table(glyphs.glyphs, TABLE_PATH)
    write_subjects(glyphs, SUBJECTS_PATH)
    write_judge(train_judge(glyphs, workshop.build, plan, device), glyphs, WEIGHTS_PATH)


def refuse_older_checkpoints(home: Path, names: Iterable[str]) -> None:
    """Raises `RunError(EncoderMismatch)` where one of these stages was begun by a release with another format."""
    for name in names:
        refuse_older(Workshop(home).build, name)


def scaled(autoencoder: AutoencoderKL, glyphs: GlyphSet, device: torch.device) -> AutoencoderKL:
    """The autoencoder with the scaling factor of its latents in its configuration."""
    autoencoder.eval().register_to_config(scaling_factor=latents.scaling_factor(autoencoder, glyphs, device))
    return autoencoder


def export_checkpoints(home: Path, target: Path, start: Path | None = None) -> None:
    """Write the model as it stands in the checkpoints under `home`, finished or not, to `target`.

    `start` is the finished model the build began with, if any: tokenizer and encoder of pictures are its own.
    """
    workshop, device = Workshop(home), torch.device("cpu")
    glyphs = workshop.open_glyphs()
    tokenizer = CLIPTokenizer.from_pretrained((start or workshop.build) / "tokenizer")
    pair, denoiser = clip.new_pair(glyphs, tokenizer), unet.new_unet(clip.WIDTH)
    pair.load_state_dict(read_average(workshop.build, "clip"))
    denoiser.load_state_dict(read_average(workshop.build, "unet"))
    if start is not None:
        autoencoder = AutoencoderKL.from_pretrained(start / "vae").float()
    else:
        autoencoder = vae.new_autoencoder()
        autoencoder.load_state_dict(read_average(workshop.build, "vae"))
        scaled(autoencoder, glyphs, device)
    if has_checkpoint(workshop.build, "decoder"):
        autoencoder.load_state_dict(read_average(workshop.build, "decoder"))
    export(Parts(tokenizer, pair, autoencoder, denoiser), workshop.build / LOG_NAME, target)
