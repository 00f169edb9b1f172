"""`likeness tune` as a pod runs it: a process of its own, told by environment, heard by exit code and message file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from likeness_api.order import ORDER_VARIABLE, EraseOrder, Order
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_api.tuning import ResolvedTuning
from tiny_models import altered

COMMAND = [sys.executable, "-m", "likeness_runtime.cli", "tune", "--termination-log"]

Start = Callable[[str | None], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start(order: str | None) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != ORDER_VARIABLE}
        environment |= {} if order is None else {ORDER_VARIABLE: order}
        environment |= {"OMP_NUM_THREADS": "1"}
        command = [*COMMAND, str(tmp_path / "message")]
        return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)

    return start


def ended(process: "subprocess.Popen[str]", folder: Path) -> tuple[Result, str]:
    """The result as the kubelet would deliver it, and the log. The exit code says the same."""
    _, log = process.communicate(timeout=120)
    result = Result.decode((folder / "message").read_bytes())
    assert process.returncode == result.exit_code, log
    return result, log


def test_an_order_is_tuned_and_told(order: Order, start: Start, tmp_path: Path) -> None:
    result, log = ended(start(order.encode()), tmp_path)
    assert result.reason == Reason.TUNED
    assert (Path(result.folder().removeprefix("file://")) / "manifest.json").is_file()
    for sentence in ("Accepted shop/red-teapot", "Started shop/red-teapot", "Tuned 2 of 2 steps", "Ended with Tuned"):
        assert sentence in log
    assert "shop/red-teapot: no encoder is named" in log


def test_an_order_of_version_1_is_brought_to_its_end(order: Order, start: Start, tmp_path: Path) -> None:
    """As in a Job that was made before an upgrade and whose pod starts after it."""
    text = (
        '{"kind":"Order","version":1,"namespace":"shop","name":"red-teapot","token":"<red-teapot>",'
        '"images":[{"uri":"file://FOLDER/photo.png"}],"output":"file://FOLDER/out","previews":[],'
        '"tuning":{"steps":2,"batchSize":2,"rank":4,"alpha":"1","learningRate":"0.02",'
        '"embeddingLearningRate":"0.001","seed":7},"model":{"uri":"MODEL"},"storage":{"region":"us-east-1",'
        '"pathStyle":false,"checksumMode":"WhenSupported","sourcePrefixes":["file://"],"outputPrefixes":["file://"]},'
        '"device":"auto"}'
    )
    text = text.replace("FOLDER", str(tmp_path)).replace("MODEL", order.run.model.uri)
    result, _ = ended(start(text), tmp_path)
    assert result.reason == Reason.TUNED
    again, _ = ended(start(order.encode()), tmp_path)
    assert (again.reason, again.manifest) == (Reason.ALREADY_PUBLISHED, result.manifest)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "is not set"), ("{", "document"), ('{"version": 3}', "version")],
    ids=["none", "no JSON", "another version"],
)
def test_a_bad_order_is_told(start: Start, tmp_path: Path, text: str | None, words: str) -> None:
    result, _ = ended(start(text), tmp_path)
    assert result.reason == Reason.BAD_ORDER
    assert words in result.message


def test_a_missing_picture_is_told_without_a_stack_trace(order: Order, start: Start, tmp_path: Path) -> None:
    missing = altered(order, images=[SubjectImage(uri="file:///nothing.png")])
    result, log = ended(start(missing.encode()), tmp_path)
    assert result.reason == Reason.SOURCE_NOT_FOUND
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize("waits_for", ["Accepted", "Tuned 0 of"])
def test_sigterm_ends_the_run_soon_and_publishes_nothing(
    order: Order, start: Start, tmp_path: Path, waits_for: str
) -> None:
    endless = altered(order, tuning=ResolvedTuning(steps=1000, batch_size=16))
    process = start(endless.encode())
    assert process.stderr
    for line in process.stderr:
        if waits_for in line:
            break
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    result, _ = ended(process, tmp_path)
    assert result.reason == Reason.INTERRUPTED
    assert process.returncode == 143
    assert time.monotonic() - sent < 20
    assert not (tmp_path / "out").exists()


def test_an_unwritable_message_file_changes_nothing_else(order: Order, tmp_path: Path) -> None:
    missing = altered(order, images=[SubjectImage(uri="file:///nothing.png")])
    done = subprocess.run(
        [*COMMAND, str(tmp_path / "no" / "folder")],
        env={**os.environ, ORDER_VARIABLE: missing.encode()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10
    assert "could not be written" in done.stderr


def test_an_erase_order_is_told_like_any_other(order: Order, tmp_path: Path) -> None:
    erase = EraseOrder(namespace="shop", name="red-teapot", output=f"file://{tmp_path}/out", storage=order.run.storage)
    command = [sys.executable, "-m", "likeness_runtime.cli", "erase", "--termination-log", str(tmp_path / "message")]
    environment = os.environ | {ORDER_VARIABLE: erase.encode()}
    result, log = ended(
        subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE),
        tmp_path,
    )
    assert result.reason == Reason.ERASED
    assert "Accepted to erase shop/red-teapot" in log
