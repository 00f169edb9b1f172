"""The facts and parts of one family of models, so that no code outside of this folder names a family."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from likeness_runtime.denoiser.denoiser import Denoiser
from likeness_runtime.denoiser.latents import LatentSpace
from likeness_runtime.denoiser.lora import Factors, Offsets
from likeness_runtime.denoiser.noise_process import NoiseProcess
from likeness_runtime.denoiser.text import TextConditioner


@dataclass(frozen=True)
class PublishedNames:
    """How the formats that other tools read call a model, and the tensors that were learned on it."""

    family: str
    """In `personalization.json`."""
    kohya_base_version: str
    """kohya's `ss_base_model_version`."""
    kohya_v2: bool
    """kohya's `ss_v2`: Stable Diffusion 2.x."""
    modelspec_architecture: str
    """modelspec's name where it has one. A small relative is not called what it cannot replace."""
    modelspec_prediction_type: str
    target_modules: tuple[str, ...]
    """The layers of each attention that the LoRA changes, as PEFT names them."""
    embedding_keys: tuple[str, ...]
    """The names of the learned word's tensors, one for each text encoder; empty where the token names the only one."""
    load_embedding: str
    """Lines of Python that load the learned word into a diffusers pipeline `pipe`; `{embedding}` and `{token}` are
    put in."""
    diffusers_network: str = "unet"
    """What diffusers' keys of a LoRA begin with."""
    kohya_network: str = "lora_unet"
    """What kohya's keys of a LoRA begin with."""

    def embedding_tensors(self, token: str, embeddings: list[Tensor]) -> dict[str, Tensor]:
        """The learned word v* (d,) of each text encoder by its name in the embedding file, (1, d) float32 each."""
        keys = self.embedding_keys or (token,)
        return {key: v_star[None].float() for key, v_star in zip(keys, embeddings, strict=True)}

    def diffusers_key(self, site: str) -> str:
        """The name of a site's tensors in a diffusers file, without `.lora_A.weight` or `.lora_B.weight`."""
        return f"{self.diffusers_network}.{site}"

    def kohya_key(self, site: str) -> str:
        """The name of a site's tensors in a kohya file, without `.lora_down.weight`, `.lora_up.weight` or `.alpha`."""
        return f"{self.kohya_network}_{site.replace('.', '_')}"


@dataclass(frozen=True)
class Architecture:
    """One family of models, by the pipeline that diffusers loads and samples it with."""

    pipeline_class: Any
    """Named by `_class_name` in a model's `model_index.json`."""
    check: Callable[[Any, str], None]
    """Raises `RunError(ModelNotFound)` where a pipeline, loaded from the folder named second, is not as expected."""
    denoiser: Callable[[Any], Denoiser]
    text: Callable[[Any], TextConditioner]
    noise: Callable[[Any, torch.device], NoiseProcess]
    latent_space: Callable[[Any], LatentSpace]
    published_names: Callable[[Denoiser, NoiseProcess], PublishedNames]
    embedding_keys: tuple[str, ...] = ()
    """As in `PublishedNames`."""
    left_out: dict[str, None] = field(default_factory=dict)
    """Components that are not loaded, as arguments of diffusers' loader."""


def read_offsets(tensors: dict[str, Tensor]) -> Offsets:
    """The factors in a diffusers LoRA file, with a subject axis of one, by the site's path in the network."""
    suffix = ".lora_A.weight"
    keys = [key.removesuffix(suffix) for key in tensors if key.endswith(suffix)]
    return {
        key.split(".", 1)[1]: Factors(tensors[f"{key}.lora_A.weight"][None], tensors[f"{key}.lora_B.weight"][None])
        for key in keys
    }


def ordered_embeddings(tensors: dict[str, Tensor], architectures: Iterable[Architecture]) -> list[Tensor]:
    """An embedding file's v* (d,), in the order of the text encoders that they were learned for."""
    for architecture in architectures:
        if set(tensors) == set(architecture.embedding_keys):
            return [tensors[key][0] for key in architecture.embedding_keys]
    return [tensor[0] for tensor in tensors.values()]
