"""The dual path's equations, on small UNets of three shapes: SD 1.x, v-prediction's linear projections, SDXL."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from likeness_runtime.denoiser.architectures.attention import attention_projections, dual_path, projection_paths
from likeness_runtime.denoiser.lora import Factors, Offsets, injected
from likeness_runtime.denoiser.text import Conditioning, paired

TEXT_WIDTH, POOLED_WIDTH, TOKENS = 24, 12, 5
SMALL: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
XL: dict[str, Any] = {
    "use_linear_projection": True,
    "transformer_layers_per_block": (2, 1),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": POOLED_WIDTH + 6 * 4,
}


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def unet(request: pytest.FixtureRequest) -> Any:
    extra = {"sd15": {}, "sd21": {"use_linear_projection": True}, "sdxl": XL}[request.param]
    torch.manual_seed(0)
    network: Any = UNet2DConditionModel(**SMALL, **extra)
    return network.eval().requires_grad_(False)


def some_offsets(unet: Any, subjects: int, seed: int = 1) -> Offsets:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    return {
        path: Factors(draw(subjects, 2, layer.in_features), draw(subjects, layer.out_features, 2))
        for path, layer in attention_projections(unet).items()
    }


def some_text(rows: int, seed: int) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        torch.randn(rows, TOKENS, TEXT_WIDTH, generator=generator), torch.randn(rows, POOLED_WIDTH, generator=generator)
    )


def some_latents(rows: int) -> Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(7))


def ask(unet: Any, z_t: Tensor, text: Conditioning, **more: Any) -> Tensor:
    added = {"text_embeds": text.pooled, "time_ids": torch.ones(len(z_t), 6)}
    answer: Tensor = unet(z_t, 500, text.states, added_cond_kwargs=added, return_dict=False, **more)[0]
    return answer


def test_alpha_zero_equals_the_vanilla_model_with_the_hard_prompt(unet: Any) -> None:
    z_t, soft, hard = some_latents(2), some_text(2, 2), some_text(2, 3)
    vanilla = ask(unet, z_t, hard)
    with dual_path(unet, some_offsets(unet, 2), alpha=0.0):
        torch.testing.assert_close(ask(unet, z_t, paired(soft, hard, 0.0)), vanilla)


def test_alpha_one_equals_the_adapted_model_with_the_soft_prompt(unet: Any) -> None:
    z_t, soft, hard, offsets = some_latents(2), some_text(2, 2), some_text(2, 3), some_offsets(unet, 2)
    with injected(attention_projections(unet), offsets):
        adapted = ask(unet, z_t, soft)
    with dual_path(unet, offsets, alpha=1.0):
        torch.testing.assert_close(ask(unet, z_t, paired(soft, hard, 1.0)), adapted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_the_unconditional_half_of_a_guided_batch_takes_the_untouched_path(unet: Any, alpha: float) -> None:
    z_t, offsets = some_latents(2), some_offsets(unet, 1)
    text = paired(some_text(2, 2), some_text(2, 3), alpha)
    with dual_path(unet, offsets, alpha):
        cond = ask(unet, z_t, text)[1]
        uncond = ask(unet, z_t, text, cross_attention_kwargs={"alpha": 0.0})[0]
    with dual_path(unet, offsets, alpha, lambda: True):
        torch.testing.assert_close(ask(unet, z_t, text), torch.stack([uncond, cond]), rtol=1e-4, atol=1e-5)


def test_a_blend_is_neither_of_its_ends(unet: Any) -> None:
    z_t, soft, hard, offsets = some_latents(1), some_text(1, 2), some_text(1, 3), some_offsets(unet, 1)
    with dual_path(unet, offsets, alpha=0.5):
        answers = [ask(unet, z_t, paired(soft, hard, a), cross_attention_kwargs={"alpha": a}) for a in (0.0, 0.5, 1.0)]
    for end in (answers[0], answers[2]):
        assert (answers[1] - end).abs().max() > 1e-3


def test_each_layer_blends_its_two_outputs_linearly(unet: Any) -> None:
    offsets = some_offsets(unet, 1)
    path = next(path for path in offsets if ".attn2.to_q" in path).removesuffix(".to_q")
    layer = unet.get_submodule(path)
    x = torch.randn(1, 6, layer.to_q.in_features, generator=torch.Generator().manual_seed(4))
    texts = torch.cat([some_text(1, 2).states, some_text(1, 3).states], dim=1)
    with dual_path(unet, offsets, alpha=1.0):
        answers = {a: layer(x, encoder_hidden_states=texts, alpha=a) for a in (0.0, 0.3, 1.0)}
    torch.testing.assert_close(answers[0.3], 0.3 * answers[1.0] + 0.7 * answers[0.0], rtol=1e-4, atol=1e-5)


def test_without_offsets_and_with_equal_prompts_every_alpha_is_the_vanilla_model(unet: Any) -> None:
    z_t, text = some_latents(2), some_text(2, 2)
    with dual_path(unet, {}, alpha=0.4):
        blended = ask(unet, z_t, paired(text, text, 0.4))
    torch.testing.assert_close(blended, ask(unet, z_t, text), rtol=1e-4, atol=1e-5)


def test_subjects_together_equal_each_alone(unet: Any) -> None:
    z_t, soft, hard, offsets = some_latents(4), some_text(4, 2), some_text(4, 3), some_offsets(unet, 2)
    with dual_path(unet, offsets, alpha=0.6):
        together = ask(unet, z_t, paired(soft, hard, 0.6))
    for subject in (0, 1):
        rows = slice(2 * subject, 2 * subject + 2)
        own = {path: Factors(each.A[subject, None], each.B[subject, None]) for path, each in offsets.items()}
        text = paired(_rows(soft, rows), _rows(hard, rows), 0.6)
        with dual_path(unet, own, alpha=0.6):
            torch.testing.assert_close(ask(unet, z_t[rows], text), together[rows], rtol=1e-4, atol=1e-5)


def test_afterwards_the_network_is_what_it_was(unet: Any) -> None:
    z_t, text = some_latents(1), some_text(1, 2)
    before, processors = ask(unet, z_t, text), unet.attn_processors
    with dual_path(unet, some_offsets(unet, 1), alpha=0.5):
        pass
    assert torch.equal(ask(unet, z_t, text), before)
    assert unet.attn_processors == processors


def test_nothing_is_recorded_for_the_hard_prompt(unet: Any) -> None:
    """The personalized text and the offsets take gradients; keys and values of the hard text do not."""
    soft, hard = some_text(1, 2), some_text(1, 3)
    states = soft.states.clone().requires_grad_()
    hard_states = hard.states.clone().requires_grad_()
    text = paired(Conditioning(states, soft.pooled), Conditioning(hard_states, hard.pooled), 0.5)
    with dual_path(unet, some_offsets(unet, 1), alpha=0.5):
        ask(unet, some_latents(1), text).square().mean().backward()
    assert states.grad is not None
    assert states.grad.abs().max() > 0
    assert hard_states.grad is not None  # zeros: it went in beside the soft states, and nothing came back
    assert hard_states.grad.abs().max() == 0


def test_the_weights_are_not_copied(unet: Any) -> None:
    before = {parameter.data_ptr() for parameter in unet.parameters()}
    with dual_path(unet, some_offsets(unet, 1), alpha=0.5):
        assert {parameter.data_ptr() for parameter in unet.parameters()} == before


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_that_is_no_share_is_refused(unet: Any, alpha: float) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 to 1"), dual_path(unet, {}, alpha):
        pass


def test_text_without_its_hard_half_is_refused(unet: Any) -> None:
    with pytest.raises(ValueError, match="expected an even number"), dual_path(unet, {}, 0.5):
        ask(unet, some_latents(1), some_text(1, 2))


def test_unknown_attention_is_refused() -> None:
    with_norms = {**SMALL, "down_block_types": ("AttnDownBlock2D", "DownBlock2D")}
    other = UNet2DConditionModel(**with_norms)
    with pytest.raises(ValueError, match="expected a transformer block's attention"), dual_path(other, {}, 0.5):
        pass


def test_the_names_alone_are_those_of_the_layers(unet: Any) -> None:
    assert projection_paths(unet) == set(attention_projections(unet))


def _rows(text: Conditioning, rows: slice) -> Conditioning:
    return Conditioning(text.states[rows], None if text.pooled is None else text.pooled[rows])
