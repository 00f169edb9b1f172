from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from likeness_lab.pocket.caption import caption_words
from likeness_lab.pocket.tokenizer import MAX_CAPTION_TOKENS, build_tokenizer, train_merges, whole_word_ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(caption_words(), folder)
    return folder


def test_every_word_of_the_vocabulary_is_one_token_of_its_own(folder: Path) -> None:
    ids = whole_word_ids(CLIPTokenizer.from_pretrained(folder), caption_words())
    assert len(set(ids.values())) == len(caption_words())


def test_the_merges_of_a_word_list_are_the_same_in_every_process() -> None:
    assert train_merges(["cat", "cart"]) == [("c", "a"), ("ca", "r"), ("ca", "t</w>"), ("car", "t</w>")]


def test_an_unknown_word_falls_back_to_pieces_that_spell_it(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    ids = tokenizer("zyzzyva", add_special_tokens=False).input_ids
    assert len(ids) > 1
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == "zyzzyva"


def test_capitals_do_not_matter(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert tokenizer("A Picture of a CAT").input_ids == tokenizer("a picture of a cat").input_ids


def test_prompts_are_padded_to_the_length_of_the_text_tower(folder: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    ids = tokenizer("a cat", padding="max_length", truncation=True).input_ids
    assert tokenizer.model_max_length == len(ids) == MAX_CAPTION_TOKENS


def test_a_word_that_is_split_is_named_in_the_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="'zyzzyva'"):
        whole_word_ids(CLIPTokenizer.from_pretrained(folder), ["cat", "zyzzyva"])
