"""What `likeness run` keeps from one Personalization to the next: the loaded model, and the rows of the sheet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NoReturn

import torch
from PIL import Image
from tqdm import tqdm

from likeness_api.order import Order
from likeness_api.result import Result
from likeness_runtime.denoiser.model import DiffusionModel, device_named, load_diffusion_model
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.export.picture_file import INPUT_NAME
from likeness_runtime.image.contact_sheet import Row, sheet
from likeness_runtime.image.decode import MAX_BYTES
from likeness_runtime.method.predictor import START_WORD
from likeness_runtime.order.fulfil import Run, fulfil
from likeness_runtime.order.personalize import previews_of
from likeness_runtime.order.stop import Stop
from likeness_runtime.storage.model_folder import locate
from likeness_runtime.storage.object_store import Stores


class Warm:
    """One process's runs, one after the other."""

    def __init__(self, stop: Stop, *, draws_sheet: bool) -> None:
        self.draws_sheet = draws_sheet
        self._stop = stop
        self._loaded: DiffusionModel | None = None
        self._rows: list[Row] = []

    def fulfil(self, order: Order) -> Result:
        """With a progress bar. Raises `RunError` and `InterruptedRunError`."""
        bars: list[tqdm[NoReturn]] = []

        def progress(step: int, total: int) -> None:
            self._stop.check()
            if not bars:
                bars.append(tqdm(total=total, desc=order.name, unit="step"))
            bars[0].update(step - bars[0].n)

        stores = Stores(order.storage, self._stop.sleep)
        try:
            return fulfil(order, Run(stores, progress, self._stop.check, self._load))
        finally:
            for bar in bars:
                bar.close()

    def add_to_sheet(self, order: Order, result: Result) -> None:
        """The published pictures of a good result, and the untouched model's pictures for the same prompts."""
        stores = Stores(order.storage, self._stop.sleep)
        model = self._load(*locate(order.model, stores), device_named(order.device))
        store = stores.of(result.folder())

        def stored(name: str) -> Image.Image:
            return Image.open(io.BytesIO(store.read(result.folder() + name, MAX_BYTES))).convert("RGB")

        squared = stored(INPUT_NAME)
        plain = [row[None] for row in model.text.embedding_of(START_WORD)]
        for index, preview in enumerate(previews_of(order)):
            assert preview.seed is not None
            text = model.text.encode(model.text.tokenize([preview.prompt], order.token), plain)
            before = draw_picture(model, text, seed=preview.seed, side_px=squared.width, check=self._stop.check)
            row = Row(preview.prompt, squared, before, stored(f"previews/{index:02d}.png"))
            self._rows.append(row)

    def write_sheet(self, path: Path) -> None:
        if self._rows:
            path.parent.mkdir(parents=True, exist_ok=True)
            sheet(self._rows).save(path)

    def _load(self, folder: Path, digest: str, device: torch.device) -> DiffusionModel:
        if self._loaded is None or (self._loaded.digest, self._loaded.device) != (digest, device):
            self._loaded = load_diffusion_model(folder, digest, device)
        return self._loaded
