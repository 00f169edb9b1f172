"""The baseline DreamBooth-LoRA, as users of diffusers and PEFT run it on one picture.

Follows diffusers' examples/dreambooth/train_dreambooth_lora.py: a rare word before a class word, LoRA of rank 4 drawn
from a Gaussian on the UNet's attention projections, AdamW with weight decay 0.01, batch 1, the text tower frozen, no
prior preservation. The script's rate is 1e-4 for models of a billion parameters; the rate is an argument here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from likeness_runtime.bench.arm import HALF_BYTES, Stage
from likeness_runtime.bench.clock import now
from likeness_runtime.bench.draw import Sampling, noise, sampled
from likeness_runtime.bench.subject import BenchSubject
from likeness_runtime.from_encoder import empty_prompt
from likeness_runtime.lora import PROJECTIONS
from likeness_runtime.losses import diffusion_loss, noised
from likeness_runtime.model import DiffusionModel
from likeness_runtime.text import Conditioning, encode, read
from likeness_runtime.tune import denoise, latents_of

ADAPTER = "dreambooth"
RARE_WORD = "sks"


@dataclass(frozen=True)
class DreamBooth:
    """An arm's run."""

    learning_rate: float = 1e-4
    rank: int = 4
    batch: int = 1
    seed: int = 0

    def __call__(self, model: DiffusionModel, subject: BenchSubject, steps: int) -> Stage:
        called = f"a {RARE_WORD} {subject.class_word}"
        started = now(model.device)
        tensors = self._trained(model, subject, called, steps)
        seconds = now(model.device) - started

        def draw(prompts: Sequence[str], sampling: Sampling) -> Tensor:
            every = list(prompts) * len(sampling.seeds)
            with _Adapter(model.unet, self.rank, self.seed) as adapter:
                adapter.load(tensors)
                start = noise(model, len(prompts), sampling)
                return sampled(model, plain_text(model, every), empty_prompt(model), start, sampling)

        size = HALF_BYTES * sum(tensor.numel() for tensor in tensors.values())
        return Stage(steps, seconds, size, word=None, cosine=None, draw=draw, called=called)

    def _trained(self, model: DiffusionModel, subject: BenchSubject, called: str, steps: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        latents = latents_of(model, [subject.picture]).repeat(self.batch, 1, 1, 1)
        text = plain_text(model, [f"a picture of {called}"] * self.batch)
        with _Adapter(model.unet, self.rank, self.seed) as adapter:
            optimizer = torch.optim.AdamW(adapter.parameters, lr=self.learning_rate, weight_decay=0.01)
            for _ in range(steps):
                draw = torch.randn(latents.shape, generator=generator).to(model.device)
                timesteps = torch.randint(len(model.alphas_cumprod), (self.batch,), generator=generator)
                timesteps = timesteps.to(model.device)
                alpha_bar = model.alphas_cumprod[timesteps]
                z_t = noised(latents, draw, alpha_bar)
                predicted = denoise(model, z_t, timesteps, text.states, text.pooled)
                loss = diffusion_loss(predicted, latents, draw, alpha_bar, model.prediction_type).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            return adapter.tensors()


@torch.no_grad()
def plain_text(model: DiffusionModel, prompts: list[str]) -> Conditioning:
    """Prompts of ordinary words."""
    rows = [table[:1].float() for table in model.token_tables]
    return encode(model, read(model, prompts, "<nothing>"), rows)


class _Adapter:
    """PEFT's LoRA on the UNet, taken off again at the end."""

    def __init__(self, unet: Any, rank: int, seed: int) -> None:
        self.unet, self.rank, self.seed = unet, rank, seed

    def __enter__(self) -> _Adapter:
        from peft import LoraConfig

        config = LoraConfig(
            r=self.rank, lora_alpha=self.rank, init_lora_weights="gaussian", target_modules=list(PROJECTIONS)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.unet.add_adapter(config, adapter_name=ADAPTER)
        self._named = {name: each for name, each in self.unet.named_parameters() if "lora_" in name}
        return self

    def __exit__(self, *_error: object) -> None:
        self.unet.delete_adapters(ADAPTER)
        self.unet.unload_lora()

    @property
    def parameters(self) -> list[Any]:
        return list(self._named.values())

    def tensors(self) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in self._named.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, each in self._named.items():
            each.data.copy_(tensors[name])
