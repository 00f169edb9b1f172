from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from likeness_runtime.denoiser.model import DiffusionModel, load
from likeness_runtime.denoiser.text import embedding_of
from likeness_runtime.denoiser.tiny import KINDS, Kind, make
from likeness_runtime.method.nearest_word import WORDS_FILE, nearest_word, whole_words

Models = Callable[[Kind], DiffusionModel]


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_is_nearest_to_itself(tiny_model: Models, kind: Kind) -> None:
    model = tiny_model(kind)
    word, cosine = nearest_word(model, embedding_of(model, "teapot"))
    assert word == "teapot"
    assert cosine == pytest.approx(1.0, abs=1e-5)


def test_the_length_of_the_embedding_does_not_matter(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    assert nearest_word(model, [7.0 * row for row in embedding_of(model, "horse")])[0] == "horse"


def test_only_whole_words_are_chosen(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    assert all(word.isalpha() and len(word) >= 3 for word in whole_words(model))
    vocabulary = model.tokenizers[0].get_vocab()
    piece, special = vocabulary["teap"], vocabulary["<|endoftext|>"]
    for excluded in (piece, special):
        word, _ = nearest_word(model, [model.token_tables[0][torch.tensor(excluded)]])
        assert word in whole_words(model)


def test_a_tokenizers_own_list_of_words_settles_what_a_word_is(tmp_path: Path) -> None:
    make(tmp_path, "sd15")
    (tmp_path / "tokenizer" / WORDS_FILE).write_text("cat\nteapot\nunheardof\n")
    assert set(whole_words(load(tmp_path, "0" * 64, torch.device("cpu")))) == {"cat", "teapot"}
