import pytest

from likeness_runtime.pretrain.plan import TrainingPlan, TrainingProgress, learning_rate, share_done


@pytest.mark.parametrize("length", [{}, {"steps": 10, "minutes": 1.0}])
def test_a_plan_has_one_length(length: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected exactly one of them"):
        TrainingPlan(batch=1, learning_rate=1.0, **length)


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    plan = TrainingPlan(steps=1000, batch=1, warmup_steps=100, learning_rate=1.0)
    rates = [learning_rate(plan, TrainingProgress(step=step)) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(rates[99], abs=0.01)
    assert rates[1000] == pytest.approx(0.0)


def test_a_plan_in_minutes_falls_with_its_running_time() -> None:
    plan = TrainingPlan(minutes=1.0, batch=4, learning_rate=0.05, warmup_steps=5)
    first, top, end = (
        learning_rate(plan, TrainingProgress(step=step, seconds=seconds)) for step, seconds in ((0, 0), (5, 0), (5, 60))
    )
    assert first < top == plan.learning_rate
    assert end == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("length", [{"steps": 0}, {"minutes": 0.0}])
def test_a_plan_without_any_training_is_done_from_the_beginning(length: dict[str, int]) -> None:
    plan = TrainingPlan(batch=1, learning_rate=1.0, **length)
    assert share_done(plan, TrainingProgress()) == 1.0
    assert learning_rate(plan, TrainingProgress()) == pytest.approx(0.0)


def test_a_resumed_training_may_have_another_number_of_processes() -> None:
    plans = [TrainingPlan(steps=10, batch=8 * processes, learning_rate=1.0) for processes in (1, 4)]
    assert plans[0].settled() == plans[1].settled()
