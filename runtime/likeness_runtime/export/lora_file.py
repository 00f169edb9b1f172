"""The LoRA as diffusers/PEFT and as kohya's descendants (ComfyUI, A1111, Forge) read it: the same numbers twice.

alpha = rank in both, because the scale is folded into B; so weight 1 means the same everywhere.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from likeness_runtime.denoiser.architectures.architecture import PublishedNames
from likeness_runtime.denoiser.lora import Offsets
from likeness_runtime.export.file import File
from likeness_runtime.export.header import header
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.export.tensors import safetensors_bytes

MEDIA_TYPE = "application/octet-stream"


def diffusers_file(subject: TunedSubject) -> File:
    names = subject.base.names
    tensors = diffusers_tensors(names, subject.offsets)
    config = {
        names.diffusers_key("r"): subject.tuning.rank,
        names.diffusers_key("lora_alpha"): subject.tuning.rank,
        names.diffusers_key("target_modules"): list(names.target_modules),
        names.diffusers_key("rank_pattern"): {},
        names.diffusers_key("alpha_pattern"): {},
    }
    metadata = header(subject, tensors, "lora") | {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(config, sort_keys=True),
    }
    return File(subject.lora_file, "lora-diffusers", MEDIA_TYPE, safetensors_bytes(tensors, metadata))


def kohya_file(subject: TunedSubject) -> File:
    """Without `lora_adapter_metadata`, which would make diffusers read it as its own."""
    tensors = kohya_tensors(subject.base.names, subject.offsets)
    metadata = header(subject, tensors, "lora") | {"format": "pt"}
    return File(subject.kohya_file, "lora-kohya", MEDIA_TYPE, safetensors_bytes(tensors, metadata))


def diffusers_tensors(names: PublishedNames, offsets: Offsets) -> dict[str, Tensor]:
    tensors = {}
    for site, factors in offsets.items():
        key = names.diffusers_key(site)
        tensors[f"{key}.lora_A.weight"] = factors.A[0]  # (r, i)
        tensors[f"{key}.lora_B.weight"] = factors.B[0]  # (o, r)
    return tensors


def kohya_tensors(names: PublishedNames, offsets: Offsets) -> dict[str, Tensor]:
    tensors = {}
    for site, factors in offsets.items():
        key = names.kohya_key(site)
        tensors[f"{key}.lora_down.weight"] = factors.A[0]
        tensors[f"{key}.lora_up.weight"] = factors.B[0]
        tensors[f"{key}.alpha"] = torch.tensor(float(factors.A.shape[1]))
    return tensors
