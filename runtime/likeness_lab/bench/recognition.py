"""`likeness bench contexts`: how often an encoder's context phrases are right, and what a margin would change.

The shipped list holds every background of the pocket world, as no list for photographs can. So it is measured a second
time among as many phrases again that name backgrounds which that world does not have.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from likeness_lab.bench.subject import held_out_rows
from likeness_lab.pocket.caption import context_phrase, phrases_of
from likeness_lab.pocket.glyphs import ARTS
from likeness_lab.pocket.scene import Background, draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.caption import ranked_contexts, shortlisted
from likeness_runtime.method.contexts import Contexts
from likeness_runtime.method.encoder_folder import TrainedEncoder

MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1)
FOREIGN = ("brown", "gold", "silver", "beige", "turquoise", "violet", "crimson", "navy", "olive", "cream")
"""Colours that no background of the pocket world has."""
SCENES = 8
"""Of each glyph."""


@dataclass(frozen=True)
class AtMargin:
    margin: float
    told: float
    """Share of pictures that get a phrase."""
    right: float
    """Share of these whose phrase is true; the colours of a pattern may come in either order."""


@dataclass(frozen=True)
class Recognition:
    phrases: int
    pictures: int
    shortlisted: float
    """Share of pictures whose truth is in the tower's shortlist."""
    by_tower_alone: float
    """Share of pictures whose truth is the shortlist's first."""
    at: list[AtMargin]


def foreign_phrases() -> list[str]:
    """As many as the world has."""
    return phrases_of(FOREIGN)


def recognition(model: DiffusionModel, trained: TrainedEncoder, found: Contexts, skip: int, count: int) -> Recognition:
    """On scenes of `count` held-out glyphs after the first `skip`, in the order of the benchmark's subjects."""
    glyphs, random = load_subjects(), np.random.default_rng(skip)
    scenes = [
        place(random, row, ARTS[0], draw_background(random))
        for row in held_out_rows(count, skip)
        for _ in range(SCENES)
    ]
    pictures = [Image.fromarray(render(scene, glyphs.pictures[scene.art][scene.row])) for scene in scenes]
    truths = [names_of(scene.background) for scene in scenes]
    lists = [shortlisted(trained, found, model, picture) for picture in pictures]
    ranked = [ranked_contexts(model, picture, phrases) for picture, phrases in zip(pictures, lists, strict=True)]
    lead = np.array([second / first - 1.0 for (_, first), (_, second), *_ in ranked])
    right = np.array([each[0][0] in truth for each, truth in zip(ranked, truths, strict=True)])
    kept = {margin: lead >= margin for margin in MARGINS}
    return Recognition(
        phrases=len(found.phrases),
        pictures=len(pictures),
        shortlisted=mean(bool(truth & set(phrases)) for truth, phrases in zip(truths, lists, strict=True)),
        by_tower_alone=mean(phrases[0] in truth for truth, phrases in zip(truths, lists, strict=True)),
        at=[AtMargin(margin, float(each.mean()), float(right[each].mean())) for margin, each in kept.items()],
    )


def names_of(background: Background) -> set[str]:
    """Its phrase, with the colours in either order."""
    turned = Background(background.pattern, background.second, background.first)
    return {context_phrase(background), context_phrase(turned)}


def write_recognition(found: list[Recognition], folder: Path) -> str:
    """contexts.json in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(each) for each in found], indent=2)
    (folder / "contexts.json").write_text(text + "\n")
    return text
