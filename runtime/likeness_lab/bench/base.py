"""How well the plain pocket model follows prompts, and how far its judges can be trusted: `likeness bench base`.

Every figure of a generated picture stands beside the same judge's figure on true renders of the same scenes, which is
its ceiling. The prompts name each glyph the model was taught four times, before backgrounds whose patterns take turns.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from likeness_lab.judge import glyph as glyph_judge
from likeness_lab.judge.background import read_backgrounds, same_colours, same_pattern
from likeness_lab.pocket.caption import MEDIA, caption
from likeness_lab.pocket.glyphs import ARTS, GlyphSet
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.samples import PromptSampling, grid, open_pipeline, sample
from likeness_lab.pocket.scene import COLOURS, PATTERNS, Background, Scene, draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects

ROUNDS: int = 4
"""Prompts for each glyph the model was taught by name."""

RENDERS: int = 100
"""Pictures among which a caption has to find its own."""

GRID: int = 64
"""Pictures on the contact sheet."""


@dataclass(frozen=True)
class Followed:
    """Shares of pictures in [0, 1]: the right glyph first or among five (of all seen ones), colours, pattern."""

    pictures: int
    glyph_at_1: float
    glyph_at_5: float
    colours: float
    pattern: float


@dataclass(frozen=True)
class BaseReport:
    """Everything `base.json` says."""

    sampling: PromptSampling
    glyphs_to_choose_from: int
    generated: Followed
    generated_by_pattern: dict[str, Followed]
    true_renders: Followed
    clip_text_to_image_at_1: float
    """Share of captions whose own render is the closest of `RENDERS`."""
    vae_psnr_held_out_db: float
    """Mean over renders of held-out glyphs."""
    seconds_per_picture: float
    """One picture alone, batch of one."""
    threads: int
    device: str
    missed: dict[str, str]
    """PromptedScene glyph -> what the judge took it for, where all prompts of a glyph failed."""


@dataclass(frozen=True)
class PromptedScene:
    """One prompt with the truth about it."""

    scene: Scene
    code_point: str
    prompt: str


def measure_base(model: Path, sampling: PromptSampling, device: torch.device) -> tuple[BaseReport, Tensor, list[str]]:
    """Sample and judge. Returns the report and the contact sheet's pictures with their prompts."""
    glyphs = load_subjects()
    scenes = draw_prompts(glyphs, sampling.seed)
    pipeline = open_pipeline(model, device)
    seconds = seconds_for_one(pipeline, scenes[0].prompt, sampling)
    pictures = sample(pipeline, [one.prompt for one in scenes], sampling)
    truth = images_of([render(one.scene, glyphs.pictures[one.scene.art][one.scene.row]) for one in scenes])
    by_pattern = {
        pattern: judged([scenes[index] for index in chosen], pictures[chosen])
        for pattern in PATTERNS
        if (chosen := [index for index, one in enumerate(scenes) if one.scene.background.pattern == pattern])
    }
    report = BaseReport(
        sampling=sampling,
        glyphs_to_choose_from=len(glyph_judge.open_glyph_judge()[1]),
        generated=judged(scenes, pictures),
        generated_by_pattern=by_pattern,
        true_renders=judged(scenes, truth),
        clip_text_to_image_at_1=clip_retrieval(pipeline, scenes[:RENDERS], truth[:RENDERS]),
        vae_psnr_held_out_db=held_out_psnr(pipeline.vae, glyphs, sampling.seed),
        seconds_per_picture=seconds,
        threads=torch.get_num_threads(),
        device=str(device),
        missed=missed(scenes, pictures),
    )
    return report, pictures[:GRID], [one.prompt for one in scenes[:GRID]]


def write_base_report(result: tuple[BaseReport, Tensor, list[str]], folder: Path) -> str:
    """Write base.json and base.png to `folder`; return the JSON."""
    report, pictures, prompts = result
    folder.mkdir(parents=True, exist_ok=True)
    grid(pictures, columns=8).save(folder / "base.png")
    text = json.dumps({**asdict(report), "grid_prompts": prompts}, indent=2)
    (folder / "base.json").write_text(text + "\n")
    return text


