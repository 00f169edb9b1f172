"""Loaded models and encoders, kept for the next subject: loading one takes longer than tuning many a subject."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from likeness_runtime.denoiser.model import DiffusionModel
    from likeness_runtime.method.encoder_folder import TrainedEncoder


class ModelCache:
    """The `capacity` models used last, each with the encoder used last with it.

    They are told apart by their folders' digests. Before another one is loaded, the one that was not used for longest
    is let go, so that memory never holds one more.
    """

    def __init__(self, capacity: int = 1) -> None:
        self._capacity = capacity
        self._models: OrderedDict[tuple[str, torch.device], DiffusionModel] = OrderedDict()
        self._encoders: dict[tuple[str, torch.device], tuple[str, TrainedEncoder]] = {}

    def model(self, folder: Path, digest: str, device: torch.device) -> DiffusionModel:
        """The model in `folder`, whose content has this digest. Raises `RunError` where it cannot be loaded."""
        from likeness_runtime.denoiser.model import load_diffusion_model

        key = (digest, device)
        if key not in self._models:
            while len(self._models) >= self._capacity:
                dropped, _ = self._models.popitem(last=False)
                self._encoders.pop(dropped, None)
            self._models[key] = load_diffusion_model(folder, digest, device)
        self._models.move_to_end(key)
        return self._models[key]

    def encoder(self, folder: Path, digest: str, model: DiffusionModel) -> TrainedEncoder:
        """The encoder in `folder`, loaded for `model`. Raises `RunError` where it is none or fits another model."""
        from likeness_runtime.method.encoder_folder import load_encoder

        key = (model.digest, model.device)
        kept = self._encoders.pop(key, None)
        trained = kept[1] if kept is not None and kept[0] == digest else None
        if trained is None:
            kept = None  # the encoder that was used before is let go before another one is loaded
            trained = load_encoder(folder, model)
        if key in self._models:
            self._encoders[key] = (digest, trained)
        return trained
