"""The glyph table: every picture of the world with its code point, word, group and side of the hold-out.

The pictures of both arts lie in one safetensors file (`pack`), which travels with the tree to machines without npm.
"""

import hashlib
import io
import json
import tarfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from likeness_lab.pocket.fetch import FLUENT, NOTO, fetch_package
from likeness_lab.pocket.names import DRAWN, GROUPS, LEFT_OUT, NAMES

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

ARTS: tuple[str, str] = ("fluent", "noto")
"""The two drawing styles: Microsoft's 3-D renders and Google's flat drawings."""

PICTURE_SIZE_PX: int = 96
"""Side of the packed pictures; no scene draws a glyph larger than 64 px."""

HOLD_OUT_SHARE: int = 10
"""One glyph in so many is held out from every training, judges' galleries excepted."""


TABLE_PATH: Path = Path(__file__).parent / "data" / "glyphs.json"
"""The table alone, shipped with the package: what there is to ask for, without the pictures."""


@dataclass(frozen=True)
class Glyph:
    """One emoji: `name` is empty when captions know it by its group only."""

    code_point: str
    short_name: str
    name: str
    group: str
    held_out: bool


@dataclass(frozen=True)
class GlyphSet:
    """The table with its pictures: `pictures[art]` is (n, 96, 96, 4) RGBA, rows in the order of `glyphs`."""

    glyphs: tuple[Glyph, ...]
    pictures: dict[str, Pixels]

    def named(self) -> list[int]:
        """Rows of the glyphs that captions call by name (none of them held out)."""
        return [row for row, glyph in enumerate(self.glyphs) if glyph.name and not glyph.held_out]

    def drawn(self) -> list[int]:
        """Rows of the glyphs the UNet was taught by name."""
        return [row for row in self.named() if self.glyphs[row].name in DRAWN]

    def unnamed(self) -> list[int]:
        """Rows of the seen glyphs that captions call by their group alone."""
        return [row for row in self.seen() if not self.glyphs[row].name]

    def seen(self) -> list[int]:
        """Rows of the glyphs training may see."""
        return [row for row, glyph in enumerate(self.glyphs) if not glyph.held_out]

    def held_out(self) -> list[int]:
        """Rows of the glyphs nothing but a judge's gallery ever sees."""
        return [row for row, glyph in enumerate(self.glyphs) if glyph.held_out]


def is_held_out(code_point: str) -> bool:
    """Whether the glyph of `code_point` ("1f436") is held out: a tenth of all, chosen by hash, the same for ever."""
    plain = code_point.lower().replace("-fe0f", "")
    return int(hashlib.sha256(plain.encode()).hexdigest(), 16) % HOLD_OUT_SHARE == 0


def table(emoji: list[dict[str, str]]) -> list[Glyph]:
    """The glyphs of the world out of the rows of emoji.json, in the order of their code points."""
    chosen = []
    for row in emoji:
        short_name, group = row["short_name"], GROUPS.get(row["subcategory"])
        if row["category"] == "Flags" or group is None or short_name in LEFT_OUT:
            continue
        code_point = row["unified"].lower()
        held_out = is_held_out(code_point)
        name = "" if held_out else NAMES.get(short_name, "")
        chosen.append(Glyph(code_point, short_name, name, group, held_out))
    return sorted(chosen, key=lambda glyph: glyph.code_point)


def pack(downloads: Path, target: Path) -> None:
    """Fetch both packages into `downloads` and write table and pictures to the one file `target`."""
    with tarfile.open(fetch_package(NOTO, downloads)) as noto, tarfile.open(fetch_package(FLUENT, downloads)) as fluent:
        glyphs = []
        pictures: dict[str, list[Pixels]] = {art: [] for art in ARTS}
        members = {art: set(archive.getnames()) for art, archive in (("fluent", fluent), ("noto", noto))}
        for glyph in table(json.loads(_read(noto, "package/emoji.json"))):
            paths = {
                "fluent": f"package/assets/{glyph.code_point}.webp",
                "noto": f"package/img/google/64/{glyph.code_point}.png",
            }
            if all(path in members[art] for art, path in paths.items()):
                glyphs.append(glyph)
                pictures["fluent"].append(centred_square(_read(fluent, paths["fluent"])))
                pictures["noto"].append(centred_square(_read(noto, paths["noto"])))
    rows = json.dumps([asdict(glyph) for glyph in glyphs])
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({art: np.stack(rgba) for art, rgba in pictures.items()}, target, metadata={"glyphs": rows})


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(path)
    if member is None:
        raise ValueError(f"{archive.name!s}: {path} is not a file")
    return member.read()


def centred_square(encoded: bytes) -> Pixels:
    """Decode an RGBA picture, crop it to what is drawn, and centre it in a square of `PICTURE_SIZE_PX`."""
    picture = Image.open(io.BytesIO(encoded)).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    side = max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(resized(square, PICTURE_SIZE_PX))


def resized(picture: Image.Image, size_px: int) -> Image.Image:
    """Scale an RGBA picture with premultiplied alpha, so that no dark fringe appears at its edge."""
    scaled = picture.convert("RGBa").resize((size_px, size_px), Image.Resampling.LANCZOS)
    return scaled.convert("RGBA")


@lru_cache(maxsize=2)
def load_glyphs(path: Path) -> GlyphSet:
    """Read what `pack` wrote. Raises `FileNotFoundError` when `path` is not there."""
    with safe_open(path, framework="numpy") as file:
        glyphs = tuple(Glyph(**row) for row in json.loads(file.metadata()["glyphs"]))
        return GlyphSet(glyphs, {art: file.get_tensor(art) for art in ARTS})


@lru_cache(maxsize=1)
def shipped_table() -> tuple[Glyph, ...]:
    """The table as it was when the shipped model was trained; rows are those of the glyph judge's classes."""
    return tuple(Glyph(**row) for row in json.loads(TABLE_PATH.read_text()))


def write_table(glyphs: tuple[Glyph, ...], path: Path) -> None:
    """Write the table so that one glyph is one line."""
    lines = ",\n".join(json.dumps(asdict(glyph)) for glyph in glyphs)
    path.write_text(f"[\n{lines}\n]\n")
