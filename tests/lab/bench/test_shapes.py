"""Published configurations, counted on the meta device: nothing is computed."""

from __future__ import annotations

import pytest

from likeness_lab.bench.published import UNETS
from likeness_lab.bench.shapes import account

PUBLISHED_UNET_PARAMETERS = {"SD 1.5": 859_520_964, "SD 2.1": 865_910_724, "SDXL": 2_567_463_684}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNETS)
def test_the_configurations_are_the_published_ones(name: str) -> None:
    found = account(name)
    assert found.unet_parameters == PUBLISHED_UNET_PARAMETERS[name]
    single, dual = sorted(found.fits, key=lambda fit: fit.alpha, reverse=True)
    assert single.saved_bytes_of_one_row < dual.saved_bytes_of_one_row < 2 * single.saved_bytes_of_one_row
    assert all(dual.rows_on[gpu] <= single.rows_on[gpu] for gpu in dual.rows_on)


@pytest.mark.slow
def test_sd15_has_128_projections_and_the_lora_that_the_design_says() -> None:
    found = account("SD 1.5")
    assert (found.attention_projections, found.lora_numbers) == (128, 797_184)
