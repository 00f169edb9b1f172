"""The sentences that a picture is tuned under: from the caption that came with it, else from what is recognised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from likeness_api.personalization import SUBJECT_PLACE, CaptionSource, SubjectImage
from likeness_api.reason import Reason
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.failure import RunError
from likeness_runtime.image.decode import squared
from likeness_runtime.method.contexts import Contexts
from likeness_runtime.method.encoder_folder import TrainedEncoder
from likeness_runtime.method.forms import FORMS, sentences, with_article
from likeness_runtime.method.from_encoder import tower_pixels
from likeness_runtime.method.predictor import START_WORD

SHORTLIST = 5
"""Phrases that the denoiser ranks: the tower has the right one among these 99 times in 100 (pocket world)."""
CAPTION_TIME_SHARES = (0.5, 0.7)
"""The noise that it denoises from, as shares of the schedule: patterns are decided there, and little else."""

Recognise = Callable[[Image.Image], str | None]
"""A picture to the phrase for its context, or None where no phrase fits clearly."""


@dataclass(frozen=True)
class PictureCaption:
    """What one picture shows, in words."""

    sentences: list[str]
    """With the token; tuning draws one of them for each step."""
    caption: str | None
    """With `{token}` in the subject's place; None where only the subject is named."""
    source: CaptionSource


def caption_picture(
    image: SubjectImage, picture: Image.Image, token: str, recognise: Recognise | None
) -> PictureCaption:
    """A caption that was given is used as it stands; a context that is recognised stands behind every form."""
    if image.caption:
        return PictureCaption([image.caption.replace(SUBJECT_PLACE, token)], image.caption, "Spec")
    if recognise is None:
        return PictureCaption(sentences(token), None, "NoContexts")
    context = recognise(picture)
    if context is None:
        return PictureCaption(sentences(token), None, "Unsure")
    return PictureCaption(sentences(token, context), caption_of(context), "ZeroShot")


def caption_of(context: str | None) -> str:
    """A caption of the subject, `{token}`, with what is to be seen beside it."""
    named = FORMS[1].format(with_article(SUBJECT_PLACE))
    return named if context is None else f"{named} {context}"


def check_named(model: DiffusionModel, images: list[SubjectImage], token: str) -> None:
    """Raises `RunError(InvalidSpec)` where a caption's subject stands behind what the model reads of it: its words
    would be learned from, and the subject would not.
    """
    given = [(index, image.caption) for index, image in enumerate(images) if image.caption]
    if not given:
        return
    tokenized = model.text.tokenize([caption.replace(SUBJECT_PLACE, token) for _, caption in given], token)
    for tokenizer, prompts in zip(model.text.tokenizers, tokenized, strict=True):
        unnamed = (~prompts.spots.any(dim=1)).nonzero().flatten().tolist()
        if unnamed:
            index, caption = given[unnamed[0]]
            raise RunError(
                Reason.INVALID_SPEC,
                f"spec.subject.images[{index}].caption, {caption!r:.100}, has {SUBJECT_PLACE} behind the first"
                f" {tokenizer.model_max_length - 2} tokens, and the model reads no more; expected it among these:"
                " shorten the caption or name the subject first",
            )


def recogniser(trained: TrainedEncoder, model: DiffusionModel) -> Recognise | None:
    """By the encoder's CLIP pair, then by the denoiser; None where the folder brings no context phrases."""
    contexts = trained.contexts
    if contexts is None:
        return None

    def recognise(picture: Image.Image) -> str | None:
        (phrase, least), *others = ranked_contexts(model, picture, shortlisted(trained, contexts, model, picture))
        return None if any(error < least * (1.0 + contexts.margin) for _, error in others) else phrase

    return recognise


@torch.no_grad()
def shortlisted(trained: TrainedEncoder, contexts: Contexts, model: DiffusionModel, picture: Image.Image) -> list[str]:
    """The phrases that the tower finds nearest, nearest first."""
    tower = trained.image_tower
    pixels = tower_pixels([picture], tower.config.image_size, trained.normalisation, model)
    return contexts.shortlist(tower(pixels).image_embeds[0], SHORTLIST)


def ranked_contexts(model: DiffusionModel, picture: Image.Image, phrases: list[str]) -> list[tuple[str, float]]:
    """The phrases with the denoiser's errors, least first."""
    errors = context_errors(model, picture, phrases)
    return sorted(zip(phrases, errors, strict=True), key=lambda each: each[1])


@torch.no_grad()
def context_errors(model: DiffusionModel, picture: Image.Image, phrases: list[str]) -> list[float]:
    """The untouched model's mean loss on the picture under each phrase, over fixed noise.

    A diffusion model as a zero-shot classifier (Li et al., arXiv:2303.16203). The subject is called an "object", since
    nobody knows better. Letters: t timesteps, c h w latent channels, height, width.
    """
    times = model.noise.times_at(CAPTION_TIME_SHARES, "down")
    square = squared(picture, model.resolution_px)
    z = model.latent_space.encode([square]).expand(len(times), -1, -1, -1)  # (t, c, h, w)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    errors = []
    for phrase in phrases:
        sentence = f"{FORMS[1].format(with_article(START_WORD))} {phrase}"
        text = model.text.encode_plain([sentence]).repeated(len(times))
        errors.append(float(model.denoising_losses(z, noise, times, text).mean()))
    return errors
