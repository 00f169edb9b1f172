from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from likeness_lab.pocket.training import Plan, Run, learning_rate, open_run, read_average, save, train

PLAN = Plan(minutes=1.0, batch=4, learning_rate=0.05, warmup_steps=5, checkpoint_seconds=1e9, log_seconds=20.0)


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that moves on by `seconds` each time it is read."""
    times = iter(range(10_000))
    return lambda: next(times) * seconds


def fitting(run: Run[nn.Module]) -> Callable[[int, int], Tensor]:
    def loss_of(draw: int, count: int) -> Tensor:
        inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(draw))
        loss: Tensor = (run.network(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        return loss

    return loss_of


def finished(folder: Path, plan: Plan = PLAN) -> Run[nn.Module]:
    run = open_run("line", a_network(), plan, folder)
    train(run, fitting(run), clock=ticking(0.5))
    return run


def test_training_ends_when_the_planned_time_has_passed(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert run.progress.seconds == pytest.approx(60, abs=1)
    assert run.progress.pictures == run.progress.step * PLAN.batch


def test_training_fits_what_can_be_fitted(tmp_path: Path) -> None:
    weight = finished(tmp_path).network.get_parameter("weight")
    assert torch.allclose(weight, torch.ones(1, 3), atol=0.1)


def test_a_run_that_was_cut_off_ends_where_an_uncut_one_does(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    cut = open_run("line", a_network(), PLAN, tmp_path / "cut")
    loss_of = fitting(cut)

    class KilledError(Exception):
        pass

    def dying(draw: int, count: int) -> Tensor:
        if draw == 50:
            raise KilledError
        return loss_of(draw, count)

    with pytest.raises(KilledError):
        train(cut, dying, clock=ticking(0.5))
    save(cut)
    resumed = finished(tmp_path / "cut")
    assert resumed.progress.step == whole.progress.step
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name])


def test_the_learning_rate_warms_up_and_falls_to_nothing(tmp_path: Path) -> None:
    run = open_run("line", a_network(), PLAN, tmp_path)
    first = learning_rate(run)
    run.progress.step = 5
    top = learning_rate(run)
    run.progress.seconds = 60.0
    assert first < top == PLAN.learning_rate
    assert learning_rate(run) == pytest.approx(0, abs=1e-12)


def test_a_finished_run_is_passed_over(tmp_path: Path) -> None:
    steps = finished(tmp_path).progress.step
    assert finished(tmp_path).progress.step == steps


def test_a_longer_plan_takes_a_finished_run_up_again(tmp_path: Path) -> None:
    steps = finished(tmp_path).progress.step
    longer = Plan(minutes=2.0, batch=4, learning_rate=0.05, warmup_steps=5, checkpoint_seconds=1e9, log_seconds=20.0)
    assert finished(tmp_path, longer).progress.step > 1.5 * steps


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    run = finished(tmp_path)
    run.checkpoint.with_suffix(".partial").write_bytes(b"half a file")
    assert open_run("line", a_network(), PLAN, tmp_path).progress == run.progress


def test_the_average_is_what_export_reads(tmp_path: Path) -> None:
    run = finished(tmp_path)
    average = read_average(tmp_path, "line")
    assert all(torch.equal(value, average[name]) for name, value in run.average.state_dict().items())


def test_buffers_of_the_average_follow_the_network(tmp_path: Path) -> None:
    run = open_run("norm", nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), PLAN, tmp_path)
    train(run, lambda draw, count: run.network(torch.randn(count, 3) + draw).square().mean(), clock=ticking(5.0))
    assert torch.equal(run.average.get_buffer("1.running_mean"), run.network.get_buffer("1.running_mean"))
