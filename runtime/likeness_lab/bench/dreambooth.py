"""The baseline DreamBooth-LoRA, as users of diffusers and PEFT run it on one picture.

Follows diffusers' examples/dreambooth/train_dreambooth_lora.py: a rare word before a class word, LoRA of rank 4 drawn
from a Gaussian on the UNet's attention projections, AdamW with weight decay 0.01, batch 1, the text tower frozen, no
prior preservation, gradients clipped at a norm of 1. The script's rate is 1e-4 for models of a billion parameters; the
rate is an argument here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from likeness_api.personalization import SUBJECT_PLACE
from likeness_lab.bench.arm import HALF_BYTES, Stage
from likeness_lab.bench.clock import now
from likeness_lab.bench.draw import Learned, wordless
from likeness_lab.bench.subject import Case
from likeness_runtime.denoiser.lora import Factors, Offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.method.forms import with_article

ADAPTER = "dreambooth"
RARE_WORD = "sks"
DREAMBOOTH_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class DreamBooth:
    """An arm's run."""

    learning_rate: float = 1e-4
    rank: int = 4
    batch: int = 1
    seed: int = 0

    def __call__(self, model: DiffusionModel, case: Case, steps: int) -> Stage:
        named = f"{RARE_WORD} {case.subject.class_word}"
        started = now(model.device)
        offsets = self._trained(model, case, case.caption.replace(SUBJECT_PLACE, named), steps)
        seconds = now(model.device) - started
        size = HALF_BYTES * sum(each.A.numel() + each.B.numel() for each in offsets.values())
        learned = Learned(wordless(model, offsets), with_article(named))
        return Stage(steps, steps * self.batch, seconds, size, word=None, cosine=None, learned=learned)

    def _trained(self, model: DiffusionModel, case: Case, sentence: str, steps: int) -> Offsets:
        generator = torch.Generator().manual_seed(self.seed)
        latents = model.latent_space.encode([case.subject.picture]).repeat(self.batch, 1, 1, 1)
        text = model.text.encode_plain([sentence] * self.batch)
        with Adapter(model, self.rank, self.seed) as adapter:
            optimizer = torch.optim.AdamW(adapter.parameters, lr=self.learning_rate, weight_decay=0.01)
            for _ in range(steps):
                draw = torch.randn(latents.shape, generator=generator).to(model.device)
                times = model.noise.draw_independent_times(self.batch, generator).to(model.device)
                loss = model.denoising_losses(latents, draw, times, text).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(adapter.parameters, DREAMBOOTH_GRADIENT_NORM)
                optimizer.step()
            return adapter.offsets()


class Adapter:
    """PEFT's LoRA on the denoiser, taken off again at the end."""

    def __init__(self, model: DiffusionModel, rank: int, seed: int) -> None:
        self.network: Any = model.denoiser.network
        self.targets = list(model.names.target_modules)
        self.rank, self.seed = rank, seed

    def __enter__(self) -> Adapter:
        from peft import LoraConfig

        config = LoraConfig(
            r=self.rank, lora_alpha=self.rank, init_lora_weights="gaussian", target_modules=self.targets
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network.add_adapter(config, adapter_name=ADAPTER)
        self.named = {name: each for name, each in self.network.named_parameters() if "lora_" in name}
        return self

    def __exit__(self, *_error: object) -> None:
        self.network.delete_adapters(ADAPTER)
        self.network.unload_lora()

    @property
    def parameters(self) -> list[Any]:
        return list(self.named.values())

    def offsets(self) -> Offsets:
        """As ours, by the projection's path; PEFT's scale is one, as alpha is the rank."""
        found: Offsets = {}
        for name, tensor in self.named.items():
            path, half = name.split(".lora_")
            if half.startswith("A"):
                other = self.named[f"{path}.lora_B{half.removeprefix('A')}"]
                found[path] = Factors(tensor.detach().clone()[None], other.detach().clone()[None])
        return found
