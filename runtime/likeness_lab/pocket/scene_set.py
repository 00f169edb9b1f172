"""The pocket world as a set to pre-train on: rendered scenes of its training glyphs, two of the same glyph at a time.

The encoder sees one scene and the denoiser has to draw the other, whose background the sentence names. So v* learns to
carry the subject and to leave place, size and background to the words [ours]. Sets of plain pictures cannot say this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from likeness_api.reason import Reason
from likeness_lab.pocket.caption import context_phrase
from likeness_lab.pocket.glyphs import ARTS, GlyphSet, load_glyphs
from likeness_lab.pocket.scene import Scene, draw_background, place, render
from likeness_runtime.failure import RunError
from likeness_runtime.method.forms import FORMS, with_article
from likeness_runtime.pretrain.image_set import Example

BACKGROUND_NAMED_SHARE = 0.8
"""Share of the sentences that name the background."""
SCENES_NOTO_SHARE = 0.3
"""Share of the subjects in flat art."""


GLYPHS_FILE = Path("pocket/glyphs.safetensors")
"""Where `likeness pocket build` leaves the glyphs, below the folder of caches."""


def open_scenes(cache: Path) -> Scenes:
    """The scenes of the glyphs below the folder `cache`: the image set `builtin://pocket`.

    Raises `RunError(SourceNotFound)` where the glyphs have not been fetched.
    """
    path = cache / GLYPHS_FILE
    if not path.is_file():
        raise RunError(
            Reason.SOURCE_NOT_FOUND,
            f"--images builtin://pocket: {path} is not there; `likeness pocket build` fetches the glyphs",
        )
    return Scenes(load_glyphs(path))


class Scenes:
    """Only glyphs that training may see."""

    def __init__(self, glyphs: GlyphSet) -> None:
        self.glyphs = glyphs
        self.rows = glyphs.seen()

    def draw(self, random: np.random.Generator, side_px: int) -> Example:
        row = int(self.rows[random.integers(len(self.rows))])
        art = ARTS[int(random.random() < SCENES_NOTO_SHARE)]
        seen, target = (place(random, row, art, draw_background(random)) for _ in range(2))
        sentence = FORMS[random.integers(len(FORMS))].format(with_article("{}"))
        if random.random() < BACKGROUND_NAMED_SHARE:
            sentence += f" {context_phrase(target.background)}"
        return Example(self._picture(seen, side_px), self._picture(target, side_px), sentence)

    def _picture(self, scene: Scene, side_px: int) -> Image.Image:
        picture = Image.fromarray(render(scene, self.glyphs.pictures[scene.art][scene.row]))
        return picture.resize((side_px, side_px), Image.Resampling.LANCZOS) if picture.width != side_px else picture
