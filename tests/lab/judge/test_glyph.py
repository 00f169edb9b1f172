import numpy as np
import pytest
import torch

from likeness_lab.judge.glyph import GlyphNetwork, embed_by_glyph, open_glyph_judge, recognise, spoiled
from likeness_lab.judge.identity import retrieve
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects


def renders(rows: list[int], art: str, seed: int) -> torch.Tensor:
    subjects, random = load_subjects(), np.random.default_rng(seed)
    scenes = [place(random, row, art, draw_background(random)) for row in rows]
    return images_of([render(scene, subjects.pictures[art][scene.row]) for scene in scenes])


def test_named_glyphs_are_recognised_on_true_renders_at_least_95_times_in_100() -> None:
    subjects = load_subjects()
    rows = subjects.named() * 2
    best = recognise(renders(rows, "fluent", seed=31), best=1)
    right = [subjects.glyphs[row].code_point == found[0] for row, found in zip(rows, best, strict=True)]
    assert np.mean(right) >= 0.95


@pytest.mark.slow
def test_held_out_glyphs_are_found_by_their_features_at_least_95_times_in_100() -> None:
    rows = load_subjects().held_out()
    gallery = renders(rows * 8, "fluent", seed=50)
    found = retrieve(renders(rows * 3, "fluent", seed=60), gallery, rows * 8, embed_by_glyph, best=1)
    assert np.mean([best[0] == row for best, row in zip(found, rows * 3, strict=True)]) >= 0.95


def test_no_class_of_the_judge_is_a_held_out_glyph() -> None:
    held_out = {glyph.code_point for glyph in load_subjects().glyphs if glyph.held_out}
    assert held_out.isdisjoint(open_glyph_judge()[1])


def test_features_have_unit_length() -> None:
    features = GlyphNetwork(classes=3).eval().embed(torch.rand(2, 3, 64, 64))
    assert torch.allclose(features.norm(dim=-1), torch.ones(2), atol=1e-5)


def test_a_spoiled_picture_keeps_its_range() -> None:
    images = torch.rand(8, 3, 64, 64)
    spoilt = spoiled(np.random.default_rng(0), images)
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1
    assert (spoilt - images).abs().mean() > 0.005
