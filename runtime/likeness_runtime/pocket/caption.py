"""Captions: what a scene says in words, and every word that can occur."""

import numpy as np

from likeness_runtime.pocket.glyphs import Glyph, shipped_table
from likeness_runtime.pocket.names import DRAWN, GROUPS, NAMES
from likeness_runtime.pocket.scene import COLOURS, PATTERNS, Background, Scene, draw_background

MEDIA: dict[str, tuple[str, ...]] = {"fluent": ("picture", "photo", "rendering"), "noto": ("drawing",)}
"""The words that tell the two arts apart; those of one art mean the same."""

EXTRA_WORDS: tuple[str, ...] = (
    "a", "an", "the", "of", "on", "in", "with", "and", "image", "background", "one", "two", "small", "large", "my",
    "this", "is",
)  # fmt: skip
"""Words of the templates and a few that people write around them."""


def with_article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def background_phrase(background: Background) -> str:
    """For example "a red background" or "a blue and white striped background"."""
    if background.pattern == "plain":
        return f"{with_article(background.first)} background"
    return f"{with_article(background.first)} and {background.second} {background.pattern} background"


def caption(scene: Scene, subject: str, medium: str) -> str:
    """The full caption: medium, subject and background."""
    return f"a {medium} of {with_article(subject)} on {background_phrase(scene.background)}"


def draw_caption(random: np.random.Generator, scene: Scene, glyph: Glyph, group_share: float = 0.05) -> str:
    """A caption as training sees it: named glyphs go by their group in `group_share` of all draws.

    The background is left unsaid in one of ten. A fluent glyph goes without a medium in half of all draws.
    """
    subject = glyph.name if glyph.name and random.random() >= group_share else glyph.group
    full = caption(scene, subject, str(random.choice(MEDIA[scene.art])))
    if random.random() < 0.1:
        full = full.split(" on ")[0]
    if scene.art == "fluent" and random.random() < 0.5:
        full = full.split(" of ", 1)[1]
    return full


def vocabulary() -> list[str]:
    """Every whole word of the pocket world, sorted."""
    words = {*NAMES.values(), *GROUPS.values(), *COLOURS, *PATTERNS, *EXTRA_WORDS}
    words.update(*MEDIA.values())
    return sorted(words)


def subject_words() -> list[str]:
    """The words the UNet can draw: what a learned word may be near to. Sorted.

    A name that is known but was not taught, or whose glyph is held out, would make a hard prompt that draws nothing.
    """
    return sorted(DRAWN | set(GROUPS.values()))


def random_prompts(count: int, seed: int) -> list[str]:
    """Prompts for `samples`: words of names at random before random backgrounds."""
    random = np.random.default_rng(seed)
    words = sorted(glyph.name for glyph in shipped_table() if glyph.name in DRAWN)
    return [
        f"a picture of {with_article(str(random.choice(words)))} on {background_phrase(draw_background(random))}"
        for _ in range(count)
    ]
