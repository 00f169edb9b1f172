"""A group of subjects, from decoded pictures to tensors and previews in memory: predict, tune, round, draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image

from likeness_api.order import Order
from likeness_api.personalization import LearnedImage, Metric, Preview
from likeness_runtime.denoiser.lora import Factors
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.export.subject import Base, Picture, TunedSubject, UsedEncoder
from likeness_runtime.failure import RunError, attempt
from likeness_runtime.image.decode import squared
from likeness_runtime.image.source_picture import last_segment
from likeness_runtime.method.caption import PictureCaption, Recognise, caption_picture, check_named
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.dual_prompt import dual_prompt
from likeness_runtime.method.forms import DEFAULT_FORM, with_article
from likeness_runtime.method.nearest_word import nearest_word
from likeness_runtime.method.predictor import Prediction, Predictor
from likeness_runtime.method.progress import ProgressCallback
from likeness_runtime.method.tune import TuningResult, TuningSubject, tune, tuning_subject
from likeness_runtime.order.manifest import metric
from likeness_runtime.order.prepare import PreparedSubject


@dataclass(frozen=True)
class Start:
    """What tuning starts from."""

    predictor: Predictor
    encoder: UsedEncoder | None = None
    """How the published files name the encoder; None where tuning starts from a plain word."""
    recognise: Recognise | None = None
    """Captions pictures that came without a caption."""


@dataclass(frozen=True)
class Personalized:
    """One subject, learned: what its files are made of, and its figures."""

    subject: TunedSubject
    metrics: list[Metric]


@dataclass(frozen=True)
class _Captioned:
    """A subject that can be tuned: its latents and sentences are there."""

    prepared: PreparedSubject
    captions: list[PictureCaption]
    tuned_on: TuningSubject


def personalize(
    model: DiffusionModel,
    group: list[PreparedSubject],
    start: Start,
    *,
    progress: ProgressCallback,
    check: Callable[[], None],
) -> list[Personalized | RunError]:
    """Each subject learned, or what is wrong with it alone; the subjects share one run's order.

    `check` is called between sampling steps and may raise to stop. A subject's draws are its own generator's, so
    company changes no more than the last bits.
    """
    captioned = [attempt(partial(_captioned, model, each, start.recognise)) for each in group]
    going = [each for each in captioned if isinstance(each, _Captioned)]
    if not going:
        return [each for each in captioned if isinstance(each, RunError)]
    tuned = _tuned(model, going, start.predictor, progress)
    finished = iter(
        [
            attempt(partial(_personalized, model, each, tuned, index, start=start, check=check))
            for index, each in enumerate(going)
        ]
    )
    return [next(finished) if isinstance(each, _Captioned) else each for each in captioned]


def _captioned(model: DiffusionModel, prepared: PreparedSubject, recognise: Recognise | None) -> _Captioned:
    order = prepared.order
    token, images = order.subject.token, order.subject.images
    check_named(model, images, token)
    generator = torch.Generator("cpu").manual_seed(order.tuning.seed)
    pictures = [each.picture for each in prepared.pictures]
    captions = [
        caption_picture(image, picture, token, recognise) for image, picture in zip(images, pictures, strict=True)
    ]
    sentences = [each.sentences for each in captions]
    tuned_on = tuning_subject(model, pictures, sentences, _side_px(order, model), generator, token=token)
    return _Captioned(prepared, captions, tuned_on)


def _tuned(
    model: DiffusionModel, going: list[_Captioned], predictor: Predictor, progress: ProgressCallback
) -> TuningResult:
    run = going[0].prepared.order.run
    pictures = [[picture.picture for picture in each.prepared.pictures] for each in going]
    subjects = [each.tuned_on for each in going]
    prediction = predictor.predict(model, pictures, run.tuning.rank, [each.generator for each in subjects])
    return tune(model, prediction, subjects, tuning=run.tuning, progress=progress, rows_per_pass=run.rows_per_pass)


def _personalized(
    model: DiffusionModel,
    captioned: _Captioned,
    tuned: TuningResult,
    index: int,
    *,
    start: Start,
    check: Callable[[], None],
) -> Personalized:
    """Raises `RunError(LossNotFinite)`."""
    failure = tuned.failure(index)
    if failure is not None:
        raise failure
    prepared, order = captioned.prepared, captioned.prepared.order
    side_px = _side_px(order, model)
    rounded = published_precision(_alone(tuned.prediction, index))
    embeddings = [v_star[0] for v_star in rounded.embeddings]
    word, cosine = nearest_word(model, embeddings)
    subject = TunedSubject(
        name=order.subject.name,
        token=order.subject.token,
        nearest_word=word,
        embeddings=embeddings,
        offsets=rounded.offsets,
        tuning=order.tuning,
        base=base_of(order, model, side_px),
        encoder=start.encoder,
        images=[
            LearnedImage(sha256=picture.sha256, caption=each.caption, caption_source=each.source)
            for picture, each in zip(prepared.pictures, captioned.captions, strict=True)
        ],
        input=squared(prepared.pictures[0].picture, side_px),
        previews=draw_previews(order, model, rounded, side_px, check),
        digest=prepared.digest,
    )
    metrics = [
        metric("lossBefore", float(tuned.loss_before[index])),
        metric("lossAfter", float(tuned.loss_after[index])),
        metric("nearestWordCosine", cosine),
    ]
    return Personalized(subject, metrics)


def _side_px(order: Order, model: DiffusionModel) -> int:
    return order.tuning.resolution or model.resolution_px


def _alone(prediction: Prediction, index: int) -> Prediction:
    """One subject's rows of a prediction for several."""
    rows = slice(index, index + 1)
    offsets = {path: Factors(each.A[rows], each.B[rows]) for path, each in prediction.offsets.items()}
    return Prediction([v_star[rows] for v_star in prediction.embeddings], offsets)