def draw_prompts(glyphs: GlyphSet, seed: int) -> list[PromptedScene]:
    """Each named glyph `ROUNDS` times in shuffled order; the patterns take turns, so that each comes equally often."""
    random = np.random.default_rng(seed)
    scenes = []
    for turn in range(ROUNDS):
        for number, row in enumerate(random.permutation(glyphs.drawn())):
            pattern = PATTERNS[(number + turn) % len(PATTERNS)]
            first, second = (str(colour) for colour in random.choice(list(COLOURS), size=2, replace=False))
            background = Background(pattern, first, first if pattern == "plain" else second)
            scene = place(random, int(row), ARTS[0], background)
            glyph = glyphs.glyphs[row]
            scenes.append(PromptedScene(scene, glyph.code_point, caption(scene, glyph.name, MEDIA[scene.art][0])))
    return scenes


def judged(scenes: list[PromptedScene], pictures: Tensor) -> Followed:
    """The shares of `pictures` (k, 3, 64, 64) that show what their prompts name."""
    recognised = glyph_judge.recognise(pictures, best=5)
    backgrounds = read_backgrounds(pictures)
    pairs = list(zip(scenes, backgrounds, strict=True))
    ranked = list(zip(scenes, recognised, strict=True))
    return Followed(
        pictures=len(scenes),
        glyph_at_1=share([one.code_point == best[0] for one, best in ranked]),
        glyph_at_5=share([one.code_point in best for one, best in ranked]),
        colours=share([same_colours(one.scene.background, found) for one, found in pairs]),
        pattern=share([same_pattern(one.scene.background, found) for one, found in pairs]),
    )


def missed(scenes: list[PromptedScene], pictures: Tensor) -> dict[str, str]:
    """The glyphs none of whose pictures was recognised, with what the last one was taken for."""
    hits: dict[str, list[bool]] = {}
    taken: dict[str, str] = {}
    for one, best in zip(scenes, glyph_judge.recognise(pictures, best=1), strict=True):
        hits.setdefault(one.code_point, []).append(best[0] == one.code_point)
        taken[one.code_point] = best[0]
    return {code_point: taken[code_point] for code_point, found in hits.items() if not any(found)}


@torch.no_grad()
def clip_retrieval(pipeline: StableDiffusionPipeline, scenes: list[PromptedScene], truth: Tensor) -> float:
    """Share of prompts to which their own true render is closer than every other."""
    device, image_encoder = pipeline.device, pipeline.image_encoder
    if image_encoder is None:
        raise ValueError("the model has no image_encoder, expected one beside its text_encoder")
    tokens = pipeline.tokenizer([one.prompt for one in scenes], padding="max_length", return_tensors="pt").to(device)
    text = pipeline.text_encoder(tokens.input_ids).pooler_output
    image = image_encoder((truth * 2 - 1).to(device)).image_embeds
    text, image = (torch.nn.functional.normalize(side, dim=-1) for side in (text, image))
    nearest = (text @ image.T).argmax(dim=1).tolist()
    return share([found == index for index, found in enumerate(nearest)])


@torch.no_grad()
def held_out_psnr(vae: AutoencoderKL, glyphs: GlyphSet, seed: int) -> float:
    """Mean PSNR in dB over one render of every held-out glyph in each art, decoded from its latents' mean."""
    random = np.random.default_rng(seed)
    images = []
    for row in glyphs.held_out():
        for art in ARTS:
            scene = place(random, row, art, draw_background(random))
            images.append(render(scene, glyphs.pictures[art][row]))
    truth = images_of(images)
    chunks = (truth.to(vae.device) * 2 - 1).split(32)
    decoded = [vae.decode(vae.encode(chunk).latent_dist.mean).sample for chunk in chunks]
    error = (torch.cat(decoded).cpu().clamp(-1, 1) / 2 + 0.5 - truth).square().mean(dim=(1, 2, 3))
    return round(float((-10 * error.log10()).mean()), 2)


def seconds_for_one(pipeline: StableDiffusionPipeline, prompt: str, sampling: PromptSampling) -> float:
    """Wall time of one picture alone, after one that warms up."""
    sample(pipeline, [prompt], sampling)
    started = time.perf_counter()
    sample(pipeline, [prompt], sampling)
    return round(time.perf_counter() - started, 3)


def share(right: list[bool]) -> float:
    """The part of `right` that is true, to four digits."""
    return round(sum(right) / len(right), 4)
