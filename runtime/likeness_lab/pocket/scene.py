"""Scenes: one glyph on a named background, so that the truth about every picture is known exactly."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from likeness_lab.pocket.glyphs import Pixels, resized
from likeness_runtime.pocket import IMAGE_SIZE_PX

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 50),
    "green": (50, 165, 70),
    "blue": (45, 95, 220),
    "purple": (135, 60, 185),
    "pink": (250, 160, 200),
    "white": (250, 250, 250),
    "gray": (140, 140, 140),
    "black": (20, 20, 20),
}
"""Background colours by the word captions use, as sRGB bytes."""

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checked", "gradient")
"""Background patterns by the word captions use; "plain" has one colour, every other has two."""

PERIOD_PX: int = 16
"""Width of one repetition of stripes, dots and checks."""

DOT_RADIUS_PX: float = 4.5
"""Radius of the dots of a dotted background."""

GLYPH_SIZE_PX: tuple[int, int] = (44, 58)
"""Smallest and largest side of a glyph within a scene."""


@dataclass(frozen=True)
class Background:
    """Pattern and colours; `second` equals `first` on a plain background."""

    pattern: str
    first: str
    second: str


@dataclass(frozen=True)
class Scene:
    """What is to be seen: the glyph's row and art, its box in pixels, whether mirrored, and what is behind it."""

    row: int
    art: str
    size_px: int
    left_px: int
    top_px: int
    mirrored: bool
    background: Background


def draw_background(random: np.random.Generator, plain_share: float = 0.5) -> Background:
    """A random background, plain in `plain_share` of all draws."""
    plain = random.random() < plain_share
    pattern = "plain" if plain else str(random.choice(PATTERNS[1:]))
    first, second = (str(name) for name in random.choice(list(COLOURS), size=2, replace=False))
    return Background(pattern, first, first if plain else second)


def place(random: np.random.Generator, row: int, art: str, background: Background) -> Scene:
    """Put a glyph at a random size and place, mirrored in half of all draws, wholly inside the picture."""
    size_px = int(random.integers(GLYPH_SIZE_PX[0], GLYPH_SIZE_PX[1] + 1))
    left_px, top_px = (int(value) for value in random.integers(0, IMAGE_SIZE_PX - size_px + 1, size=2))
    return Scene(row, art, size_px, left_px, top_px, bool(random.random() < 0.5), background)


def paint(background: Background, size_px: int = IMAGE_SIZE_PX) -> Pixels:
    """The background alone, (size, size, 3)."""
    y, x = np.mgrid[0:size_px, 0:size_px]
    half = PERIOD_PX // 2
    if background.pattern == "plain":
        share = np.zeros((size_px, size_px))
    elif background.pattern == "striped":
        share = (x // half % 2).astype(float)
    elif background.pattern == "checked":
        share = ((x // half + y // half) % 2).astype(float)
    elif background.pattern == "dotted":
        distance = np.hypot(x % PERIOD_PX - half + 0.5, y % PERIOD_PX - half + 0.5)
        share = np.clip(DOT_RADIUS_PX + 0.5 - distance, 0, 1)
    elif background.pattern == "gradient":
        share = y / (size_px - 1)
    else:
        raise ValueError(f"background.pattern: {background.pattern!r}, expected one of {', '.join(PATTERNS)}")
    first, second = (np.asarray(COLOURS[name], dtype=float) for name in (background.first, background.second))
    mixed = first + share[..., None] * (second - first)
    pixels: Pixels = mixed.round().astype(np.uint8)
    return pixels


def render(scene: Scene, picture: Pixels) -> Pixels:
    """The scene as (64, 64, 3) bytes; `picture` is the glyph's RGBA (h, w, 4)."""
    glyph = np.asarray(resized(Image.fromarray(picture), scene.size_px)).astype(np.uint16)
    if scene.mirrored:
        glyph = glyph[:, ::-1]
    canvas = paint(scene.background)
    bottom, right = scene.top_px + scene.size_px, scene.left_px + scene.size_px
    region = canvas[scene.top_px : bottom, scene.left_px : right]
    colour, alpha = glyph[..., :3], glyph[..., 3:]
    region[:] = ((colour * alpha + region * (255 - alpha) + 127) // 255).astype(np.uint8)
    return canvas