def published_precision(prediction: Prediction) -> Prediction:
    """Factors in float16, as they are published: half the bytes, and 1e-3 relative is far below a step's change."""
    offsets = {path: Factors(each.A.half(), each.B.half()) for path, each in prediction.offsets.items()}
    return Prediction(prediction.embeddings, offsets)


def previews_of(order: Order) -> list[Preview]:
    """What to draw, with every seed settled; a photo of the subject where the order names no prompt."""
    wanted = order.subject.previews or [Preview(prompt=DEFAULT_FORM.format(with_article(order.subject.token)))]
    return [
        Preview(prompt=each.prompt, seed=order.tuning.seed + index if each.seed is None else each.seed)
        for index, each in enumerate(wanted)
    ]


def draw_previews(
    order: Order, model: DiffusionModel, prediction: Prediction, side_px: int, check: Callable[[], None]
) -> list[Picture]:
    """The order's pictures, as the loader of `pipeline.py` draws them from the published files."""
    alpha, vocabulary = float(order.tuning.alpha), vocabularies(model)
    unconditional = model.text.unconditional(alpha)

    def picture(preview: Preview) -> Image.Image:
        assert preview.seed is not None
        prompts = model.text.tokenize([preview.prompt], order.subject.token)
        text = dual_prompt(model, prompts, prediction.embeddings, vocabulary, alpha=alpha)
        return draw_picture(model, text, unconditional, seed=preview.seed, side_px=side_px, check=check)

    with torch.no_grad(), model.denoiser.paths(prediction.offsets, alpha, guided=lambda: True):
        return [Picture(preview.prompt, picture(preview)) for preview in previews_of(order)]


def base_of(order: Order, model: DiffusionModel, side_px: int) -> Base:
    return Base(
        name=last_segment(order.run.model.uri),
        digest=model.digest,
        names=model.names,
        prediction_type=model.noise.prediction_type,
        resolution_px=side_px,
    )
