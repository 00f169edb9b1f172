"""`likeness bench semantics`: what a learned subject's parts mean, beside how good its pictures are.

Is the word the name of such things (own name, true group)? Which part carries the subject (another subject's word or
offsets in its place)? Does it still follow sentences of unusual forms? Do other names mean what they meant?
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from PIL import Image

from likeness_lab.bench.arm import Stage
from likeness_lab.bench.draw import TOKEN_WORD, Learned, Sampling, drawn, wordless
from likeness_lab.bench.score import prompts, score
from likeness_lab.bench.subject import BenchSubject, random_of, tensor_of
from likeness_lab.judge import glyph
from likeness_lab.pocket.caption import background_phrase, context_phrase
from likeness_lab.pocket.glyphs import ARTS
from likeness_lab.pocket.names import GROUPS
from likeness_lab.pocket.scene import Background, draw_background, place, render
from likeness_lab.pocket.subjects import load_subjects
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.forms import FORMS, with_article
from likeness_runtime.method.nearest_word import nearest_words
from likeness_runtime.method.predictor import Prediction, Predictor

UNUSUAL: tuple[tuple[str, Background], ...] = (
    ("my {} on {}", Background("plain", "orange", "orange")),
    ("this is a {} on {}", Background("plain", "black", "black")),
    ("a {} with {}", Background("plain", "pink", "pink")),
    ("the image of a {} on {}", Background("striped", "blue", "white")),
    ("one small {} on {}", Background("plain", "gray", "gray")),
    ("a {} in {}", Background("dotted", "yellow", "blue")),
    ("a large {} on {}", Background("checked", "red", "black")),
    ("a drawing of a {} and {}", Background("gradient", "green", "purple")),
)
"""Sentences of words that the model knows, in forms that it was not trained on, and the backgrounds that they name."""
PRIOR_NAMES = ("lion", "tomato", "rocket", "guitar", "penguin", "cactus", "umbrella", "pizza")


@dataclass(frozen=True)
class Meaning:
    """Of one subject at one number of steps; shares and cosines in [0, 1]."""

    subject: str
    steps: int
    group_at_1: bool
    """The nearest word is of the subject's group, or its name."""
    group_at_3: bool
    norm: float
    """Length of v* in lengths of an average word."""
    identity: float
    identity_with_other_word: float
    """Drawn with the next subject's word and its own offsets."""
    identity_with_other_offsets: float
    """Drawn with its own word and the next subject's offsets."""
    unusual_fidelity: float
    unusual_identity: float
    names_kept: float
    """Share of other taught names whose glyph is recognised in pictures drawn with the adapter on."""
    names_before: float
    """The same of the untouched model."""


@dataclass(frozen=True)
class SemanticsReport:
    own_name: float
    """Share of taught glyphs whose own name is the nearest word of what is predicted for them."""
    own_name_subjects: int
    group_at_1: float
    """Of the held-out glyphs' predictions."""
    group_at_3: float
    group_subjects: int
    meanings: list[Meaning]


def measure_semantics(
    model: DiffusionModel,
    encoder: Predictor,
    subjects: list[BenchSubject],
    learn: Callable[[BenchSubject, int], Stage],
    *,
    steps: tuple[int, ...],
    sampling: Sampling,
) -> SemanticsReport:
    """`learn` gives what ours has learned of a subject after so many steps."""
    groups = groups_of_words()
    glyphs = load_subjects()
    table = glyphs.glyphs
    own = [words_of(model, _predicted(model, encoder, row))[0] == table[row].name for row in glyphs.drawn()]
    ranks = [words_of(model, _predicted(model, encoder, row)) for row in glyphs.held_out()]
    true = [table[row].group for row in glyphs.held_out()]
    before = _names_kept(model, None, sampling)
    return SemanticsReport(
        own_name=mean(own),
        own_name_subjects=len(own),
        group_at_1=mean(groups.get(words[0]) == group for words, group in zip(ranks, true, strict=True)),
        group_at_3=mean(group in map(groups.get, words) for words, group in zip(ranks, true, strict=True)),
        group_subjects=len(ranks),
        meanings=[
            meaning
            for count in steps
            for meaning in _meanings(model, subjects, [learn(each, count) for each in subjects], sampling, before)
        ],
    )


def groups_of_words() -> dict[str, str]:
    """Every word that a subject can be near to, and the group of things that it names."""
    named = {each.name: each.group for each in load_subjects().glyphs if each.name}
    return named | {group: group for group in GROUPS.values()}


