"""From an Order to a Result: what the pod and `likeness run` both do, wherever the bytes lie.

torch and diffusers take seconds to import, so nothing here does; only what is really tuned pays for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likeness_api.encoder_use import encoder_use
from likeness_api.order import Order
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.image.source import fetch
from likeness_runtime.method.progress import ProgressCallback
from likeness_runtime.order.manifest import digest_of, folder_of, metric, result_of
from likeness_runtime.order.publish import publish, standing
from likeness_runtime.storage.model_folder import locate
from likeness_runtime.storage.object_store import Stores, check_allowed

if TYPE_CHECKING:
    import torch

    from likeness_runtime.denoiser.model import DiffusionModel

log = logging.getLogger(__name__)


def load_model(folder: Path, digest: str, device: torch.device) -> DiffusionModel:
    """A fresh model for each order."""
    from likeness_runtime.denoiser.model import load_diffusion_model

    return load_diffusion_model(folder, digest, device)


@dataclass(frozen=True)
class Run:
    """What a run is given beside the order."""

    stores: Stores
    progress: ProgressCallback
    check: Callable[[], None]
    """Called where stopping is safe; raises to stop."""
    load: Callable[[Path, str, torch.device], DiffusionModel] = load_model
    """Or something that keeps a loaded model for the next order."""


@dataclass(frozen=True)
class Located:
    """The folders of an order's models, and what is in them."""

    model: tuple[Path, str]
    """Folder and digest."""
    encoder: tuple[Path, str] | None


def fulfil(order: Order, run: Run) -> Result:
    """Raises `RunError` with the reason, `InterruptedRunError` when told to stop; neither publishes anything half."""
    started = time.monotonic()
    use = encoder_use(order)
    if not use.used:
        log.warning("%s/%s: %s.", order.namespace, order.name, use.message)
    check_allowed(order)
    sources = fetch(order, run.stores)
    run.check()
    encoder = locate(order.encoder, run.stores, "encoder") if order.encoder else None
    located = Located(locate(order.model, run.stores), encoder)
    digest = digest_of(order, [source.sha256 for source in sources], located.model[1], encoder[1] if encoder else None)
    target = folder_of(order, digest)
    store = run.stores.of(target)
    found = standing(store, target)
    if found:
        return result_of(*found, target, Reason.ALREADY_PUBLISHED, f"the same order is already published in {target}")
    run.check()
    from likeness_runtime.order.produce import produce

    files, manifest = produce(order, run, sources, located, digest)
    run.check()
    stands = publish(store, target, files, manifest)
    seconds = time.monotonic() - started
    result = result_of(*stands, target, Reason.TUNED, f"tuned in {order.tuning.steps} steps, {seconds:.1f} s in all")
    return result.model_copy(update={"metrics": [*result.metrics, metric("totalSeconds", seconds)]})
