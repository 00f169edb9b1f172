from collections import Counter

import pytest

from likeness_lab.bench.base import ROUNDS, draw_prompts, judged, share
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import PATTERNS, render
from likeness_lab.pocket.subjects import load_subjects


def test_every_glyph_the_model_was_taught_is_asked_for_equally_often() -> None:
    subjects = load_subjects()
    asked = Counter(one.code_point for one in draw_prompts(subjects, seed=0))
    assert asked == {subjects.glyphs[row].code_point: ROUNDS for row in subjects.drawn()}


def test_every_pattern_is_asked_for_at_least_20_times() -> None:
    asked = Counter(one.scene.background.pattern for one in draw_prompts(load_subjects(), seed=0))
    assert set(asked) == set(PATTERNS)
    assert min(asked.values()) >= 20


def test_prompts_say_what_the_scene_shows() -> None:
    subjects = load_subjects()
    for one in draw_prompts(subjects, seed=1):
        glyph, background = subjects.glyphs[one.scene.row], one.scene.background
        assert {glyph.name, background.first, background.second} <= set(one.prompt.split())


@pytest.mark.slow
def test_true_renders_satisfy_the_judges() -> None:
    subjects = load_subjects()
    asked = draw_prompts(subjects, seed=2)[:64]
    truth = images_of([render(one.scene, subjects.pictures[one.scene.art][one.scene.row]) for one in asked])
    followed = judged(asked, truth)
    assert min(followed.glyph_at_1, followed.colours, followed.pattern) >= 0.95
    assert followed.glyph_at_5 >= followed.glyph_at_1


def test_a_share_is_a_part_of_all() -> None:
    assert share([True, False, True, True]) == pytest.approx(0.75)
