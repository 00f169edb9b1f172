from dataclasses import replace

import numpy as np
import pytest

from likeness_lab.pocket.scene import (
    COLOURS,
    PATTERNS,
    Background,
    Scene,
    draw_background,
    paint,
    place,
    render,
)
from likeness_runtime.pocket import IMAGE_SIZE_PX

OPAQUE = np.full((96, 96, 4), 255, dtype=np.uint8)
CLEAR = np.zeros((96, 96, 4), dtype=np.uint8)


def a_scene(size_px: int = 40, left_px: int = 3, top_px: int = 11) -> Scene:
    return Scene(0, "fluent", size_px, left_px, top_px, False, Background("plain", "blue", "blue"))


def test_an_opaque_glyph_fills_its_box_and_nothing_else() -> None:
    picture = render(a_scene(), OPAQUE)
    inside = np.zeros((IMAGE_SIZE_PX, IMAGE_SIZE_PX), dtype=bool)
    inside[11:51, 3:43] = True
    assert (picture[inside] == 255).all()
    assert (picture[~inside] == COLOURS["blue"]).all()


def test_a_transparent_glyph_leaves_the_background() -> None:
    scene = a_scene()
    assert (render(scene, CLEAR) == paint(scene.background)).all()


def test_a_mirrored_glyph_is_the_glyph_mirrored() -> None:
    half = OPAQUE.copy()
    half[:, :48] = (0, 0, 0, 255)
    scene = a_scene(size_px=IMAGE_SIZE_PX, left_px=0, top_px=0)
    assert (render(replace(scene, mirrored=True), half) == render(scene, half)[:, ::-1]).all()


def test_a_plain_background_has_its_colour_everywhere() -> None:
    for colour, value in COLOURS.items():
        assert (paint(Background("plain", colour, colour)) == value).all()


@pytest.mark.parametrize("pattern", PATTERNS[1:])
def test_a_pattern_shows_both_its_colours(pattern: str) -> None:
    pixels = paint(Background(pattern, "red", "white")).reshape(-1, 3)
    assert (pixels == COLOURS["red"]).all(axis=1).any()
    assert (pixels == COLOURS["white"]).all(axis=1).any()


def test_an_unknown_pattern_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="'tartan'"):
        paint(Background("tartan", "red", "red"))


def test_glyphs_are_placed_wholly_inside() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        scene = place(random, 0, "noto", draw_background(random))
        assert scene.left_px >= 0
        assert scene.top_px >= 0
        assert scene.left_px + scene.size_px <= IMAGE_SIZE_PX
        assert scene.top_px + scene.size_px <= IMAGE_SIZE_PX


def test_only_a_plain_background_has_one_colour() -> None:
    random = np.random.default_rng(2)
    for _ in range(300):
        background = draw_background(random)
        assert (background.first == background.second) == (background.pattern == "plain")


def test_the_same_seed_places_the_same_scene() -> None:
    def drawn() -> Scene:
        random = np.random.default_rng(3)
        return place(random, 5, "noto", draw_background(random))

    assert drawn() == drawn()
