"""How alike two pictures' subjects are, by two judges that never saw the model: our own and one from elsewhere.

Images are float tensors (k, 3, 64, 64) in [0, 1]. Both judges turn a picture into unit features, so that similarity is
a cosine; `Embed` is what they have in common. Held-out glyphs are fair game: no judge was trained on them.

Letters: k pictures, g gallery, d features.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

Embed: TypeAlias = Callable[[Tensor], Tensor]
"""Images (k, 3, 64, 64) to unit features (k, d): `glyph.embed_by_glyph` or `mobilenet.embed_by_mobilenet`."""


def similarity(images: Tensor, references: Tensor, embed: Embed) -> Tensor:
    """Mean cosine of each image with all references, (k,) in [-1, 1]."""
    return (embed(images) @ embed(references).T).mean(dim=1)


def retrieve(images: Tensor, gallery: Tensor, subjects: list[int], embed: Embed, best: int = 5) -> list[list[int]]:
    """The `best` subjects of each image by their closest gallery picture; `subjects[i]` is whom gallery[i] shows.

    Raises `ValueError` when there is not one subject for each gallery picture.
    """
    if len(subjects) != len(gallery):
        raise ValueError(f"subjects: {len(subjects)} given, expected {len(gallery)}, one for each gallery picture")
    closeness = embed(images) @ embed(gallery).T  # (k, g)
    ranking = closeness.argsort(dim=1, descending=True).tolist()
    return [list(dict.fromkeys(subjects[index] for index in row))[:best] for row in ranking]
