"""The shipped model, loaded as a stranger would load it."""

import json
import logging
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from likeness_lab.pocket.caption import caption, caption_words
from likeness_lab.pocket.export import SIZE_LIMIT_BYTES
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.samples import PromptSampling, grid, open_pipeline, sample
from likeness_lab.pocket.scene import draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects
from likeness_lab.pocket.tokenizer import whole_word_ids
from likeness_runtime.method.forms import FORMS
from likeness_runtime.pocket import IMAGE_SIZE_PX, MODEL_PATH


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return open_pipeline(MODEL_PATH, torch.device("cpu"))


def test_it_loads_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        StableDiffusionPipeline.from_pretrained(str(MODEL_PATH), safety_checker=None, local_files_only=True)
    assert [record.message for record in caplog.records] == []


def test_its_weights_are_small_and_in_half_precision() -> None:
    files = list(MODEL_PATH.rglob("*.safetensors"))
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) <= SIZE_LIMIT_BYTES
    assert not list(MODEL_PATH.rglob("*.bin"))


def test_no_file_says_where_it_was_made() -> None:
    for path in MODEL_PATH.rglob("*.json"):
        assert "/root" not in path.read_text()
        assert "_name_or_path" not in json.loads(path.read_text())


def test_its_tokenizer_knows_every_word_of_the_captions(pipeline: Any) -> None:
    assert set(whole_word_ids(pipeline.tokenizer, caption_words())) == set(caption_words())


def test_its_latents_have_a_spread_of_about_one(pipeline: Any) -> None:
    pictures = sample(pipeline, ["a cat on a red background"] * 8, PromptSampling(steps=4))
    with torch.no_grad():
        latents = pipeline.vae.encode(pictures * 2 - 1).latent_dist.mean * pipeline.vae.config.scaling_factor
    assert 0.5 < latents.std() < 2


def test_a_seed_means_one_picture_whatever_is_drawn_beside_it(pipeline: Any) -> None:
    prompts = ["a dog on a blue background", "a fox on a white background"]
    together = sample(pipeline, prompts, PromptSampling(steps=3, seed=5))
    alone = sample(pipeline, prompts[1:], PromptSampling(steps=3, seed=6))
    assert together.shape == (2, 3, IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    assert torch.allclose(together[1:], alone, atol=1e-3)


def test_its_image_tower_finds_the_caption_of_a_picture(pipeline: Any) -> None:
    subjects, random = load_subjects(), np.random.default_rng(4)
    rows = subjects.named()[::12]
    scenes = [place(random, row, "fluent", draw_background(random)) for row in rows]
    images = images_of([render(scene, subjects.pictures["fluent"][scene.row]) for scene in scenes])
    prompts = [caption(scene, subjects.glyphs[scene.row].name, FORMS[1]) for scene in scenes]
    tokens = pipeline.tokenizer(prompts, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        text = torch.nn.functional.normalize(pipeline.text_encoder(tokens.input_ids).pooler_output, dim=-1)
        image = torch.nn.functional.normalize(pipeline.image_encoder(images * 2 - 1).image_embeds, dim=-1)
    assert ((text @ image.T).argmax(dim=1) == torch.arange(len(rows))).float().mean() >= 0.8


def test_a_grid_holds_its_pictures_row_by_row() -> None:
    pictures = torch.stack([torch.full((3, 4, 4), value) for value in (0.0, 0.2, 0.4)])
    sheet = grid(pictures, columns=2, zoom=1)
    assert sheet.size == (8, 8)
    assert [sheet.getpixel(corner) for corner in ((0, 0), (4, 0), (0, 4), (4, 4))] == [
        (0, 0, 0),
        (51, 51, 51),
        (102, 102, 102),
        (255, 255, 255),
    ]
