"""The learned word as a textual-inversion file: one tensor named by the token, or SDXL's pair `clip_l`, `clip_g`.

Any further tensor would break A1111 and Forge; further facts are in the header.
"""

from __future__ import annotations

from torch import Tensor

from likeness_runtime.export.file import File
from likeness_runtime.export.header import header
from likeness_runtime.export.lora_file import MEDIA_TYPE
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.export.tensors import safetensors_bytes

SDXL_KEYS = ("clip_l", "clip_g")


def embedding_file(subject: TunedSubject) -> File:
    tensors = embedding_tensors(subject.token, subject.embeddings)
    metadata = header(subject, tensors, "textual-inversion") | {"format": "pt"}
    return File(subject.embedding_file, "textual-inversion", MEDIA_TYPE, safetensors_bytes(tensors, metadata))


def embedding_tensors(token: str, embeddings: list[Tensor]) -> dict[str, Tensor]:
    """Each (1, d)."""
    keys = SDXL_KEYS if len(embeddings) > 1 else (token,)
    return {key: v_star[None].float() for key, v_star in zip(keys, embeddings, strict=True)}
