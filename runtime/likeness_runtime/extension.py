"""What other distributions, such as `likeness-tuner-lab`, add by entry points: commands, image sets, phrases.

The runtime never imports the laboratory; it asks Python's packaging metadata who offers something under a name
(https://packaging.python.org/specifications/entry-points). Each group says in its docstring what is offered.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError

COMMAND_GROUP = "likeness.commands"
"""A sub-command of `likeness`: a function from argparse's sub-parsers to None that adds its parser."""
IMAGE_SET_GROUP = "likeness.image_sets"
"""What `likeness pretrain --images builtin://NAME` opens: a function from the folder of caches to an `ImageSet`."""
PHRASE_GROUP = "likeness.context_phrases"
"""The context phrases of a built-in model's world: a function without arguments to (phrases, nouns), two lists."""

LAB = "likeness-tuner[lab]"
"""The requirement that brings all three for the pocket model."""
LAB_COMMANDS = ("bench", "pocket")


def extensions(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name; none of them is imported yet."""
    return sorted(entry_points(group=group), key=lambda point: point.name)


def load_extension(group: str, name: str, *, needed_for: str) -> Any:
    """The object that is offered under `name` in `group`.

    Raises `RunError(SourceNotFound)` where no installed distribution offers it, saying what to install.
    """
    for point in extensions(group):
        if point.name == name:
            return point.load()
    raise RunError(Reason.SOURCE_NOT_FOUND, f"{needed_for} needs what is not installed: pip install '{LAB}'")
