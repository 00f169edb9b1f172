"""From an Order to a Result: what the pod and `likeness run` both do, wherever the bytes lie."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from likeness_api.order import Order
from likeness_api.personalization import Metric
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.encoder_folder import load as load_encoder
from likeness_runtime.export.embedding_file import embedding_file
from likeness_runtime.export.facts_file import facts_file
from likeness_runtime.export.file import File
from likeness_runtime.export.lora_file import diffusers_file, kohya_file
from likeness_runtime.export.model_card import card_file
from likeness_runtime.export.picture_file import picture_files
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.failure import Failed
from likeness_runtime.from_encoder import FromEncoder
from likeness_runtime.manifest import Input, Manifest, ManifestFile, digest_of, folder_of, result_of
from likeness_runtime.model import DiffusionModel, device_named, load
from likeness_runtime.model_folder import locate
from likeness_runtime.personalize import metric, personalize
from likeness_runtime.predictor import Predictor
from likeness_runtime.publish import publish, standing
from likeness_runtime.source import Source, fetch, last_segment
from likeness_runtime.storage import Stores, check_allowed
from likeness_runtime.tune import Progress

log = logging.getLogger(__name__)

Load = Callable[[Path, str, torch.device], DiffusionModel]
"""`model.load`, or something that keeps a loaded model for the next order."""


@dataclass(frozen=True)
class Run:
    """What a run is given beside the order."""

    stores: Stores
    predictor: Predictor
    """Where the order names no encoder."""
    progress: Progress
    check: Callable[[], None]
    """Called where stopping is safe; raises to stop."""
    load: Load = load


def fulfil(order: Order, run: Run) -> Result:
    """Raises `Failed` with the reason, `Interrupted` when told to stop; in both cases nothing half is published."""
    started = time.monotonic()
    check_allowed(order)
    sources = fetch(order, run.stores)
    run.check()
    folder, model_digest = locate(order.model, run.stores)
    encoder = locate(order.encoder, run.stores, "encoder") if order.encoder else None
    digest = digest_of(order, [source.sha256 for source in sources], model_digest, encoder[1] if encoder else None)
    target = folder_of(order, digest)
    found = standing(run.stores.of(target), target)
    if found:
        return result_of(*found, target, Reason.ALREADY_PUBLISHED, f"the same order is already published in {target}")
    run.check()
    subject, metrics = _tuned(order, run, sources, (folder, model_digest), encoder[0] if encoder else None, digest)
    run.check()
    files = files_of(subject)
    manifest = _manifest(order, subject, sources, files, metrics)
    stands = publish(run.stores.of(target), target, files, manifest)
    seconds = time.monotonic() - started
    result = result_of(*stands, target, Reason.TUNED, f"tuned in {order.tuning.steps} steps, {seconds:.1f} s in all")
    return result.model_copy(update={"metrics": [*result.metrics, metric("totalSeconds", seconds)]})


def files_of(subject: TunedSubject) -> list[File]:
    """Everything but the manifest."""
    return [
        diffusers_file(subject),
        kohya_file(subject),
        embedding_file(subject),
        facts_file(subject),
        card_file(subject),
        *picture_files(subject),
    ]


def _tuned(
    order: Order, run: Run, sources: list[Source], located: tuple[Path, str], encoder: Path | None, digest: str
) -> tuple[TunedSubject, list[Metric]]:
    try:
        model = run.load(*located, device_named(order.device))
        name = last_segment(order.model.uri)
        log.info("Started %s/%s: model %s on %s.", order.namespace, order.name, name, model.device.type)
        predictor = FromEncoder(load_encoder(encoder, model)) if encoder else run.predictor
        return personalize(order, model, sources, digest, predictor=predictor, progress=run.progress, check=run.check)
    except torch.OutOfMemoryError as error:
        batch, side = order.tuning.batch_size, order.tuning.resolution or "the model's own"
        raise Failed(
            Reason.OUT_OF_DEVICE_MEMORY,
            f"the GPU's memory did not suffice ({str(error).splitlines()[0]:.200}); lower spec.tuning.batchSize"
            f" (now {batch}), then spec.tuning.resolution (now {side})",
        ) from None


def _manifest(
    order: Order, subject: TunedSubject, sources: list[Source], files: list[File], metrics: list[Metric]
) -> Manifest:
    return Manifest(
        digest=subject.digest,
        namespace=order.namespace,
        name=order.name,
        token=order.token,
        nearest_word=subject.nearest_word,
        steps=order.tuning.steps,
        images=[Input(name=source.name, sha256=source.sha256) for source in sources],
        model=Input(name=subject.base.name, sha256=subject.base.digest),
        metrics=metrics,
        files=[
            ManifestFile(
                name=file.name,
                format=file.format,
                sha256=file.sha256,
                bytes=len(file.data),
                media_type=file.media_type,
            )
            for file in files
        ],
    )
