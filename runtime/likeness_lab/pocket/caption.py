"""Captions: what a scene says in words, and every word that can occur."""

from collections.abc import Iterable
from itertools import combinations, permutations

import numpy as np

from likeness_lab.pocket.glyphs import Glyph, shipped_table
from likeness_lab.pocket.names import DRAWN, GROUPS, NAMES
from likeness_lab.pocket.scene import COLOURS, PATTERNS, Background, Scene, draw_background
from likeness_runtime.method.forms import BARE, FORMS, with_article

MEDIA: dict[str, tuple[str, ...]] = {
    "fluent": tuple(form for form in FORMS if form != BARE),
    "noto": ("a drawing of {}",),
}
"""The forms that tell the two arts apart; those of one art mean the same."""

EXTRA_WORDS: tuple[str, ...] = (
    "a", "an", "the", "of", "on", "in", "with", "and", "image", "background", "one", "two", "small", "large", "my",
    "this", "is",
)  # fmt: skip
"""Words of the templates and a few that people write around them."""


def background_phrase(background: Background) -> str:
    """For example "a red background" or "a blue and white striped background"."""
    if background.pattern == "plain":
        return f"{with_article(background.first)} background"
    return f"{with_article(background.first)} and {background.second} {background.pattern} background"


def context_phrase(background: Background) -> str:
    """What a sentence says behind the subject, for example "on a red background"."""
    return f"on {background_phrase(background)}"


def caption(scene: Scene, subject: str, form: str) -> str:
    """The full caption: subject and background in one of the forms of `MEDIA`."""
    return f"{form.format(with_article(subject))} {context_phrase(scene.background)}"


def draw_caption(random: np.random.Generator, scene: Scene, glyph: Glyph, group_share: float = 0.05) -> str:
    """A caption as training sees it: named glyphs go by their group in `group_share` of all draws.

    The background is left unsaid in one of ten. A fluent glyph goes without a medium in half of all draws.
    """
    subject = glyph.name if glyph.name and random.random() >= group_share else glyph.group
    form = str(random.choice(MEDIA[scene.art]))
    with_background = random.random() >= 0.1
    if scene.art == "fluent" and random.random() < 0.5:
        form = BARE
    return caption(scene, subject, form) if with_background else form.format(with_article(subject))


def caption_words() -> list[str]:
    """Every whole word of the pocket world, sorted."""
    words = {*NAMES.values(), *GROUPS.values(), *COLOURS, *PATTERNS, *EXTRA_WORDS}
    words.update(*(form.replace("{}", "").split() for forms in MEDIA.values() for form in forms))
    return sorted(words)


def subject_words() -> list[str]:
    """The words the UNet can draw: what a learned word may be near to. Sorted.

    A name that is known but was not taught, or whose glyph is held out, would make a hard prompt that draws nothing.
    """
    return sorted(DRAWN | set(GROUPS.values()))


def group_words() -> list[str]:
    """What a subject is called where nobody knows its name, sorted."""
    return sorted(set(GROUPS.values()))


def context_phrases() -> list[str]:
    """Every background of the world in words."""
    return phrases_of(COLOURS)


def phrases_and_nouns() -> tuple[list[str], list[str]]:
    """What `likeness contexts` embeds for the pocket model: every background, and every noun before it."""
    return context_phrases(), group_words()


def phrases_of(colours: Iterable[str]) -> list[str]:
    """Every background in these colours; stripes and checks of two are the same in either order, and occur once."""
    own = list(colours)
    plain = [Background("plain", colour, colour) for colour in own]
    patterned = [
        Background(pattern, *pair)
        for pattern in PATTERNS[1:]
        for pair in (combinations if pattern in ("striped", "checked") else permutations)(own, 2)
    ]
    return [context_phrase(background) for background in (*plain, *patterned)]


def random_prompts(count: int, seed: int) -> list[str]:
    """Prompts for `samples`: words of names at random before random backgrounds."""
    random = np.random.default_rng(seed)
    words = sorted(glyph.name for glyph in shipped_table() if glyph.name in DRAWN)
    return [
        f"a picture of {with_article(str(random.choice(words)))} on {background_phrase(draw_background(random))}"
        for _ in range(count)
    ]
