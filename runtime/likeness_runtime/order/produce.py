"""The heavy part of a run: load the model, tune a group, make the files. Imported when there is work to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from likeness_api.order import RunOrder
from likeness_api.reason import Reason
from likeness_runtime.denoiser.model import DiffusionModel, device_named
from likeness_runtime.export.embedding_file import embedding_file
from likeness_runtime.export.facts_file import facts_file
from likeness_runtime.export.file import File
from likeness_runtime.export.lora_file import diffusers_file, kohya_file
from likeness_runtime.export.model_card import card_file
from likeness_runtime.export.picture_file import picture_files
from likeness_runtime.export.subject import TunedSubject, UsedEncoder
from likeness_runtime.failure import RunError
from likeness_runtime.image.source_picture import last_segment
from likeness_runtime.method.caption import recogniser
from likeness_runtime.method.from_encoder import FromEncoder
from likeness_runtime.method.predictor import FromWord
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.manifest import ArtifactManifest, ManifestFile, ManifestImage, ManifestInput
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.order.personalize import Personalized, Start, personalize
from likeness_runtime.order.prepare import LocatedModels, PreparedSubject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Product:
    """All that is published of one subject, in memory."""

    files: list[File]
    manifest: ArtifactManifest


def produce(group: list[PreparedSubject], context: RunContext) -> list[Product | RunError]:
    """Tunes the group's subjects in the same forward passes; each one's product, or what is wrong with it alone.

    Where the device's memory does not suffice for the group, its subjects are tuned one at a time. Raises `RunError`
    where the run's model or encoder cannot be loaded.
    """
    try:
        return _produced(group, context)
    except torch.OutOfMemoryError as error:
        if len(group) == 1:
            return [_out_of_memory(group[0], error)]
    # Out of the handler, which kept the failed pass's tensors alive.
    log.warning(
        "The device's memory did not suffice for %d subjects at once; they are tuned one at a time.", len(group)
    )
    return [product for subject in group for product in produce([subject], context)]


def load_models(run: RunOrder, models: LocatedModels, cache: ModelCache) -> None:
    """Has the run's model and encoder ready in the cache. Raises `RunError` where one cannot be loaded."""
    model = cache.model(*models.model, device_named(run.device))
    if run.encoder is not None and models.encoder is not None:
        cache.encoder(*models.encoder, model)


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


def _produced(group: list[PreparedSubject], context: RunContext) -> list[Product | RunError]:
    run = group[0].order.run
    model = context.models.model(*group[0].models.model, device_named(run.device))
    names = ", ".join(f"{each.order.subject.namespace}/{each.order.subject.name}" for each in group)
    log.info("Started %s: model %s on %s.", names, last_segment(run.model.uri), model.device.type)
    start = _start(group[0], context, model)
    outcomes = personalize(model, group, start, progress=context.progress, check=context.check)
    return [
        outcome if isinstance(outcome, RunError) else _product(subject, outcome)
        for subject, outcome in zip(group, outcomes, strict=True)
    ]


def _start(subject: PreparedSubject, context: RunContext, model: DiffusionModel) -> Start:
    named, located = subject.order.run.encoder, subject.models.encoder
    if named is None or located is None:
        return Start(FromWord())
    folder, digest = located
    trained = context.models.encoder(folder, digest, model)
    return Start(FromEncoder(trained), UsedEncoder(last_segment(named.uri), digest), recogniser(trained, model))


def _out_of_memory(subject: PreparedSubject, error: torch.OutOfMemoryError) -> RunError:
    run = subject.order.run
    rows, side = run.rows_per_pass or "as many as fit", run.tuning.resolution or "the model's own"
    return RunError(
        Reason.OUT_OF_DEVICE_MEMORY,
        f"the GPU's memory did not suffice ({str(error).splitlines()[0]:.200}); lower the profile's"
        f" runtime.rowsPerPass (now {rows}), then spec.tuning.resolution (now {side})",
    )


def _product(prepared: PreparedSubject, personalized: Personalized) -> Product:
    subject, order = personalized.subject, prepared.order
    files = files_of(subject)
    manifest = ArtifactManifest(
        digest=subject.digest,
        namespace=order.subject.namespace,
        name=order.subject.name,
        token=order.subject.token,
        nearest_word=subject.nearest_word,
        steps=order.tuning.steps,
        images=[
            ManifestImage(name=picture.name, **image.model_dump())
            for picture, image in zip(prepared.pictures, subject.images, strict=True)
        ],
        model=ManifestInput(name=subject.base.name, sha256=subject.base.digest),
        metrics=personalized.metrics,
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
    return Product(files, manifest)
