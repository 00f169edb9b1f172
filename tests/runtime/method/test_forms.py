"""A subject is used in sentences of the kind that the base model was trained on."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from likeness_api.personalization import default_token
from likeness_lab.bench.score import prompts
from likeness_lab.pocket.caption import context_phrases, draw_caption
from likeness_lab.pocket.glyphs import Glyph
from likeness_lab.pocket.scene import draw_background, place
from likeness_lab.pocket.scene_set import Scenes
from likeness_lab.pocket.subjects import load_subjects
from likeness_runtime.method.forms import DEFAULT_FORM, FORMS, sentences, with_article

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))
CAT = Glyph("1f408", "cat", "cat", "animal", held_out=False)


def captions(count: int = 400) -> set[str]:
    """What the base model was told about pictures of a cat, their backgrounds left out."""
    random = np.random.default_rng(0)
    scenes = [place(random, 0, "fluent", draw_background(random)) for _ in range(count)]
    return {draw_caption(random, scene, CAT, group_share=0.0).split(" on ")[0] for scene in scenes}


def stripped(prompt: str, subject: str) -> str:
    """The prompt's form: what stands behind the subject does not count."""
    return prompt.partition(subject)[0] + "{}"


def test_the_base_model_was_trained_on_every_form_and_on_no_other() -> None:
    assert captions() == {form.format("a cat") for form in FORMS}


def test_an_encoder_is_trained_on_them() -> None:
    scenes, random = Scenes(load_subjects()), np.random.default_rng(0)
    assert {stripped(scenes.draw(random, 64).sentence, "a {}") for _ in range(60)} == set(FORMS)


def test_a_subject_is_tuned_and_previewed_and_measured_in_them() -> None:
    assert {stripped(each, "a <x>") for each in sentences("<x>", "on a red background")} == set(FORMS)
    assert DEFAULT_FORM in FORMS
    assert {stripped(each, "a <x>") for each in prompts("a <x>")} <= set(FORMS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_examples_prompts_have_them(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] != "Personalization":
            continue
        spec = document["spec"]
        subject = with_article(spec.get("token") or default_token(document["metadata"]["name"]))
        for preview in spec.get("previews", ()):
            assert subject in preview["prompt"]
            assert stripped(preview["prompt"], subject) in FORMS


def test_every_context_stands_behind_a_subject_once() -> None:
    phrases = context_phrases()
    assert len(set(phrases)) == len(phrases) == 10 + 2 * 45 + 2 * 90
    assert all(phrase.startswith("on a") and phrase.endswith(" background") for phrase in phrases)
