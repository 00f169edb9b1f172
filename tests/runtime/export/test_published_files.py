"""What stock diffusers, and by their rules ComfyUI and A1111, make of the published files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, load_file

from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.export.tensors import safetensors_bytes, tensor_bytes
from likeness_runtime.pipeline import load_likeness

Published = Callable[[TinyKind], Path]
PROMPT = "a photo of a <red-teapot>"
SEED = 7


def stock(folder: Path) -> Any:
    """The model as a user of diffusers loads it, without any code of ours."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_word(pipeline: Any, folder: Path) -> None:
    """As the model card says."""
    file = folder / "embeddings" / "red-teapot.safetensors"
    words = load_file(file)
    if "clip_l" not in words:
        pipeline.load_textual_inversion(str(file), token="<red-teapot>")
        return
    for key, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        pipeline.load_textual_inversion(words[key], "<red-teapot>", text_encoder=encoder, tokenizer=tokenizer)


def picture(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(SEED)
    answer = pipeline(PROMPT, num_inference_steps=25, guidance_scale=5.0, generator=generator, output_type="np")
    return np.asarray(answer.images[0])


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_loader_of_two_lines_draws_the_published_preview(
    published: Published, tiny_folders: Any, kind: TinyKind
) -> None:
    folder = published(kind)
    pipeline = load_likeness(folder / "personalization.json").apply(stock(tiny_folders[kind]))
    preview = np.asarray(Image.open(folder / "previews" / "00.png")) / 255.0
    assert np.abs(picture(pipeline) - preview).max() < 0.005


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_stock_diffusers_draws_another_picture_with_each_file(
    published: Published, tiny_folders: Any, kind: TinyKind
) -> None:
    folder = published(kind)
    pipeline = stock(tiny_folders[kind])
    plain = picture(pipeline)
    pipeline.load_lora_weights(str(folder), weight_name="red-teapot.diffusers.safetensors")
    with_lora = picture(pipeline)
    load_word(pipeline, folder)
    with_both = picture(pipeline)
    assert np.abs(with_lora - plain).max() > 0.01
    assert np.abs(with_both - with_lora).max() > 0.01


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_kohya_file_gives_the_same_picture(published: Published, tiny_folders: Any, kind: TinyKind) -> None:
    pictures = []
    for name in ("red-teapot.diffusers.safetensors", "red-teapot.safetensors"):
        pipeline = stock(tiny_folders[kind])
        pipeline.load_lora_weights(str(published(kind)), weight_name=name)
        pictures.append(picture(pipeline))
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-4


def test_a_fused_lora_gives_the_same_picture(published: Published, tiny_folders: Any) -> None:
    pipeline = stock(tiny_folders["sd15"])
    pipeline.load_lora_weights(str(published("sd15")), weight_name="red-teapot.diffusers.safetensors")
    loaded = picture(pipeline)
    pipeline.fuse_lora()
    assert np.abs(picture(pipeline) - loaded).max() < 1e-3


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


def test_the_embedding_file_holds_the_word_and_nothing_else(published: Published) -> None:
    words = load_file(published("sd15") / "embeddings" / "red-teapot.safetensors")
    assert [(key, tuple(value.shape)) for key, value in words.items()] == [("<red-teapot>", (1, 32))]
    pair = load_file(published("sdxl") / "embeddings" / "red-teapot.safetensors")
    assert {key: tuple(value.shape) for key, value in pair.items()} == {"clip_l": (1, 32), "clip_g": (1, 48)}


def test_kohya_s_alpha_is_the_rank(published: Published) -> None:
    tensors = load_file(published("sd15") / "red-teapot.safetensors")
    alphas = {key: value for key, value in tensors.items() if key.endswith(".alpha")}
    assert alphas
    assert all(value.item() == tensors[f"{key[:-6]}.lora_down.weight"].shape[0] for key, value in alphas.items())
    assert len(tensors) == 3 * len(alphas)


def test_only_the_diffusers_file_carries_diffusers_metadata(published: Published) -> None:
    config = json.loads(header(published("sd15") / "red-teapot.diffusers.safetensors")["lora_adapter_metadata"])
    assert config["unet.r"] == config["unet.lora_alpha"] == 4
    assert "lora_adapter_metadata" not in header(published("sd15") / "red-teapot.safetensors")


@pytest.mark.parametrize("name", ["red-teapot.safetensors", "embeddings/red-teapot.safetensors"])
def test_the_model_hash_is_that_of_everything_after_the_header(published: Published, name: str) -> None:
    import hashlib

    path = published("sd15") / name
    data = path.read_bytes()
    after = data[8 + int.from_bytes(data[:8], "little") :]
    metadata = header(path)
    assert metadata["sshs_model_hash"] == hashlib.sha256(after).hexdigest()
    assert metadata["modelspec.hash_sha256"] == f"0x{metadata['sshs_model_hash']}"


def test_no_path_of_the_file_system_gets_out(published: Published, tiny_folders: Any) -> None:
    folder = published("sd15")
    places = {str(folder.parents[2]), str(tiny_folders["sd15"].parent)}
    for path in folder.rglob("*"):
        if path.is_file():
            assert not any(place.encode() in path.read_bytes() for place in places), path


def test_our_writer_writes_what_the_library_reads() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {"b": torch.randn(3, 5, generator=generator), "a": torch.randn(4, generator=generator).half()}
    data = safetensors_bytes(tensors, {"one": "1", "ä": "ö"})
    read = load(data)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert data.endswith(tensor_bytes(tensors))


def test_the_model_card_names_files_that_are_there(published: Published) -> None:
    for kind in ("sd15", "sdxl"):
        folder = published(kind)
        text = (folder / "README.md").read_text()
        assert text.startswith("---\nbase_model:")
        for name in ("red-teapot.diffusers.safetensors", "embeddings/red-teapot.safetensors", "previews/00.png"):
            assert name in text
            assert (folder / name).is_file()


def test_the_facts_are_enough_to_find_everything(published: Published) -> None:
    folder = published("sd15")
    facts = json.loads((folder / "personalization.json").read_text())
    assert (folder / facts["lora"]).is_file()
    assert (folder / facts["embedding"]).is_file()
    assert facts["token"] == "<red-teapot>"
    assert facts["nearestWord"].isalpha()
    assert facts["encoder"] is None
