from pathlib import Path

import torch
from torch import nn

from likeness_lab.pocket.stage import LOG_NAME, channels_last, open_stage
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import train

PLAN = TrainingPlan(steps=2, batch=3, learning_rate=0.1, ema_decay=0.9)


def test_a_stage_that_has_ended_is_opened_at_its_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = open_stage("line", nn.Linear(2, 1), PLAN, tmp_path)
    train(run, lambda draw: run.network(torch.ones(draw.count, 2)).square().mean())
    again = open_stage("line", nn.Linear(2, 1), PLAN, tmp_path)
    assert (again.share, again.progress) == (1.0, run.progress)
    assert torch.equal(again.average.weight, run.average.weight)
    assert (tmp_path / LOG_NAME).is_file()


def test_frozen_parameters_are_not_trained(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 1))
    (group,) = open_stage("line", network, PLAN, tmp_path).optimizer.param_groups
    assert [parameter.shape for parameter in group["params"]] == [(1, 2), (1,)]


def test_convolutions_are_laid_out_by_channels() -> None:
    network = channels_last(nn.Conv2d(3, 2, 3), torch.device("cpu"))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
