"""The learned word as a textual-inversion file: one tensor for each text encoder, named by the architecture.

Any further tensor would break A1111 and Forge; further facts are in the header.
"""

from __future__ import annotations

from likeness_runtime.export.file import File
from likeness_runtime.export.header import header
from likeness_runtime.export.lora_file import MEDIA_TYPE
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.export.tensors import safetensors_bytes


def embedding_file(subject: TunedSubject) -> File:
    tensors = subject.base.names.embedding_tensors(subject.token, subject.embeddings)
    metadata = header(subject, tensors, "textual-inversion") | {"format": "pt"}
    return File(subject.embedding_file, "textual-inversion", MEDIA_TYPE, safetensors_bytes(tensors, metadata))
