"""One subject, from decoded pictures to tensors and previews in memory: predict, tune, round, draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from likeness_api.order import Order
from likeness_api.personalization import LearnedImage, Metric, Preview
from likeness_runtime.denoiser.lora import Factors
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.export.subject import Base, Picture, TunedSubject, UsedEncoder
from likeness_runtime.image.decode import squared
from likeness_runtime.image.source import Source, last_segment
from likeness_runtime.method.caption import Recognise, caption_picture, check_named
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.dual_prompt import dual_prompt
from likeness_runtime.method.forms import DEFAULT_FORM, with_article
from likeness_runtime.method.nearest_word import nearest_word
from likeness_runtime.method.predictor import Prediction, Predictor
from likeness_runtime.method.progress import ProgressCallback
from likeness_runtime.method.tune import tune, tuning_subject
from likeness_runtime.order.manifest import metric


@dataclass(frozen=True)
class Start:
    """What tuning starts from."""

    predictor: Predictor
    encoder: UsedEncoder | None = None
    """How the published files name the encoder; None where tuning starts from a plain word."""
    recognise: Recognise | None = None
    """Captions pictures that came without a caption."""


def personalize(
    order: Order,
    model: DiffusionModel,
    sources: list[Source],
    digest: str,
    *,
    start: Start,
    progress: ProgressCallback,
    check: Callable[[], None],
) -> tuple[TunedSubject, list[Metric]]:
    """The tuned subject and its figures. `check` is called between sampling steps and may raise to stop."""
    check_named(model, order.images, order.token)
    side_px = order.tuning.resolution or model.resolution_px
    generator = torch.Generator("cpu").manual_seed(order.tuning.seed)
    pictures = [source.picture for source in sources]
    captions = [
        caption_picture(image, picture, order.token, start.recognise)
        for image, picture in zip(order.images, pictures, strict=True)
    ]
    tuned_on = tuning_subject(model, pictures, [each.sentences for each in captions], side_px, generator)
    prediction = start.predictor.predict(model, [pictures], order.tuning.rank, [generator])
    tuned = tune(
        model,
        prediction,
        [tuned_on],
        order.token,
        tuning=order.tuning,
        progress=progress,
        rows_per_pass=order.rows_per_pass,
    )
    rounded = published_precision(tuned.prediction)
    embeddings = [v_star[0] for v_star in rounded.embeddings]
    word, cosine = nearest_word(model, embeddings)
    subject = TunedSubject(
        name=order.name,
        token=order.token,
        nearest_word=word,
        embeddings=embeddings,
        offsets=rounded.offsets,
        tuning=order.tuning,
        base=base_of(order, model, side_px),
        encoder=start.encoder,
        images=[
            LearnedImage(sha256=source.sha256, caption=each.caption, caption_source=each.source)
            for source, each in zip(sources, captions, strict=True)
        ],
        input=squared(pictures[0], side_px),
        previews=draw_previews(order, model, rounded, side_px, check),
        digest=digest,
    )
    metrics = [
        metric("lossBefore", float(tuned.loss_before[0])),
        metric("lossAfter", float(tuned.loss_after[0])),
        metric("nearestWordCosine", cosine),
    ]
    return subject, metrics


def published_precision(prediction: Prediction) -> Prediction:
    """Factors in float16, as they are published: half the bytes, and 1e-3 relative is far below a step's change."""
    offsets = {path: Factors(each.A.half(), each.B.half()) for path, each in prediction.offsets.items()}
    return Prediction(prediction.embeddings, offsets)


def previews_of(order: Order) -> list[Preview]:
    """What to draw, with every seed settled; a photo of the subject where the order asks for nothing."""
    asked = order.previews or [Preview(prompt=DEFAULT_FORM.format(with_article(order.token)))]
    return [
        Preview(prompt=each.prompt, seed=order.tuning.seed + index if each.seed is None else each.seed)
        for index, each in enumerate(asked)
    ]


def draw_previews(
    order: Order, model: DiffusionModel, prediction: Prediction, side_px: int, check: Callable[[], None]
) -> list[Picture]:
    """The pictures that the order asks for, as the loader of `pipeline.py` draws them from the published files."""
    alpha, vocabulary = float(order.tuning.alpha), vocabularies(model)
    unconditional = model.text.unconditional(alpha)

    def picture(preview: Preview) -> Image.Image:
        assert preview.seed is not None
        prompts = model.text.tokenize([preview.prompt], order.token)
        text = dual_prompt(model, prompts, prediction.embeddings, vocabulary, alpha=alpha)
        return draw_picture(model, text, unconditional, seed=preview.seed, side_px=side_px, check=check)

    with torch.no_grad(), model.denoiser.paths(prediction.offsets, alpha, guided=lambda: True):
        return [Picture(preview.prompt, picture(preview)) for preview in previews_of(order)]


def base_of(order: Order, model: DiffusionModel, side_px: int) -> Base:
    return Base(
        name=last_segment(order.model.uri),
        digest=model.digest,
        names=model.names,
        prediction_type=model.noise.prediction_type,
        resolution_px=side_px,
    )
