"""Line charts with Pillow alone: a few series over steps, drawn for a report."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 900, 520
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 70, 270, 30, 60
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")
TICK_PX = 40
"""Ticks that are nearer to the one before are left out: their numbers would run into each other."""
INK, GRID = "#222222", "#dddddd"


@dataclass(frozen=True)
class Series:
    """A named line of (across, up) points."""

    name: str
    points: list[tuple[float, float]]


def chart(lines: list[Series], *, across: str, up: str) -> Image.Image:
    """`across` grows by its logarithm, so that 4, 12 and 500 steps can all be told apart; `up` from 0 to 1."""
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    most = max(x for line in lines for x, _ in line.points)
    _axes(pen, font, sorted({x for line in lines for x, _ in line.points}), most, across, up)
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        places = [_place(x, y, most) for x, y in line.points]
        pen.line(places, fill=colour, width=3)
        for x, y in places:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        row = TOP_PX + 22 * index
        pen.line((WIDTH_PX - RIGHT_PX + 15, row + 8, WIDTH_PX - RIGHT_PX + 40, row + 8), fill=colour, width=3)
        pen.text((WIDTH_PX - RIGHT_PX + 48, row), line.name, fill=INK, font=font)
    return image


def _axes(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    ticks: list[float],
    most: float,
    *names: str,
) -> None:
    across, up = names
    for tenth in range(0, 11, 2):
        _, y = _place(0, tenth / 10, most)
        pen.line((LEFT_PX, y, WIDTH_PX - RIGHT_PX, y), fill=GRID)
        pen.text((LEFT_PX - 35, y - 8), f"{tenth / 10:.1f}", fill=INK, font=font)
    free_from = 0.0
    for tick in ticks:
        x, y = _place(tick, 0, most)
        if x >= free_from:
            pen.line((x, TOP_PX, x, y), fill=GRID)
            pen.text((x - 8, y + 6), f"{tick:.3g}", fill=INK, font=font)
            free_from = x + TICK_PX
    pen.text((LEFT_PX, HEIGHT_PX - 28), across, fill=INK, font=font)
    pen.text((8, 6), up, fill=INK, font=font)


def _place(x: float, y: float, most: float) -> tuple[float, float]:
    share = math.log1p(x) / math.log1p(most) if most else 0.0
    height = HEIGHT_PX - TOP_PX - BOTTOM_PX
    return LEFT_PX + share * (WIDTH_PX - LEFT_PX - RIGHT_PX), TOP_PX + (1.0 - y) * height
