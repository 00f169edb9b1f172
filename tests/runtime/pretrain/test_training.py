from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from likeness_runtime.failure import RunError
from likeness_runtime.pretrain.checkpoint import checkpoint_path, read_average, resume, write_checkpoint
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train
from likeness_runtime.pretrain.training_run import TrainingRun, averaged_copy

PLAN = TrainingPlan(
    minutes=1.0,
    batch=4,
    learning_rate=0.05,
    warmup_steps=5,
    ema_decay=0.999,
    checkpoint_seconds=1e9,
    log_seconds=20.0,
)


class KilledError(Exception):
    """Ends a training as a signal would."""


def opened(folder: Path, plan: TrainingPlan = PLAN, network: nn.Module | None = None) -> TrainingRun[nn.Module]:
    network = network or a_network()
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True)
    average = averaged_copy(network, plan)
    run = TrainingRun("line", network, average, optimizer, plan, folder, folder / "log.jsonl")
    resume(run)
    return run


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that moves on by `seconds` each time it is read."""
    times = iter(range(10_000))
    return lambda: next(times) * seconds


def fitting(run: TrainingRun[nn.Module]) -> Callable[[StepDraw], Tensor]:
    def loss_of(draw: StepDraw) -> Tensor:
        inputs = torch.randn(draw.count, 3, generator=torch.Generator().manual_seed(draw.number))
        loss: Tensor = (run.network(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        return loss

    return loss_of


def finished(folder: Path, plan: TrainingPlan = PLAN) -> TrainingRun[nn.Module]:
    run = opened(folder, plan)
    train(run, fitting(run), clock=ticking(0.5))
    return run


def test_training_ends_when_the_planned_time_has_passed(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert run.progress.seconds == pytest.approx(60, abs=1)
    assert run.progress.examples == run.progress.step * PLAN.batch


def test_training_fits_what_can_be_fitted(tmp_path: Path) -> None:
    weight = finished(tmp_path).network.get_parameter("weight")
    assert torch.allclose(weight, torch.ones(1, 3), atol=0.1)


def test_a_run_that_was_cut_off_ends_where_an_uncut_one_does(tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole")
    cut = opened(tmp_path / "cut")
    loss_of = fitting(cut)

    def dying(draw: StepDraw) -> Tensor:
        if draw.step == 50:
            raise KilledError
        return loss_of(draw)

    with pytest.raises(KilledError):
        train(cut, dying, clock=ticking(0.5))
    write_checkpoint(cut)
    resumed = finished(tmp_path / "cut")
    assert resumed.progress.step == whole.progress.step
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name])


def test_a_finished_run_is_passed_over(tmp_path: Path) -> None:
    steps = finished(tmp_path).progress.step
    assert finished(tmp_path).progress.step == steps


def test_a_longer_plan_takes_a_finished_run_up_again(tmp_path: Path) -> None:
    steps = finished(tmp_path).progress.step
    longer = replace(PLAN, minutes=2.0)
    assert finished(tmp_path, longer).progress.step > 1.5 * steps


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    run = finished(tmp_path)
    checkpoint_path(tmp_path, run.name).with_suffix(".partial").write_bytes(b"half a file")
    assert opened(tmp_path).progress == run.progress


def test_the_average_is_what_export_reads(tmp_path: Path) -> None:
    run = finished(tmp_path)
    average = read_average(tmp_path, "line")
    assert all(torch.equal(value, average[name]) for name, value in run.average.state_dict().items())


def test_buffers_of_the_average_follow_the_network(tmp_path: Path) -> None:
    run = opened(tmp_path, network=nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    train(run, lambda draw: run.network(torch.randn(draw.count, 3) + draw.step).square().mean(), clock=ticking(5.0))
    assert torch.equal(run.average.get_buffer("1.running_mean"), run.network.get_buffer("1.running_mean"))


def test_a_plan_that_averages_nothing_exports_the_network_itself(tmp_path: Path) -> None:
    run = finished(tmp_path, replace(PLAN, ema_decay=None))
    assert run.average is run.network


def test_moments_are_resumed_in_the_memory_format_of_their_parameter(tmp_path: Path) -> None:
    """The fused optimizer of CPUs walks through parameter and moments side by side, whatever their strides say."""
    plan = replace(PLAN, minutes=None, steps=6, warmup_steps=1, checkpoint_seconds=0.0)

    def trained(folder: Path, killed_at: int = 99) -> Tensor:
        torch.manual_seed(0)
        convolution = nn.Conv2d(3, 2, 2)
        nn.utils.convert_conv2d_weight_memory_format(convolution, torch.channels_last)
        run = opened(folder, plan, convolution)

        def loss_of(draw: StepDraw) -> Tensor:
            if draw.step == killed_at:
                raise KilledError
            pixels = torch.randn(draw.count, 3, 4, 4, generator=torch.Generator().manual_seed(draw.number))
            loss: Tensor = run.network(pixels).square().mean()
            return loss

        train(run, loss_of)
        return run.network.get_parameter("weight")

    with pytest.raises(KilledError):
        trained(tmp_path / "cut", killed_at=3)
    assert torch.equal(trained(tmp_path / "cut"), trained(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["line.checkpoint.pt", "checkpoint.safetensors"])
def test_a_checkpoint_of_an_earlier_release_is_refused_and_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"of another format")
    with pytest.raises(RunError, match=f"{name}: an earlier release wrote this checkpoint"):
        opened(tmp_path)


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    finished(tmp_path)
    with pytest.raises(RunError, match="use another folder"):
        opened(tmp_path, replace(PLAN, learning_rate=0.1))
