from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from likeness_operator.main import main, parser


def test_by_default_it_watches_the_whole_cluster() -> None:
    assert parser().parse_args([]).namespace == []
    assert parser().parse_args(["--namespace=a", "--namespace=b"]).namespace == ["a", "b"]


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"likeness-operator {version('likeness-tuner')}\n"


def test_a_kubeconfig_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    assert main(["--kubeconfig=/no/such/file", "--probe-port=0"]) == 1
    assert "/no/such/file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--workers=0", "--qps=-1"])
def test_a_limit_that_would_stop_everything_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([option])
    assert "expected 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["operator", "/operator", "system/", "a/b/c"])
def test_a_lease_has_a_namespace_and_a_name(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"--lease={text}"])
    assert "expected NAMESPACE/NAME" in capsys.readouterr().err


def test_sigterm_ends_it_even_while_it_waits_for_the_api_server(tmp_path: Path) -> None:
    named = {"name": "nobody"}
    kubeconfig = {
        "current-context": "nobody",
        "clusters": [named | {"cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [named | {"user": {}}],
        "contexts": [named | {"context": {"cluster": "nobody", "user": "nobody"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    command = [sys.executable, "-m", "likeness_operator.main", "--probe-port=0"]
    environment = os.environ | {"KUBECONFIG": str(path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as operator:
        assert operator.stderr is not None
        assert "cannot list" in operator.stderr.readline()
        operator.send_signal(signal.SIGTERM)
        assert operator.wait(timeout=10) == 0
