"""The attention layers of a Stable Diffusion UNet: where offsets are learned, and how the two paths are blended there.

Equation (Arar et al., arXiv:2307.06925, "dual-path adaptation"), for layer l and its input x:

    out = alpha Attn_l(x; W + B A, soft text) + (1 - alpha) Attn_l(x; W, hard text)

The soft text holds v* where the subject is named, the hard text the nearest word of the vocabulary. A self-attention
layer has no text; its blend is what both copies of the following cross-attention read. Linear maps that both paths
share are computed once: W x for the queries, and W_o of the blended heads. There is one copy of the weights. The
untouched path's keys and values of the hard text depend on nothing that learns, so autograd records nothing there.

Letters: rows of a batch (s b), n tokens of x, m tokens of one text, h heads, d head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from likeness_api.reason import Reason
from likeness_runtime.denoiser.denoiser import unguided
from likeness_runtime.denoiser.lora import Factors, Offsets, Sites, low_rank
from likeness_runtime.failure import RunError

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def projection_paths(unet: Any) -> set[str]:
    """The paths that `attention_projections` has, by name alone, so that a stock pipeline's adapters do not matter."""
    layers = {name.removesuffix(".processor") for name in unet.attn_processors}
    return {f"{layer}.{name}" for layer in layers for name in PROJECTIONS}


def attention_projections(network: nn.Module) -> Sites:
    """Every attention's q, k, v and output projection, in the network's own order.

    Raises `RunError(ModelNotFound)` where the network has none that diffusers' UNets have.
    """
    found: Sites = {}
    for path, module in network.named_modules():
        if isinstance(module, Attention):
            for name in PROJECTIONS:
                layer = module.get_submodule(name)
                assert isinstance(layer, nn.Linear)
                found[f"{path}.{name}"] = layer
    if not found:
        raise RunError(
            Reason.MODEL_NOT_FOUND,
            f"the network, a {type(network).__name__}, has no layer that could be tuned; expected diffusers'"
            f" UNet2DConditionModel, whose {Attention.__name__} layers have {', '.join(PROJECTIONS)}",
        )
    return found


@contextmanager
def dual_path(unet: Any, offsets: Offsets, alpha: float, guided: Callable[[], bool] = unguided) -> Iterator[None]:
    """Within, the UNet takes text made by `paired`; afterwards it is what it was. `guided` as for `install`."""
    before = unet.attn_processors
    install(unet, offsets, alpha, guided)
    try:
        yield
    finally:
        unet.set_attn_processor(before)


def install(unet: Any, offsets: Offsets, alpha: float, guided: Callable[[], bool] = unguided) -> None:
    """Gives every attention layer its processor. Raises ValueError where alpha is no share or a layer is unknown.

    While `guided()` is true, a batch's first half is classifier-free guidance's unconditional one, as diffusers orders
    it, and takes the untouched path alone: guidance then leads from the model that does not know the subject to the one
    that does, instead of amplifying the words alone [ours].
    """
    _check_alpha(alpha)
    processors: dict[str, DualPathProcessor] = {}
    for name in unet.attn_processors:
        path = name.removesuffix(".processor")
        _check_layer(path, unet.get_submodule(path))
        factors = {each: offsets[f"{path}.{each}"] for each in PROJECTIONS if f"{path}.{each}" in offsets}
        processors[name] = DualPathProcessor(factors, alpha, guided)
    unet.set_attn_processor(processors)


class DualPathProcessor:
    """A diffusers attention processor. `alpha` can be given for one call: `cross_attention_kwargs={"alpha": 0.5}`."""

    def __init__(self, factors: dict[str, Factors], alpha: float, guided: Callable[[], bool] = unguided) -> None:
        self.factors = factors
        self.alpha = alpha
        self.guided = guided

    def __call__(  # noqa: PLR0917 - diffusers' own signature
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,  # noqa: ARG002 - diffusers hands it to every processor
        alpha: float | None = None,
    ) -> Tensor:
        """x (rows, n, .) and, for cross-attention, both texts (rows, 2 m, .), to (rows, n, .)."""
        if attention_mask is not None:
            raise ValueError("attention_mask came; dual-path attention expects text states of full length without one")
        share = self.alpha if alpha is None else alpha
        _check_alpha(share)
        x, texts = hidden_states, encoder_hidden_states
        if not self.guided():
            return self._blended(attn, x, texts, share)
        uncond, cond = x.chunk(2)
        uncond_texts, cond_texts = (None, None) if texts is None else texts.chunk(2)
        return torch.cat([self._blended(attn, uncond, uncond_texts, 0.0), self._blended(attn, cond, cond_texts, share)])

    def _blended(self, attn: Attention, x: Tensor, texts: Tensor | None, share: float) -> Tensor:
        soft, hard = (x, x) if texts is None else _halves(texts)
        q = attn.to_q(x)
        if share == 0.0:
            out: Tensor = attn.to_out[0](_attention(q, attn.to_k(hard), attn.to_v(hard), attn.heads))
            return out
        personal = self._personal_heads(attn, x, soft, q)
        blended = personal
        if share < 1.0:
            blended = torch.lerp(_attention(q, attn.to_k(hard), attn.to_v(hard), attn.heads), personal, share)
        out = attn.to_out[0](blended)
        if "to_out.0" in self.factors:
            out = out + share * low_rank(personal, self.factors["to_out.0"])
        return out

    def _personal_heads(self, attn: Attention, x: Tensor, text: Tensor, q: Tensor) -> Tensor:
        """The heads' outputs (rows, n, h d) with the offsets of W_q, W_k and W_v added; q = W_q x comes computed."""
        q = self._adapted("to_q", q, x)
        k = self._adapted("to_k", attn.to_k(text), text)
        v = self._adapted("to_v", attn.to_v(text), text)
        return _attention(q, k, v, attn.heads)

    def _adapted(self, name: str, output: Tensor, x: Tensor) -> Tensor:
        factors = self.factors.get(name)
        return output if factors is None else output + low_rank(x, factors)


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (rearrange(each, "rows n (h d) -> rows h n d", h=heads) for each in (q, k, v))
    return rearrange(functional.scaled_dot_product_attention(q, k, v), "rows h n d -> rows n (h d)")


def _halves(texts: Tensor) -> tuple[Tensor, Tensor]:
    """Soft and hard states. The hard prompt holds nothing that learns, although it came in one tensor with v*."""
    if texts.shape[1] % 2:
        raise ValueError(f"text states have {texts.shape[1]} tokens; expected an even number, soft and hard prompt")
    soft, hard = texts.chunk(2, dim=1)
    return soft, hard.detach()


def _check_alpha(alpha: float) -> None:
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}; expected a number from 0 to 1")


def _check_layer(path: str, layer: nn.Module) -> None:
    """Only the plain attention of transformer blocks is known, the one in every Stable Diffusion UNet."""
    assert isinstance(layer, Attention)
    odd = [
        name
        for name in ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "add_k_proj")
        if getattr(layer, name, None) not in (None, False)
    ]
    if odd or layer.residual_connection or layer.rescale_output_factor != 1.0:
        raise ValueError(f"{path} has {', '.join(odd) or 'its own residual'}; expected a transformer block's attention")
