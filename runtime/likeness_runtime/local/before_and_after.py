"""The rows of `likeness run`'s contact sheet: the published pictures beside the untouched model's."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from likeness_api.order import Order
from likeness_api.result import Result
from likeness_runtime.denoiser.model import device_named
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.export.picture_file import INPUT_NAME
from likeness_runtime.image.contact_sheet import SheetRow
from likeness_runtime.image.decode import MAX_BYTES
from likeness_runtime.method.predictor import START_WORD
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.order.personalize import previews_of
from likeness_runtime.storage.model_folder import locate
from likeness_runtime.storage.stores import Stores


def sheet_rows(
    order: Order, result: Result, stores: Stores, models: ModelCache, check: Callable[[], None]
) -> list[SheetRow]:
    """One row for each published preview of a good result. Raises `RunError`, and whatever `check` does."""
    model = models.model(*locate(order.run.model, stores), device_named(order.run.device))
    store = stores.of(result.folder())

    def stored(name: str) -> Image.Image:
        return Image.open(io.BytesIO(store.read(result.folder() + name, MAX_BYTES))).convert("RGB")

    squared = stored(INPUT_NAME)
    plain = [row[None] for row in model.text.embedding_of(START_WORD)]
    rows = []
    for index, preview in enumerate(previews_of(order)):
        assert preview.seed is not None
        text = model.text.encode(model.text.tokenize([preview.prompt], order.subject.token), plain)
        before = draw_picture(model, text, seed=preview.seed, side_px=squared.width, check=check)
        rows.append(SheetRow(preview.prompt, squared, before, stored(f"previews/{index:02d}.png")))
    return rows
