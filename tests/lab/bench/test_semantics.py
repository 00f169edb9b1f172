import pytest
import torch

from likeness_lab.bench.draw import Learned
from likeness_lab.bench.recognition import FOREIGN, foreign_phrases, names_of, recognition
from likeness_lab.bench.score import score
from likeness_lab.bench.semantics import (
    UNUSUAL,
    groups_of_words,
    swapped,
    unusual_prompts,
    words_of,
)
from likeness_lab.judge import glyph
from likeness_lab.pocket.caption import caption_words, context_phrases
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import COLOURS, Background, paint
from likeness_runtime.denoiser.model import DiffusionModel, load_diffusion_model
from likeness_runtime.method.contexts import Contexts
from likeness_runtime.method.encoder_folder import load_encoder
from likeness_runtime.method.forms import FORMS
from likeness_runtime.method.predictor import FromWord, Prediction
from likeness_runtime.pocket import MODEL_PATH
from likeness_runtime.storage.model_folder import folder_digest


@pytest.fixture(scope="module")
def pocket() -> DiffusionModel:
    return load_diffusion_model(MODEL_PATH, folder_digest(MODEL_PATH), torch.device("cpu"))


def test_a_words_own_embedding_is_nearest_to_itself_and_of_its_group(pocket: DiffusionModel) -> None:
    prediction = Prediction([row[None] for row in pocket.text.embedding_of("fox")], {})
    assert words_of(pocket, prediction)[0] == "fox"
    assert groups_of_words()["fox"] == groups_of_words()["animal"] == "animal"


def test_unusual_sentences_have_known_words_in_forms_that_nobody_was_trained_on() -> None:
    known = set(caption_words())
    for prompt in unusual_prompts():
        before, _, behind = prompt.partition("<subject>")
        assert set((before + behind).split()) <= known
    trained = {form.format("a <subject>") for form in FORMS}
    assert not any(prompt.split(" on ")[0] in trained and " on " in prompt for prompt in unusual_prompts())


def test_true_backgrounds_are_as_the_unusual_sentences_name_them() -> None:
    truth = images_of([paint(background) for _, background in UNUSUAL])
    backgrounds = [background for _, background in UNUSUAL]
    assert score(torch.cat([truth, truth]), truth, truth, glyph.embed_by_glyph, backgrounds).fidelity == 1.0
    assert score(truth.flip(0), truth, truth, glyph.embed_by_glyph, backgrounds).fidelity < 0.5


def test_a_swap_takes_one_subjects_word_and_anothers_offsets(pocket: DiffusionModel) -> None:
    fox, cat = (
        Learned(FromWord(word).predict(pocket, [[]], 2, [torch.Generator().manual_seed(seed)]), "a <subject>")
        for seed, word in enumerate(("fox", "lion"))
    )
    found = swapped(fox, cat).prediction
    assert torch.equal(found.embeddings[0], fox.prediction.embeddings[0])
    assert found.offsets is cat.prediction.offsets


def test_foreign_phrases_are_as_many_as_the_worlds_and_none_of_its() -> None:
    assert len(foreign_phrases()) == len(context_phrases())
    assert not set(foreign_phrases()) & set(context_phrases())
    assert not set(FOREIGN) & set(COLOURS)


def test_stripes_are_told_rightly_in_either_order() -> None:
    assert names_of(Background("striped", "red", "blue")) == {
        "on a red and blue striped background",
        "on a blue and red striped background",
    }


def test_a_margin_tells_less_and_truer(pocket: DiffusionModel) -> None:
    trained = load_encoder(MODEL_PATH.parent / "encoder", pocket)
    assert trained.contexts is not None
    found = recognition(pocket, trained, trained.contexts, skip=40, count=3)
    assert found.at[0].told == 1.0
    assert [each.told for each in found.at] == sorted((each.told for each in found.at), reverse=True)
    assert found.at[-1].right >= found.at[0].right > 0.8
    assert found.shortlisted >= found.by_tower_alone


def test_phrases_of_nothing_that_is_there_are_never_right(pocket: DiffusionModel) -> None:
    trained = load_encoder(MODEL_PATH.parent / "encoder", pocket)
    foreign = Contexts(foreign_phrases(), torch.randn(len(foreign_phrases()), 192))
    found = recognition(pocket, trained, foreign, skip=40, count=1)
    assert (found.shortlisted, found.at[0].right) == (0.0, 0.0)
