import pytest

from likeness_runtime.method.memory import draws_that_fit


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
