"""What is said about a picture while its subject is tuned: the caption that came with it, else what is recognised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from likeness_api.personalization import SUBJECT_PLACE, CaptionSource, SubjectImage
from likeness_runtime.encoder_folder import TrainedEncoder
from likeness_runtime.forms import FORMS, sentences, with_article
from likeness_runtime.from_encoder import tower_pixels
from likeness_runtime.model import DiffusionModel

Recognise = Callable[[Image.Image], str | None]
"""A picture to the phrase for its context, or None where no phrase fits clearly."""


@dataclass(frozen=True)
class Told:
    """What is said about one picture."""

    sentences: list[str]
    """With the token; tuning draws one of them for each step."""
    caption: str | None
    """With `{token}` in the subject's place; None where only the subject is named."""
    source: CaptionSource


def told(image: SubjectImage, picture: Image.Image, token: str, recognise: Recognise | None) -> Told:
    """A caption that was given is used as it stands; a context that is recognised stands behind every form."""
    if image.caption:
        return Told([image.caption.replace(SUBJECT_PLACE, token)], image.caption, "Spec")
    if recognise is None:
        return Told(sentences(token), None, "NoContexts")
    context = recognise(picture)
    if context is None:
        return Told(sentences(token), None, "Unsure")
    return Told(sentences(token, context), f"{FORMS[1].format(with_article(SUBJECT_PLACE))} {context}", "ZeroShot")


def recogniser(trained: TrainedEncoder, model: DiffusionModel) -> Recognise | None:
    """By the encoder's own CLIP pair; None where its folder brings no context phrases."""
    contexts, tower = trained.contexts, trained.image_tower
    if contexts is None:
        return None

    @torch.no_grad()
    def recognise(picture: Image.Image) -> str | None:
        pixels = tower_pixels([picture], tower.config.image_size, trained.normalisation, model)
        return contexts.of(tower(pixels).image_embeds[0])

    return recognise
