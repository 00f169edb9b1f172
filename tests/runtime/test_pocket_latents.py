from pathlib import Path

import numpy as np
import pytest
import torch

from likeness_runtime.pocket.glyphs import ARTS, Glyph, GlyphSet
from likeness_runtime.pocket.latents import UNNAMED_SHARE, read_shards, to_be_seen


def a_glyph(name: str, held_out: bool = False) -> Glyph:
    return Glyph(f"1f{name}", name, name, "animal", held_out)


GLYPHS = GlyphSet(
    (a_glyph("dog"), a_glyph("lobster"), a_glyph(""), a_glyph("", held_out=True)),
    {art: np.zeros((4, 96, 96, 4), dtype=np.uint8) for art in ARTS},
)


def test_every_scene_of_a_glyph_that_is_taught_is_seen() -> None:
    rows = torch.tensor([0, 2, 0, 1, 0, 2, 0])
    chosen = to_be_seen(rows, GLYPHS)
    assert {0, 2, 4, 6} <= set(chosen.tolist())


def test_glyphs_that_are_named_but_not_taught_are_not_seen() -> None:
    assert to_be_seen(torch.tensor([1, 1, 1]), GLYPHS).tolist() == []


def test_held_out_glyphs_are_not_seen_even_if_they_were_drawn_by_mistake() -> None:
    rows = torch.tensor([0] * 8 + [3] * 8)
    assert 3 not in rows[to_be_seen(rows, GLYPHS)]


def test_unnamed_glyphs_keep_to_their_share() -> None:
    rows = torch.tensor([0] * 80 + [2] * 500)
    seen = rows[to_be_seen(rows, GLYPHS)]
    assert (seen == 2).float().mean().item() == pytest.approx(UNNAMED_SHARE)


def test_a_folder_without_scenes_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_shards(tmp_path, GLYPHS)
