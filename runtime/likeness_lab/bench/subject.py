"""Whom the method is measured on: held-out glyphs, drawn in scenes, and photographs of anything.

A subject gives one picture to learn from and other pictures of itself to compare with: what is like the input but not
like them was copied, not learned. Letters: v pictures, h w height, width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from likeness_api.personalization import SubjectImage
from likeness_lab.bench.draw import TOKEN_WORD
from likeness_lab.bench.score import BACKGROUNDS
from likeness_lab.pocket.caption import context_phrase
from likeness_lab.pocket.glyphs import ARTS, Pixels
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import Background, Scene, draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects
from likeness_runtime.image.decode import decode, squared
from likeness_runtime.method.caption import PictureCaption, Recognise, caption_of, caption_picture
from likeness_runtime.pocket import IMAGE_SIZE_PX

REFERENCES = 6


@dataclass(frozen=True)
class BenchSubject:
    """`kind` is what it is counted under: an art's name, or "photo"."""

    name: str
    kind: str
    class_word: str
    """What a person would call it; "object" where the vocabulary has no word."""
    picture: Image.Image
    references: Tensor
    """(v, 3, h, w) in [0, 1]: other pictures of the subject."""
    truth: Tensor | None = None
    """(k, 3, h, w) in [0, 1]: what the k prompts ask for, where it can be rendered."""
    context: str | None = None
    """What the picture shows beside the subject, where the truth is known: "on a red background"."""
    reference_contexts: tuple[str, ...] = ()
    """The same of each reference."""
    masks: Tensor | None = None
    """(v, h, w) in [0, 1]: where the subject is in each reference, if that is known."""

    @property
    def reference_pictures(self) -> list[Image.Image]:
        pixels = (self.references.permute(0, 2, 3, 1) * 255.0).round().byte().numpy()
        return [Image.fromarray(each) for each in pixels]


@dataclass(frozen=True)
class Case:
    """A subject, and what is said about its picture."""

    subject: BenchSubject
    told: PictureCaption

    @property
    def caption(self) -> str:
        """With `{token}` in the subject's place."""
        return self.told.caption or caption_of(None)


def case(subject: BenchSubject, telling: str, recognise: Recognise | None) -> Case | None:
    """As the runtime tells it: "given", "recognised" or "untold". None where there is nothing to give.

    A caption that is given has the form of the others and names the true context.
    """
    caption = None
    if telling == "given":
        if subject.context is None:
            return None
        caption = caption_of(subject.context)
    image = SubjectImage(uri="file:///subject.png", caption=caption)
    return Case(
        subject, caption_picture(image, subject.picture, TOKEN_WORD, recognise if telling == "recognised" else None)
    )


def held_out_subjects(count: int, art: str = ARTS[0], skip: int = 0) -> list[BenchSubject]:
    """`count` held-out glyphs after the first `skip` in an order of their own, in scenes that their code points settle.

    Settings are chosen on glyphs that the reported figures skip, or the other way round.
    """
    return [_of_glyph(row, art) for row in held_out_rows(count, skip)]


def held_out_rows(count: int, skip: int = 0) -> list[int]:
    """Rows of the table of glyphs, in the order that `held_out_subjects` has."""
    rows = load_subjects().held_out()
    order = np.random.default_rng(0).permutation(len(rows))
    return [int(rows[index]) for index in order[skip : skip + count]]


def random_of(row: int) -> np.random.Generator:
    """What draws a glyph's scenes: its code point settles them."""
    return np.random.default_rng([ord(character) for character in load_subjects().glyphs[row].code_point])


def _of_glyph(row: int, art: str) -> BenchSubject:
    glyphs = load_subjects()
    glyph = glyphs.glyphs[row]
    random = random_of(row)
    scenes = [place(random, row, art, draw_background(random)) for _ in range(1 + REFERENCES)]
    rendered = [render(scene, glyphs.pictures[art][row]) for scene in scenes]
    contexts = [context_phrase(scene.background) for scene in scenes]
    return BenchSubject(
        name=f"{art}-{glyph.short_name}",
        kind=art,
        class_word=glyph.group,
        picture=Image.fromarray(rendered[0]),
        references=images_of(rendered[1:]),
        truth=images_of([render(place(random, row, art, each), glyphs.pictures[art][row]) for each in BACKGROUNDS]),
        context=contexts[0],
        reference_contexts=tuple(contexts[1:]),
        masks=torch.stack([_mask(scene, glyphs.pictures[art][row]) for scene in scenes[1:]]),
    )


def _mask(scene: Scene, picture: Pixels) -> Tensor:
    """(h, w): one where the glyph covers what is behind it, since there black and white make no difference."""
    black, white = (
        images_of([render(replace(scene, background=Background("plain", colour, colour)), picture)])[0]
        for colour in ("black", "white")
    )
    return 1.0 - (white - black).abs().mean(0).clamp(0, 1)


def photo_subjects(folder: Path) -> list[BenchSubject]:
    """One subject for each sub-folder with at least two pictures; the first is learned from."""
    subjects = []
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in own.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        if len(files) > 1:
            pictures = [squared(decode(file.read_bytes(), file.name), IMAGE_SIZE_PX) for file in files]
            references = images_of([np.asarray(picture) for picture in pictures[1 : 1 + REFERENCES]])
            subjects.append(BenchSubject(f"photo-{own.name}", "photo", "object", pictures[0], references))
    return subjects


def tensor_of(picture: Image.Image) -> Tensor:
    """(1, 3, h, w) in [0, 1]."""
    return images_of([np.asarray(squared(picture, IMAGE_SIZE_PX))])
