from pathlib import Path

import numpy as np
import pytest

from likeness_lab.pocket.clip import NAMED_SHARE, draw_example, draw_examples
from likeness_lab.pocket.glyphs import ARTS, Glyph, GlyphSet
from likeness_lab.pocket.latents import read_shards
from likeness_lab.pocket.scene import PATTERNS


def a_glyph(name: str, held_out: bool = False) -> Glyph:
    return Glyph(f"1f{name}", name, name, "animal", held_out)


GLYPHS = GlyphSet(
    (a_glyph("fox"), a_glyph("lobster"), a_glyph(""), a_glyph("", held_out=True)),
    {art: np.full((4, 96, 96, 4), 200, dtype=np.uint8) for art in ARTS},
)


def test_the_denoiser_sees_taught_glyphs_and_unnamed_ones_alone() -> None:
    random = np.random.default_rng(0)
    rows = [draw_example(GLYPHS, GLYPHS.drawn(), random).scene.row for _ in range(400)]
    assert set(rows) == {0, 2}
    assert rows.count(0) / len(rows) == pytest.approx(NAMED_SHARE, abs=0.06)


def test_the_clip_pair_sees_every_named_glyph() -> None:
    random = np.random.default_rng(0)
    rows = {draw_example(GLYPHS, GLYPHS.named(), random).scene.row for _ in range(100)}
    assert rows == {0, 1, 2}


def test_half_a_batch_of_the_clip_pair_differs_by_the_pattern_alone() -> None:
    batch = draw_examples(GLYPHS, GLYPHS.named(), np.random.default_rng(0), count=16)
    family = batch[:4]
    assert len(batch) == 16
    assert {example.scene.background.pattern for example in family} == set(PATTERNS[1:])
    assert len({example.caption for example in family}) == 4
    assert len({example.caption.replace(example.scene.background.pattern, "") for example in family}) == 1
    assert len({example.picture.tobytes() for example in family}) == 4


def test_a_folder_without_scenes_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_shards(tmp_path)