def words_of(model: DiffusionModel, prediction: Prediction) -> list[str]:
    """The three words nearest to v*, nearest first."""
    return [word for word, _cosine in nearest_words(model, [v_star[0] for v_star in prediction.embeddings], 3)]


def swapped(word: Learned, offsets: Learned) -> Learned:
    """One subject's word with another one's offsets."""
    prediction = Prediction(word.prediction.embeddings, offsets.prediction.offsets, word.prediction.negatives)
    return replace(word, prediction=prediction)


def write_semantics(report: SemanticsReport, folder: Path) -> str:
    """semantics.json in `folder`; returns a table of means."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "semantics.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
    lines = [
        f"own name of {report.own_name_subjects} taught glyphs {report.own_name:.3f}; true group of"
        f" {report.group_subjects} held-out ones: nearest word {report.group_at_1:.3f}, three nearest"
        f" {report.group_at_3:.3f}"
    ]
    for steps in dict.fromkeys(each.steps for each in report.meanings):
        of_steps = [asdict(each) for each in report.meanings if each.steps == steps]
        names = [name for name in of_steps[0] if name not in ("subject", "steps")]
        means = ", ".join(f"{name} {mean(each[name] for each in of_steps):.3f}" for name in names)
        lines.append(f"{steps} steps, {len(of_steps)} subjects: {means}")
    return "\n".join(lines) + "\n"


def _meanings(
    model: DiffusionModel, subjects: list[BenchSubject], stages: list[Stage], sampling: Sampling, before: float
) -> list[Meaning]:
    groups, (vocabulary, *_others) = groups_of_words(), vocabularies(model)
    average = float(vocabulary.rows.norm(dim=-1).mean())
    found = []
    for index, (subject, stage) in enumerate(zip(subjects, stages, strict=True)):
        own, other = stage.learned, stages[(index + 1) % len(stages)].learned
        assert own is not None
        assert other is not None
        nearest = words_of(model, own.prediction)
        unusual = score(
            drawn(model, own, unusual_prompts(), sampling, untouched_guidance=True),
            tensor_of(subject.picture),
            subject.references,
            glyph.embed_by_glyph,
            [background for _, background in UNUSUAL],
        )
        found.append(
            Meaning(
                subject=subject.name,
                steps=stage.steps,
                group_at_1=groups.get(nearest[0]) == subject.class_word,
                group_at_3=subject.class_word in map(groups.get, nearest),
                norm=float(own.prediction.embeddings[0][0].norm()) / average,
                identity=_identity(model, own, subject, sampling),
                identity_with_other_word=_identity(model, swapped(other, own), subject, sampling),
                identity_with_other_offsets=_identity(model, swapped(own, other), subject, sampling),
                unusual_fidelity=unusual.fidelity,
                unusual_identity=unusual.identity,
                names_kept=_names_kept(model, own, sampling),
                names_before=before,
            )
        )
    return found


def unusual_prompts() -> list[str]:
    return [form.format(TOKEN_WORD, background_phrase(background)) for form, background in UNUSUAL]


def _identity(model: DiffusionModel, learned: Learned, subject: BenchSubject, sampling: Sampling) -> float:
    images = drawn(model, learned, prompts(learned.called), sampling, untouched_guidance=True)
    return score(images, tensor_of(subject.picture), subject.references, glyph.embed_by_glyph).identity


def _names_kept(model: DiffusionModel, learned: Learned | None, sampling: Sampling) -> float:
    """With the adapter on, as somebody draws who forgot to take it off; None is the untouched model."""
    prediction = wordless(model, {}) if learned is None else learned.prediction
    context = context_phrase(Background("plain", "white", "white"))
    prompts_of_names = [f"{FORMS[1].format(with_article(name))} {context}" for name in PRIOR_NAMES]
    images = drawn(model, Learned(prediction, "nobody"), prompts_of_names, sampling, untouched_guidance=True)
    code_points = {each.name: each.code_point for each in load_subjects().glyphs}
    wanted = [code_points[name] for name in PRIOR_NAMES] * len(sampling.seeds)
    return mean(best[0] == code for best, code in zip(glyph.recognise(images, best=1), wanted, strict=True))


def _predicted(model: DiffusionModel, encoder: Predictor, row: int) -> Prediction:
    """Of a glyph in a scene that its code point settles."""
    glyphs = load_subjects()
    random = random_of(row)
    scene = place(random, row, ARTS[0], draw_background(random))
    picture = Image.fromarray(render(scene, glyphs.pictures[ARTS[0]][row]))
    return encoder.predict(model, [[picture]], 4, [torch.Generator().manual_seed(0)])
