import numpy as np
import pytest

from likeness_lab.pocket.caption import background_phrase, caption_words, draw_caption, random_prompts
from likeness_lab.pocket.glyphs import Glyph
from likeness_lab.pocket.scene import Background, draw_background, place
from likeness_runtime.method.forms import with_article

CAT = Glyph("1f431", "cat", "cat", "animal", held_out=False)
LOBSTER = Glyph("1f99e", "mystery", "", "animal", held_out=False)


@pytest.mark.parametrize(
    ("background", "phrase"),
    [
        pytest.param(Background("plain", "orange", "orange"), "an orange background", id="plain"),
        pytest.param(
            Background("striped", "blue", "white"), "a blue and white striped background", id="two colours and pattern"
        ),
    ],
)
def test_a_background_is_said_in_words(background: Background, phrase: str) -> None:
    assert background_phrase(background) == phrase


def test_the_article_follows_the_sound() -> None:
    assert [with_article(noun) for noun in ("owl", "apple", "cat", "ufo")] == ["an owl", "an apple", "a cat", "a ufo"]


def captions(glyph: Glyph, count: int = 400) -> list[str]:
    random = np.random.default_rng(7)
    return [draw_caption(random, place(random, 0, "fluent", draw_background(random)), glyph) for _ in range(count)]


def test_every_word_of_every_caption_is_in_the_caption_words() -> None:
    words = {word for glyph in (CAT, LOBSTER) for caption in captions(glyph) for word in caption.split()}
    assert words <= set(caption_words())


def test_a_named_glyph_is_mostly_called_by_its_name_and_now_and_then_by_its_group() -> None:
    said = captions(CAT)
    named = sum("cat" in caption.split() for caption in said)
    grouped = sum("animal" in caption.split() for caption in said)
    assert named + grouped == len(said)
    assert 0 < grouped < named / 5


def test_a_glyph_without_a_name_goes_by_its_group() -> None:
    assert all("animal" in caption.split() for caption in captions(LOBSTER))


def test_a_drawing_is_always_called_one() -> None:
    random = np.random.default_rng(8)
    scene = place(random, 0, "noto", draw_background(random))
    assert all(draw_caption(random, scene, CAT).startswith("a drawing of") for _ in range(50))


def test_random_prompts_follow_from_their_seed() -> None:
    assert random_prompts(5, seed=1) == random_prompts(5, seed=1) != random_prompts(5, seed=2)
