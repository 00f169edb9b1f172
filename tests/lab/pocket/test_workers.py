import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likeness_lab.pocket import workers
from likeness_runtime.pretrain.parallel import present_processes


def test_one_worker_works_right_here() -> None:
    done: list[int] = []
    workers.spawn(1, lambda: done.append(present_processes().size))
    assert done == [1]


SCRIPT = """
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn

from likeness_lab.pocket import workers
from likeness_runtime.pretrain.parallel import average_gradients, present_processes


def note_gradient(folder: Path) -> None:
    network, processes = nn.Linear(1, 1), present_processes()
    network(torch.tensor([[1.0 + processes.rank]])).sum().backward()
    average_gradients(network, torch.zeros(()), 0.0, processes)
    (folder / str(processes.rank)).write_text(str(network.weight.grad.item()))


if __name__ == "__main__":
    workers.spawn(2, partial(note_gradient, Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_two_workers_agree_on_the_mean_of_their_gradients(tmp_path: Path) -> None:
    script, noted = tmp_path / "script.py", tmp_path / "noted"
    script.write_text(SCRIPT)
    noted.mkdir()
    subprocess.run([sys.executable, str(script), str(noted)], check=True)
    gradients = [float((noted / str(number)).read_text()) for number in range(2)]
    assert gradients == [pytest.approx(1.5)] * 2  # of inputs 1 and 2


SLEEPERS = """
import os
import sys
import time
from functools import partial
from pathlib import Path

from likeness_lab.pocket import workers


def sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


if __name__ == "__main__":
    workers.spawn(2, partial(sleep, Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SLEEPERS)
    pids.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(pids)]) as parent:
        while len(started := [int(path.name) for path in pids.iterdir()]) < 2:
            assert parent.poll() is None
            time.sleep(0.5)
        parent.terminate()
        assert parent.wait() == 128 + signal.SIGTERM
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
