import numpy as np
import pytest
import torch

from likeness_lab.judge.background import backgrounds, read_backgrounds, same_colours, same_pattern
from likeness_lab.pocket.scene import Background, draw_background, paint, place, render
from likeness_lab.pocket.subjects import load_subjects


def an_image(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("background", backgrounds()[0][::23], ids=str)
def test_a_bare_background_is_read_as_itself(background: Background) -> None:
    assert read_backgrounds(an_image(paint(background))) == [background]


@pytest.mark.slow
def test_backgrounds_are_read_behind_true_renders_at_least_95_times_in_100() -> None:
    subjects, random = load_subjects(), np.random.default_rng(11)
    scenes = [
        place(random, int(row), "fluent", draw_background(random))
        for row in random.choice(len(subjects.glyphs), size=120)
    ]
    images = torch.cat([an_image(render(scene, subjects.pictures["fluent"][scene.row])) for scene in scenes])
    found = read_backgrounds(images)
    assert np.mean([same_colours(s.background, f) for s, f in zip(scenes, found, strict=True)]) >= 0.95
    assert np.mean([same_pattern(s.background, f) for s, f in zip(scenes, found, strict=True)]) >= 0.95


def test_a_background_survives_noise() -> None:
    background = Background("dotted", "yellow", "purple")
    noisy = an_image(paint(background)) + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert read_backgrounds(noisy.clamp(0, 1)) == [background]


def test_the_order_of_the_colours_does_not_count() -> None:
    one, other = Background("striped", "red", "blue"), Background("checked", "blue", "red")
    assert same_colours(one, other)
    assert not same_pattern(one, other)
    assert not same_colours(one, Background("striped", "red", "green"))
