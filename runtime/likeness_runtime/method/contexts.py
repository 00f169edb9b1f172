"""What a picture shows beside the subject, recognised zero-shot: the best of a list of phrases, or none.

An encoder's folder may bring context phrases, such as "on a wooden table", with the embeddings that the text tower of
its CLIP pair gives them. Its image tower then shortlists them; the text tower is not needed any more. Which of these
it is the denoiser decides (`caption.py`): it sees what the tower's patches are too coarse for, and costs more a phrase.

Letters: m phrases, p width of the pair's common space.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from likeness_runtime.method.forms import FORMS, with_article

CONTEXTS, HEADER = "encoder/contexts.safetensors", "contexts"
"""The file in an encoder's folder, and what in its header holds phrases and margin as JSON."""

SETTINGS: tuple[str, ...] = (
    "on a white background", "on a black background", "on a gray background", "on a colorful background",
    "on a table", "on a wooden table", "on a wooden floor", "on a tiled floor", "on a carpet", "on a bed", "on a sofa",
    "on a shelf", "in a box", "in a kitchen", "in a living room", "in a bathroom", "in an office", "in a shop",
    "in a studio", "in front of a brick wall", "in front of a white wall", "in front of a window", "in a hand",
    "on the grass", "in a garden", "in a forest", "on a rock", "in the snow", "on a beach", "in the sand",
    "in the water", "on a street", "on the pavement", "in front of a building", "in the mountains", "in a field",
    "under a blue sky", "at night", "with other people",
)  # fmt: skip
"""Where photographs of things and animals are usually taken; for encoders of models that are not the pocket one."""
NOUNS: tuple[str, ...] = ("thing", "toy", "animal", "person", "bag", "shoe", "plant", "machine")
"""What stands in the subject's place while phrases are embedded: none of these is meant, so their mean is taken."""
LONGEST_PHRASE = 200
"""In characters: a phrase becomes part of a caption, and that of a status."""
MARGIN = 0.0
"""In the pocket world, on glyphs that the reported figures skip, even the second best phrase beat no caption."""


@dataclass(frozen=True)
class Contexts:
    """Phrases that a picture's context is recognised by. Raises ValueError where they cannot be that."""

    phrases: list[str]
    """m phrases as they follow the subject in a sentence."""
    embeddings: Tensor
    """(m, p) float32, unit rows."""
    margin: float = MARGIN
    """Least lead of the best phrase over the next one, as a share of its error."""

    def __post_init__(self) -> None:
        if not isinstance(self.phrases, list) or not self.phrases:
            raise ValueError(f"phrases are {self.phrases!r:.80}; expected a list of one or more")
        odd = [each for each in self.phrases if not _is_phrase(each)]
        if odd:
            raise ValueError(
                f"there is a phrase {odd[0]!r:.80}; expected 1 to {LONGEST_PHRASE} printable characters, such as"
                " 'on a table'"
            )
        shape = tuple(self.embeddings.shape)
        if len(shape) != 2 or shape[0] != len(self.phrases):
            raise ValueError(f"embeddings are of shape {shape}; expected ({len(self.phrases)}, width), a row a phrase")
        if not self.embeddings.isfinite().all():
            raise ValueError("not all embeddings are finite numbers; expected unit rows")
        if not 0.0 <= self.margin < math.inf:
            raise ValueError(f"the margin is {self.margin}; expected a share from 0 on, such as 0.05")

    def shortlist(self, image: Tensor, count: int) -> list[str]:
        """The `count` phrases nearest to an image embedding (p,), nearest first."""
        cosines = self.embeddings @ image.float()
        return [self.phrases[index] for index in cosines.topk(min(count, len(self.phrases))).indices.tolist()]


def _is_phrase(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value.strip()) <= len(value) <= LONGEST_PHRASE


def embedded(
    phrases: list[str], nouns: list[str], embed: Callable[[list[str]], Tensor], margin: float = MARGIN
) -> Contexts:
    """`embed` takes sentences to unit rows (m, p); each phrase gets the direction of its mean over nouns and forms."""
    total = torch.stack(
        [
            embed([f"{form.format(with_article(noun))} {phrase}" for phrase in phrases])
            for noun in nouns
            for form in FORMS
        ]
    ).sum(0)
    return Contexts(phrases, functional.normalize(total, dim=-1), margin)


def text_embedder(text_encoder: Any, tokenizer: Any) -> Callable[[list[str]], Tensor]:
    """Of a CLIP text tower: its projected summary, or, where it has no projection, the summary itself."""

    def embed(sentences: list[str]) -> Tensor:
        ids = tokenizer(
            sentences,
            padding="max_length",
            max_length=text_encoder.config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.no_grad():
            output = text_encoder(ids.to(text_encoder.device))
        summary = output.text_embeds if "text_embeds" in output else output.pooler_output
        return functional.normalize(summary.float().cpu(), dim=-1)

    return embed


def write_contexts(contexts: Contexts, folder: Path) -> None:
    """Into an encoder's folder."""
    path = folder / CONTEXTS
    header = json.dumps({"phrases": contexts.phrases, "margin": contexts.margin})  # one entry: their order varies
    save_file({"embeddings": contexts.embeddings.half().contiguous()}, path, metadata={HEADER: header})
    path.chmod(0o644)  # safetensors writes for the owner alone, but a pod runs as anyone


def read_contexts(folder: Path, device: torch.device) -> Contexts | None:
    """None where the folder has none. Raises ValueError where the file is not what `write_contexts` makes."""
    path = folder / CONTEXTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header, embeddings = json.loads(file.metadata()[HEADER]), file.get_tensor("embeddings")
        unit = functional.normalize(embeddings.to(device, torch.float32), dim=-1)
        return Contexts(header["phrases"], unit, float(header["margin"]))
    except (OSError, SafetensorError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{CONTEXTS} does not load ({error!r:.250})") from None
