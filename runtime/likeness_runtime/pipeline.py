"""The dual path in a stock diffusers pipeline, from what a run published:

    likeness = load_likeness("folder/personalization.json")
    picture = likeness.apply(pipeline)("a photo of a <cat> on the moon").images[0]

`apply` returns the same pipeline. Its text now comes twice, with the learned word and with the nearest word of the
vocabulary, and its attention layers blend the two paths. Guidance leads away from the untouched model, which does not
know the subject, so that its scale is the strength of the likeness, too. Everything else is as before. alpha can be
given for one call: `pipeline(prompt, cross_attention_kwargs={"alpha": 0.5})`; SDXL's pooled text, which is outside of
the attention layers, then keeps the blend that was applied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from likeness_runtime.denoiser.architectures.architecture import ordered_embeddings, read_offsets
from likeness_runtime.denoiser.architectures.attention import install, projection_paths
from likeness_runtime.denoiser.architectures.sd import unet_denoiser
from likeness_runtime.denoiser.lora import Factors, Offsets
from likeness_runtime.denoiser.model import ARCHITECTURES
from likeness_runtime.denoiser.text import paired_embeds

FACTS_FORMAT_VERSION = 1
"""Of personalization.json."""


@dataclass(frozen=True)
class Likeness:
    """One learned subject."""

    token: str
    nearest_word: str
    alpha: float
    embeddings: list[Tensor]
    """v* (d,) of each text encoder."""
    offsets: Offsets

    def apply(self, pipeline: Any, alpha: float | None = None) -> Any:
        """Teaches `pipeline` the subject; `alpha` replaces the published blend. `remove` undoes it.

        Raises ValueError where the pipeline has other text encoders or attention layers than the subject's.
        """
        _check_fits(pipeline, self)
        share = self.alpha if alpha is None else alpha
        for tokenizer, encoder, v_star in zip(_tokenizers(pipeline), _encoders(pipeline), self.embeddings, strict=True):
            pipeline.load_textual_inversion(v_star[None], self.token, text_encoder=encoder, tokenizer=tokenizer)
        unet = unet_denoiser(pipeline).network
        offsets = {
            path: Factors(each.A.to(unet.device, unet.dtype), each.B.to(unet.device, unet.dtype))
            for path, each in self.offsets.items()
        }
        processors = unet.attn_processors
        install(unet, offsets, share, lambda: bool(pipeline.do_classifier_free_guidance))
        pipeline.encode_prompt = _TwiceEncoded(pipeline.encode_prompt, self, share, processors)
        return pipeline

    def remove(self, pipeline: Any) -> None:
        """The pipeline is what it was before `apply`."""
        for tokenizer, encoder in zip(_tokenizers(pipeline), _encoders(pipeline), strict=True):
            pipeline.unload_textual_inversion(self.token, tokenizer=tokenizer, text_encoder=encoder)
        unet_denoiser(pipeline).network.set_attn_processor(pipeline.encode_prompt.processors)
        del pipeline.encode_prompt


def load_likeness(path: str | Path) -> Likeness:
    """Reads `personalization.json` and the two files that it names, which lie beside it.

    Raises ValueError where it is of another format, OSError where a file is missing.
    """
    path = Path(path)
    facts = json.loads(path.read_bytes())
    if not isinstance(facts, dict) or facts.get("formatVersion") != FACTS_FORMAT_VERSION:
        raise ValueError(f"{path}: expected a personalization.json of formatVersion {FACTS_FORMAT_VERSION}")
    return Likeness(
        token=facts["token"],
        nearest_word=facts["nearestWord"],
        alpha=float(facts["alpha"]),
        embeddings=ordered_embeddings(load_file(path.parent / facts["embedding"]), ARCHITECTURES.values()),
        offsets=read_offsets(load_file(path.parent / facts["lora"])),
    )


class _TwiceEncoded:
    """`encode_prompt` with the soft and the hard prompt's states side by side along the tokens, for every row."""

    def __init__(self, original: Any, likeness: Likeness, alpha: float, processors: dict[str, Any]) -> None:
        self.original, self.likeness, self.alpha = original, likeness, alpha
        self.processors = processors
        """The attention layers' own, for `Likeness.remove`."""

    def __call__(self, *positional: Any, **named: Any) -> tuple[Tensor | None, ...]:
        given = [name for name, value in named.items() if "embeds" in name and value is not None]
        if given:
            raise ValueError(f"{given[0]} came; the dual path expects the prompt as text, to put the hard word in")
        soft = self.original(*positional, **named)
        hard = self.original(
            *(self._hardened(each) for each in positional),
            **{name: self._hardened(each) for name, each in named.items()},
        )
        return tuple(paired_embeds(*pair, self.alpha) for pair in zip(soft, hard, strict=True))

    def _hardened(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(self.likeness.token, self.likeness.nearest_word)
        return [self._hardened(each) for each in value] if isinstance(value, list) else value


def _tokenizers(pipeline: Any) -> list[Any]:
    return [each for each in (pipeline.tokenizer, getattr(pipeline, "tokenizer_2", None)) if each is not None]


def _encoders(pipeline: Any) -> list[Any]:
    return [each for each in (pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)) if each is not None]


def _check_fits(pipeline: Any, likeness: Likeness) -> None:
    if isinstance(getattr(pipeline, "encode_prompt", None), _TwiceEncoded):
        raise ValueError("the pipeline has a subject already; remove that one first")
    widths = [encoder.get_input_embeddings().weight.shape[1] for encoder in _encoders(pipeline)]
    came = [len(v_star) for v_star in likeness.embeddings]
    if came != widths:
        raise ValueError(
            f"{likeness.token} has embeddings of widths {came}; the pipeline's text encoders have {widths}"
        )
    unknown = sorted(set(likeness.offsets) - projection_paths(unet_denoiser(pipeline).network))
    if unknown:
        raise ValueError(f"{likeness.token} has offsets for {unknown[0]}, which the pipeline's UNet does not have")
