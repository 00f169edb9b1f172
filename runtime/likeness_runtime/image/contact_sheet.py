"""A picture of what tuning did: the input, the model before, the model after, a row for each preview."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

CELL_PX = 256
GAP_PX = 12
LABEL_PX = 24
COLUMN_TITLES = ("input", "before", "after")


@dataclass(frozen=True)
class SheetRow:
    prompt: str
    input: Image.Image
    before: Image.Image
    after: Image.Image


def sheet(rows: list[SheetRow]) -> Image.Image:
    """Small pictures are enlarged pixel by pixel, so that nothing looks smoother than it is."""
    width = GAP_PX + len(COLUMN_TITLES) * (CELL_PX + GAP_PX)
    row_height = LABEL_PX + CELL_PX + GAP_PX
    canvas = Image.new("RGB", (width, GAP_PX + LABEL_PX + len(rows) * row_height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    for column, title in enumerate(COLUMN_TITLES):
        draw.text((_left(column), GAP_PX), title, "black", font)
    for number, row in enumerate(rows):
        top = GAP_PX + LABEL_PX + number * row_height
        draw.text((_left(0), top), row.prompt, "gray", font)
        for column, image in enumerate((row.input, row.before, row.after)):
            canvas.paste(image.resize((CELL_PX, CELL_PX), _filter(image)), (_left(column), top + LABEL_PX))
    return canvas


def _left(column: int) -> int:
    return GAP_PX + column * (CELL_PX + GAP_PX)


def _filter(image: Image.Image) -> Image.Resampling:
    return Image.Resampling.NEAREST if image.width < CELL_PX else Image.Resampling.LANCZOS
