"""The picture of the README: best, median and worst subject by the judge, as each way of making pictures has them.

It is put together from what `likeness bench method` drew, so it shows the pictures that were judged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from likeness_lab.bench.condition import BenchCondition
from likeness_lab.bench.method import Record, picture_path
from likeness_runtime.pocket import IMAGE_SIZE_PX

SHOWCASE_COLUMNS: tuple[tuple[str, BenchCondition], ...] = (
    ("ours, 12 steps: plain files, stock pipeline", BenchCondition("ours", 12, "recognised", "stock")),
    ("ours, 12 steps: our loader", BenchCondition("ours", 12, "recognised", "untouched")),
    ("DreamBooth-LoRA, 500 steps: stock pipeline", BenchCondition("DreamBooth-LoRA", 500, "recognised", "stock")),
)
SORTED_BY = SHOWCASE_COLUMNS[1][1]
PROMPTS = (1, 3, 5)
"""Which of the prompts' pictures are shown: blue, yellow, striped in red and white."""
ZOOM, GAP_PX, LINE_PX = 2, 14, 22
INK = "#222222"


def showcase(records: list[Record], folder: Path) -> Image.Image | None:
    """None where a picture or a measurement is missing."""
    scores = {
        (record.subject, record.condition): record.score.harmonic for record in records if record.kind == "fluent"
    }
    ranked = sorted(
        (subject for subject, condition in scores if condition == SORTED_BY), key=lambda name: scores[name, SORTED_BY]
    )
    if not ranked:
        return None
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    cells = [(subject, condition) for subject in chosen.values() for _, condition in SHOWCASE_COLUMNS]
    if not all(cell in scores and picture_path(folder, *cell).is_file() for cell in cells):
        return None
    side, width = ZOOM * IMAGE_SIZE_PX, ZOOM * IMAGE_SIZE_PX * len(PROMPTS)
    sheet = Image.new(
        "RGB",
        (side + len(SHOWCASE_COLUMNS) * (width + GAP_PX), LINE_PX + len(chosen) * (side + LINE_PX + GAP_PX)),
        "white",
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for number, (title, _) in enumerate(SHOWCASE_COLUMNS):
        pen.text((side + GAP_PX + number * (width + GAP_PX), 2), title, fill=INK, font=font)
    for index, (rank, subject) in enumerate(chosen.items()):
        top = LINE_PX + index * (side + LINE_PX + GAP_PX)
        sheet.paste(_part(picture_path(folder, subject, SORTED_BY), [0]), (0, top))
        name = subject.partition("-")[2].partition("_")[0]
        pen.text((0, top + side + 2), f"{rank}: {name}", fill=INK, font=font)
        for number, (_, condition) in enumerate(SHOWCASE_COLUMNS):
            left = side + GAP_PX + number * (width + GAP_PX)
            sheet.paste(
                _part(picture_path(folder, subject, condition), [1 + prompt for prompt in PROMPTS]), (left, top)
            )
            pen.text((left, top + side + 2), f"{scores[subject, condition]:.2f}", fill=INK, font=font)
    return sheet


def _part(path: Path, places: list[int]) -> Image.Image:
    """Those pictures of a row, enlarged."""
    with Image.open(path) as row:
        pixels = np.asarray(row.convert("RGB"))
    parts = [pixels[:, IMAGE_SIZE_PX * place : IMAGE_SIZE_PX * (place + 1)] for place in places]
    image = Image.fromarray(np.concatenate(parts, axis=1))
    return image.resize((image.width * ZOOM, image.height * ZOOM), Image.Resampling.NEAREST)
