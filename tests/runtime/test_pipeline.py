"""The two-line loader in stock diffusers pipelines, on folders as a run publishes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from likeness_runtime.denoiser.architectures.attention import attention_projections
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.pipeline import load_likeness

TOKEN = "<red-teapot>"
PROMPT = f"a photo of {TOKEN}"


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def kind(request: pytest.FixtureRequest) -> TinyKind:
    chosen: TinyKind = request.param
    return chosen


@pytest.fixture
def pipeline(kind: TinyKind, tiny_folders: dict[TinyKind, Path]) -> Any:
    chosen: Any = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    more: dict[str, Any] = {} if kind == "sdxl" else {"safety_checker": None}
    loaded = chosen.from_pretrained(tiny_folders[kind], use_safetensors=True, local_files_only=True, **more)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture
def published(pipeline: Any, kind: TinyKind, tmp_path: Path) -> Path:
    """personalization.json, the LoRA and the embedding; random numbers large enough to be seen."""
    generator = torch.Generator().manual_seed(1)
    lora = {}
    for path, layer in attention_projections(pipeline.unet).items():
        lora[f"unet.{path}.lora_A.weight"] = torch.randn(2, layer.in_features, generator=generator)
        lora[f"unet.{path}.lora_B.weight"] = 0.3 * torch.randn(layer.out_features, 2, generator=generator)
    encoders = [pipeline.text_encoder, *([pipeline.text_encoder_2] if kind == "sdxl" else [])]
    keys = ["clip_l", "clip_g"] if kind == "sdxl" else [TOKEN]
    rows = {
        key: torch.randn(1, encoder.get_input_embeddings().weight.shape[1], generator=generator)
        for key, encoder in zip(keys, encoders, strict=True)
    }
    save_file(lora, tmp_path / "lora.safetensors")
    save_file(rows, tmp_path / "word.safetensors")
    facts = {
        "formatVersion": 1,
        "token": TOKEN,
        "nearestWord": "teapot",
        "alpha": "0.6",
        "lora": "lora.safetensors",
        "embedding": "word.safetensors",
    }
    file = tmp_path / "personalization.json"
    file.write_text(json.dumps(facts))
    return file


def drawn(pipeline: Any, prompt: str, guidance: float = 3.0, **more: Any) -> Any:
    return pipeline(
        prompt,
        num_inference_steps=2,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **more,
    ).images[0]


def test_alpha_zero_draws_what_the_untouched_pipeline_draws_of_the_nearest_word(pipeline: Any, published: Path) -> None:
    vanilla = drawn(pipeline, "a photo of teapot")
    applied = load_likeness(published).apply(pipeline, alpha=0.0)
    np.testing.assert_allclose(drawn(applied, PROMPT), vanilla, atol=1e-4)


def test_alpha_one_draws_what_diffusers_draws_with_the_plain_files(
    pipeline: Any, published: Path, kind: TinyKind, tiny_folders: dict[TinyKind, Path]
) -> None:
    stock = type(pipeline).from_pretrained(tiny_folders[kind], use_safetensors=True, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    likeness = load_likeness(published)
    stock.load_lora_weights(published.parent, weight_name="lora.safetensors")
    stock.load_textual_inversion(
        likeness.embeddings[0][None], TOKEN, text_encoder=stock.text_encoder, tokenizer=stock.tokenizer
    )
    if kind == "sdxl":
        stock.load_textual_inversion(
            likeness.embeddings[1][None], TOKEN, text_encoder=stock.text_encoder_2, tokenizer=stock.tokenizer_2
        )
    applied = likeness.apply(pipeline, alpha=1.0)
    np.testing.assert_allclose(drawn(applied, PROMPT, 1.0), drawn(stock, PROMPT, 1.0), atol=1e-3)
    # With guidance the loader leads away from the untouched model, a stock pipeline from the adapted one.
    assert np.abs(drawn(applied, PROMPT, 3.0) - drawn(stock, PROMPT, 3.0)).max() > 1e-3


@pytest.mark.parametrize("kind", ["sd15"], indirect=True)  # SDXL's pooled text keeps the blend that was applied
def test_alpha_can_be_given_for_one_call(pipeline: Any, published: Path) -> None:
    vanilla = drawn(pipeline, "a photo of teapot")
    applied = load_likeness(published).apply(pipeline)
    as_published = drawn(applied, PROMPT)
    assert np.abs(as_published - vanilla).max() > 1e-3
    np.testing.assert_allclose(drawn(applied, PROMPT, cross_attention_kwargs={"alpha": 0.0}), vanilla, atol=1e-4)


def test_after_removal_the_pipeline_is_what_it_was(pipeline: Any, published: Path) -> None:
    before = drawn(pipeline, "a photo of a cat")
    likeness = load_likeness(published)
    likeness.remove(likeness.apply(pipeline))
    np.testing.assert_allclose(drawn(pipeline, "a photo of a cat"), before, atol=1e-5)


def test_a_second_subject_is_refused(pipeline: Any, published: Path) -> None:
    likeness = load_likeness(published)
    likeness.apply(pipeline)
    with pytest.raises(ValueError, match="remove that one first"):
        likeness.apply(pipeline)


def test_prompts_that_are_no_text_are_refused(pipeline: Any, published: Path, kind: TinyKind) -> None:
    applied = load_likeness(published).apply(pipeline)
    rows = torch.zeros(1, 24, pipeline.unet.config.cross_attention_dim)
    more: Any = {"negative_pooled_prompt_embeds": torch.zeros(1, 24)} if kind == "sdxl" else {}
    with pytest.raises(ValueError, match="expects the prompt as text"):
        drawn(applied, "x", negative_prompt_embeds=rows, **more)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "personalization.json").write_text('{"formatVersion": 2}')
    with pytest.raises(ValueError, match=r"expected a personalization.json of formatVersion 1"):
        load_likeness(tmp_path / "personalization.json")
