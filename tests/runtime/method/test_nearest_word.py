from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from likeness_runtime.denoiser.model import DiffusionModel, load_diffusion_model
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind, make
from likeness_runtime.method.nearest_word import WORDS_FILE, nearest_word, whole_words

Models = Callable[[TinyKind], DiffusionModel]


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_a_word_is_nearest_to_itself(tiny_model: Models, kind: TinyKind) -> None:
    model = tiny_model(kind)
    word, cosine = nearest_word(model, model.text.embedding_of("teapot"))
    assert word == "teapot"
    assert cosine == pytest.approx(1.0, abs=1e-5)


def test_the_length_of_the_embedding_does_not_matter(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    assert nearest_word(model, [7.0 * row for row in model.text.embedding_of("horse")])[0] == "horse"


def test_only_whole_words_are_chosen(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    assert all(word.isalpha() and len(word) >= 3 for word in whole_words(model))
    vocabulary = model.text.tokenizers[0].get_vocab()
    piece, special = vocabulary["teap"], vocabulary["<|endoftext|>"]
    for excluded in (piece, special):
        word, _ = nearest_word(model, [model.text.token_tables[0][torch.tensor(excluded)]])
        assert word in whole_words(model)


def test_a_tokenizers_own_list_of_words_settles_what_a_word_is(tmp_path: Path) -> None:
    make(tmp_path, "sd15")
    (tmp_path / "tokenizer" / WORDS_FILE).write_text("cat\nteapot\nunheardof\n")
    assert set(whole_words(load_diffusion_model(tmp_path, "0" * 64, torch.device("cpu")))) == {"cat", "teapot"}
