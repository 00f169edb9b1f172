import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from likeness_runtime.cli import parser

HELP = [sys.executable, "-m", "likeness_runtime.cli", "--help"]


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "import sys; from likeness_runtime.cli import parser; parser(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", heavy], check=True)
    started = time.monotonic()
    text = subprocess.run(HELP, check=True, capture_output=True, text=True).stdout
    assert time.monotonic() - started < 5
    for command in ("run", "tune", "tiny-model", "pocket", "bench"):
        assert command in text


def test_without_a_command_the_usage_is_shown() -> None:
    done = subprocess.run(HELP[:-1], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: likeness" in done.stderr


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"likeness {version('likeness-tuner')}\n"
