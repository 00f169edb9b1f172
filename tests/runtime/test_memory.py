import gc
from collections.abc import Callable

import pytest
import torch

from likeness_runtime.memory import draws_that_fit, saved_bytes
from likeness_runtime.model import DiffusionModel
from likeness_runtime.text import encode_plain
from likeness_runtime.tiny import Kind
from likeness_runtime.tune import denoise


@pytest.mark.parametrize(
    ("kept", "budget", "draws", "fit"),
    [
        pytest.param(100, 1000, 4, 4, id="all"),
        pytest.param(100, 399, 16, 3, id="some"),
        pytest.param(100, 50, 16, 1, id="not even one: it is tried"),
        pytest.param(0, 50, 16, 16, id="nothing is kept"),
    ],
)
def test_as_many_draws_go_through_the_model_as_fit(kept: int, budget: int, draws: int, fit: int) -> None:
    assert draws_that_fit(kept, budget, draws) == fit


def test_counting_what_is_kept_keeps_nothing(tiny_model: Callable[[Kind], DiffusionModel]) -> None:
    """A worker tunes thousands of subjects in one process."""

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    model = tiny_model("sd15")
    text = encode_plain(model, ["a cat"])
    model.unet.requires_grad_(True)

    def forward() -> torch.Tensor:
        z_t = torch.randn(1, 4, 8, 8)
        return denoise(model, z_t, torch.tensor([500]), text.states, None)

    try:
        forward()
        before = tensors()
        assert saved_bytes(model, forward) > 0
        assert tensors() == before
    finally:
        model.unet.requires_grad_(False)
