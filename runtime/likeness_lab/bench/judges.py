"""How far the judges can be trusted: their own accuracy on true renders, where the answer is known.

A judge that is right less than 95 times in 100 on the truth is not a judge: `likeness bench judges`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from likeness_lab.bench.base import share
from likeness_lab.judge import glyph, mobilenet
from likeness_lab.judge.background import read_backgrounds, same_colours, same_pattern
from likeness_lab.judge.identity import Embed, retrieve
from likeness_lab.pocket.glyphs import ARTS, GlyphSet
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import Scene, draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects

VIEWS: int = 8
"""Gallery pictures of each held-out glyph."""

BACKGROUND_RENDERS: int = 200
"""Renders the background judge judges."""


@dataclass(frozen=True)
class Trust:
    """Shares in [0, 1] of true renders each judge is right about."""

    background_colours: float
    background_pattern: float
    glyph_at_1: dict[str, float]
    """By art: named glyphs, among all seen ones."""
    glyph_at_5: dict[str, float]
    identity_at_1: dict[str, float]
    """By judge: held-out glyphs in 3-D art, among all held-out ones, from `VIEWS` other renders of each."""


def measure_judges(seed: int, with_mobilenet: bool = True) -> Trust:
    """Ask every judge about fresh renders of the shipped glyphs."""
    subjects, random = load_subjects(), np.random.default_rng(seed)
    rows = [int(row) for row in random.choice(len(subjects.glyphs), size=BACKGROUND_RENDERS)]
    scenes = draw_scenes(rows, ARTS[0], random)
    found = list(zip(scenes, read_backgrounds(rendered(scenes, subjects)), strict=True))
    ranked = {art: glyph.recognise(rendered(draw_scenes(subjects.named(), art, random), subjects)) for art in ARTS}
    named = [subjects.glyphs[row].code_point for row in subjects.named()]
    judges: dict[str, Embed] = {"glyph": glyph.embed_by_glyph}
    if with_mobilenet:
        judges["mobilenet"] = mobilenet.embed_by_mobilenet
    return Trust(
        background_colours=share([same_colours(scene.background, read) for scene, read in found]),
        background_pattern=share([same_pattern(scene.background, read) for scene, read in found]),
        glyph_at_1={art: share([a == best[0] for a, best in zip(named, ranked[art], strict=True)]) for art in ARTS},
        glyph_at_5={art: share([a in best for a, best in zip(named, ranked[art], strict=True)]) for art in ARTS},
        identity_at_1={name: identity(subjects, random, embed) for name, embed in judges.items()},
    )


def identity(subjects: GlyphSet, random: np.random.Generator, embed: Callable[[Tensor], Tensor]) -> float:
    """Share of held-out glyphs found among all held-out ones by their features."""
    rows = subjects.held_out()
    gallery = torch.cat([rendered(draw_scenes(rows, ARTS[0], random), subjects) for _ in range(VIEWS)])
    queries = rendered(draw_scenes(rows, ARTS[0], random), subjects)
    best = retrieve(queries, gallery, rows * VIEWS, embed, best=1)
    return share([found[0] == row for found, row in zip(best, rows, strict=True)])


def draw_scenes(rows: list[int], art: str, random: np.random.Generator) -> list[Scene]:
    """One random scene for each of `rows`."""
    return [place(random, row, art, draw_background(random)) for row in rows]


def rendered(scenes: list[Scene], subjects: GlyphSet) -> Tensor:
    """The scenes as images (k, 3, 64, 64) in [0, 1]."""
    return images_of([render(scene, subjects.pictures[scene.art][scene.row]) for scene in scenes])
