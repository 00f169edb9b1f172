from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from likeness_runtime.pretrain.parallel import Processes, average_gradients, present_processes


def test_a_process_alone_is_the_first_of_one() -> None:
    assert present_processes() == Processes(size=1, rank=0)


def test_alone_there_is_nothing_to_average() -> None:
    network = nn.Linear(2, 1)
    network(torch.ones(1, 2)).sum().backward()
    before = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    assert average_gradients(network, torch.tensor(3.0), 0.5, Processes()) == (torch.tensor(3.0), 0.5)
    after = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.equal(left, right) for left, right in zip(before, after, strict=True))


TWO_PROCESSES = """
import torch
from likeness_runtime.pretrain.parallel import average_gradients, joined
with joined("cpu") as processes:
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.full((1, 2), float(processes.rank + 1))
    loss, seconds = average_gradients(layer, torch.tensor(float(processes.rank)), 2.0, processes)
    assert (float(loss), seconds) == (0.5, 2.0)
    assert layer.weight.grad.tolist() == [[1.5, 1.5]], layer.weight.grad
    assert layer.bias.grad is None
"""


@pytest.mark.slow
def test_two_processes_average_their_gradients() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen([sys.executable, "-c", TWO_PROCESSES], env=variables | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
