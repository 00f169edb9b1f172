"""What a run is given beside its orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from likeness_runtime.method.progress import ProgressCallback
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.storage.stores import Stores


@dataclass(frozen=True)
class RunContext:
    """The world around a run: where bytes lie, who hears of its progress, who may stop it."""

    stores: Stores
    progress: ProgressCallback
    check: Callable[[], None]
    """Called where stopping is safe; raises `InterruptedRunError` to stop."""
    models: ModelCache = field(default_factory=ModelCache)
    """Outlives the run where the next one may take the same model."""
    revision: int = 0
    """Of the batch that the subjects are of, so that an older one never passes for the present one."""
