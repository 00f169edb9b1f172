from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from transformers import CLIPTokenizer

from likeness_runtime.denoiser.tiny import TINY_KINDS, TINY_WORDS, TinyKind, make, merge_rules
from likeness_runtime.storage.model_folder import folder_digest


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_stock_diffusers_loads_and_draws(tiny_folders: dict[TinyKind, Path], kind: TinyKind) -> None:
    pipeline = DiffusionPipeline.from_pretrained(tiny_folders[kind], use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a red cat", num_inference_steps=2).images[0].size == (64, 64)


def test_every_word_of_the_vocabulary_is_one_token(tiny_folders: dict[TinyKind, Path]) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_folders["sd15"] / "tokenizer")
    words = TINY_WORDS.split()
    assert [len(ids) for ids in tokenizer(words, add_special_tokens=False).input_ids] == [1] * len(words)


def test_any_other_text_is_spelt_out(tiny_folders: dict[TinyKind, Path]) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(tiny_folders["sd15"] / "tokenizer")
    ids = tokenizer("qwxyz!", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids).replace(" ", "") == "qwxyz!"
    assert tokenizer.unk_token_id not in ids


def test_a_word_that_begins_another_is_spelt_by_the_same_rules() -> None:
    assert merge_rules(["ab", "abc"]) == [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")]


def test_a_seed_means_the_same_weights(tiny_folders: dict[TinyKind, Path], tmp_path: Path) -> None:
    make(tmp_path / "again", "sd15")
    make(tmp_path / "other", "sd15", seed=1)
    assert folder_digest(tmp_path / "again") == folder_digest(tiny_folders["sd15"])
    assert folder_digest(tmp_path / "other") != folder_digest(tiny_folders["sd15"])
