"""The pictures that ship with the package: every held-out and every named glyph in both arts, in one zip.

With them the benchmarks and the demo need no network. Training needs all glyphs, and fetches them.
"""

import io
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from likeness_lab.pocket.fetch import FLUENT, NOTO
from likeness_lab.pocket.glyphs import ARTS, Glyph, GlyphSet, Pixels, shipped_table

SUBJECTS_PATH: Path = Path(__file__).parent / "data" / "subjects.zip"
"""`<art>/<code point>.webp` for each glyph, 96 px RGBA, and LICENSES."""

QUALITY: int = 85
"""Of the lossy webp colours; alpha is kept exactly."""


def ships(glyph: Glyph) -> bool:
    """Whether the glyph's pictures are in the package."""
    return glyph.held_out or bool(glyph.name)


def write_subjects(glyphs: GlyphSet, path: Path) -> None:
    """Write the pictures of all glyphs that ship to the zip at `path`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        notices = [f"{source.specifier}: {source.licence}" for source in (FLUENT, NOTO)]
        archive.writestr(zipfile.ZipInfo("LICENSES"), "\n".join(notices) + "\n")
        for row, glyph in enumerate(glyphs.glyphs):
            if ships(glyph):
                for art in ARTS:
                    member = zipfile.ZipInfo(f"{art}/{glyph.code_point}.webp")
                    archive.writestr(member, _encoded(glyphs.pictures[art][row]))


def _encoded(picture: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def load_subjects() -> GlyphSet:
    """The shipped glyphs with their pictures."""
    glyphs = tuple(glyph for glyph in shipped_table() if ships(glyph))
    with zipfile.ZipFile(SUBJECTS_PATH) as archive:
        pictures = {
            art: np.stack([_decoded(archive.read(f"{art}/{glyph.code_point}.webp")) for glyph in glyphs])
            for art in ARTS
        }
    return GlyphSet(glyphs, pictures)


def _decoded(encoded: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))
