"""The sentences that a subject stands in: while an encoder is trained, while it is tuned, and in the default preview.

A diffusion model understands a new word in sentences of the kind that its own captions were. These are plain enough
for every Stable Diffusion, and the pocket model was trained on them (`likeness_lab/pocket/caption.py`): always with
an article, because "a picture of NAME" is to a text tower something else than "a picture of a NAME".
"""

from __future__ import annotations

BARE = "{}"
FORMS: tuple[str, ...] = (BARE, "a picture of {}", "a photo of {}", "a rendering of {}")
"""`{}` is a noun with its article, and what is to be seen beside it may follow: "a photo of a cat on a beach"."""

DEFAULT_FORM = FORMS[2]
"""The default preview's, where a spec has none."""


def with_article(noun: str) -> str:
    """The noun, or a token such as `<cat>`, with "a" or "an" before it."""
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def sentences(token: str, context: str | None = None) -> list[str]:
    """Every form with the subject's token, `context` behind it: "a photo of a <cat> on a beach"."""
    behind = "" if context is None else f" {context}"
    return [form.format(with_article(token)) + behind for form in FORMS]
