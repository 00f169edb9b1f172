"""The heavy part of an order: load the model, tune the subject, make the files. Imported when there is work to do."""

from __future__ import annotations

import logging

import torch

from likeness_api.order import Order
from likeness_api.personalization import Metric
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
from likeness_runtime.image.source import Source, last_segment
from likeness_runtime.method.caption import recogniser
from likeness_runtime.method.encoder_folder import load_encoder
from likeness_runtime.method.from_encoder import FromEncoder
from likeness_runtime.method.predictor import FromWord
from likeness_runtime.order.fulfil import Located, Run
from likeness_runtime.order.manifest import Input, Manifest, ManifestFile, ManifestImage
from likeness_runtime.order.personalize import Start, personalize

log = logging.getLogger(__name__)


def produce(
    order: Order, run: Run, sources: list[Source], located: Located, digest: str
) -> tuple[list[File], Manifest]:
    """Everything to publish, in memory. Raises `RunError`, also where the device's memory does not suffice."""
    try:
        model = run.load(*located.model, device_named(order.device))
        name = last_segment(order.model.uri)
        log.info("Started %s/%s: model %s on %s.", order.namespace, order.name, name, model.device.type)
        subject, metrics = personalize(
            order,
            model,
            sources,
            digest,
            start=_start(order, located, model),
            progress=run.progress,
            check=run.check,
        )
    except torch.OutOfMemoryError as error:
        rows, side = order.rows_per_pass or "as many as fit", order.tuning.resolution or "the model's own"
        raise RunError(
            Reason.OUT_OF_DEVICE_MEMORY,
            f"the GPU's memory did not suffice ({str(error).splitlines()[0]:.200}); lower the profile's"
            f" runtime.rowsPerPass (now {rows}), then spec.tuning.resolution (now {side})",
        ) from None
    files = files_of(subject)
    return files, _manifest(order, subject, sources, files, metrics)


def _start(order: Order, located: Located, model: DiffusionModel) -> Start:
    if order.encoder is None or located.encoder is None:
        return Start(FromWord())
    folder, digest = located.encoder
    trained = load_encoder(folder, model)
    used = UsedEncoder(last_segment(order.encoder.uri), digest)
    return Start(FromEncoder(trained), used, recogniser(trained, model))


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
        images=[
            ManifestImage(name=source.name, **image.model_dump())
            for source, image in zip(sources, subject.images, strict=True)
        ],
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
