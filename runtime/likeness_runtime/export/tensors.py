"""How tensors become bytes that are equal whenever the tensors are."""

from __future__ import annotations

import json

import torch
from torch import Tensor

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16"}


def tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    """The tensors' own bytes, one after the other, by name: what `sshs_model_hash` and modelspec hash."""
    return b"".join(_bytes(tensors[name]) for name in sorted(tensors))


def safetensors_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file. The library's own writer puts the header's metadata in a different order each time.

    Format: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensor_bytes(tensors)


def _bytes(tensor: Tensor) -> bytes:
    data: bytes = tensor.detach().cpu().contiguous().numpy().tobytes()
    return data
