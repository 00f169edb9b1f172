"""The previews and the squared input as PNG files."""

from __future__ import annotations

import io

from PIL import Image

from likeness_runtime.export.file import File
from likeness_runtime.export.subject import TunedSubject

INPUT_NAME = "previews/input.png"


def picture_files(subject: TunedSubject) -> list[File]:
    """The input first."""
    previews = [_png(f"previews/{index:02d}.png", "preview", each.image) for index, each in enumerate(subject.previews)]
    return [_png(INPUT_NAME, "input", subject.input), *previews]


def _png(name: str, format_: str, image: Image.Image) -> File:
    file = io.BytesIO()
    image.save(file, "PNG")
    return File(name, format_, "image/png", file.getvalue())
