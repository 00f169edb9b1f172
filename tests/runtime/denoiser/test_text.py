from collections.abc import Callable

import pytest
import torch

from likeness_api.reason import Reason
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.failure import RunError

Models = Callable[[TinyKind], DiffusionModel]

TOKEN = "<red-teapot>"


@pytest.mark.parametrize("kind", TINY_KINDS)
@torch.no_grad()
def test_a_word_s_own_embedding_means_the_word(tiny_model: Models, kind: TinyKind) -> None:
    model = tiny_model(kind)
    rows = [row[None] for row in model.text.embedding_of("teapot")]
    learned = model.text.encode(model.text.tokenize([f"a photo of {TOKEN} on sand"], TOKEN), rows)
    plain = model.text.encode(model.text.tokenize(["a photo of teapot on sand"], TOKEN), rows)
    assert torch.allclose(learned.states, plain.states, atol=1e-5)
    if plain.pooled is not None:
        assert learned.pooled is not None
        assert torch.allclose(learned.pooled, plain.pooled, atol=1e-5)


@pytest.mark.parametrize("kind", TINY_KINDS)
@torch.no_grad()
def test_prompts_are_encoded_as_the_stock_pipeline_does(tiny_model: Models, kind: TinyKind) -> None:
    model = tiny_model(kind)
    rows = [row[None] for row in model.text.embedding_of("object")]
    ours = model.text.encode(model.text.tokenize(["a red cat in the snow"], TOKEN), rows)
    theirs = model.pipeline.encode_prompt(
        "a red cat in the snow", device=model.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    assert torch.allclose(ours.states, theirs[0], atol=1e-5)
    if ours.pooled is not None:
        assert torch.allclose(ours.pooled, theirs[2], atol=1e-5)


def test_the_embedding_takes_gradients_and_the_table_none(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    v_star = model.text.embedding_of("object")[0][None].requires_grad_()
    model.text.encode(model.text.tokenize([f"a {TOKEN}"], TOKEN), [v_star]).states.square().sum().backward()
    assert v_star.grad is not None
    assert v_star.grad.abs().sum() > 0
    assert model.text.token_tables[0].grad is None


@torch.no_grad()
def test_each_subject_s_prompts_get_its_own_word(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    words = torch.stack([model.text.embedding_of(word)[0] for word in ("cat", "dog")])
    together = model.text.encode(model.text.tokenize([f"a {TOKEN}", f"red {TOKEN}"] * 2, TOKEN), [words]).states
    for subject, v_star in enumerate(words):
        alone = model.text.encode(model.text.tokenize([f"a {TOKEN}", f"red {TOKEN}"], TOKEN), [v_star[None]]).states
        assert torch.allclose(together[2 * subject : 2 * subject + 2], alone, atol=1e-5)


def test_the_token_is_found_between_any_signs(tiny_model: Models) -> None:
    (prompts,) = tiny_model("sd15").text.tokenize([f'"{TOKEN}\'s {TOKEN}", said {TOKEN}.'], TOKEN)
    assert int(prompts.spots.sum()) == 3


def test_the_model_s_tokenizer_learns_nothing(tiny_model: Models) -> None:
    model = tiny_model("sd15")
    before = len(model.text.tokenizers[0])
    model.text.tokenize([TOKEN], TOKEN)
    assert len(model.text.tokenizers[0]) == before


def test_a_word_of_several_tokens_cannot_be_started_from(tiny_model: Models) -> None:
    with pytest.raises(RunError, match="expected one") as caught:
        tiny_model("sd15").text.embedding_of("xylophone")
    assert caught.value.reason == Reason.MODEL_NOT_FOUND
