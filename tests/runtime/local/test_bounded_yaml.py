"""YAML that people write by mistake and others on purpose: read as kubectl reads it, or refused at once in words."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from likeness_runtime.cli import main
from likeness_runtime.local import bounded_yaml
from likeness_runtime.local.bounded_yaml import YamlError, read_yaml
from likeness_runtime.local.documents import DocumentError, read_all

PRINTED = """\
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: likeness.dev/v1alpha1
  kind: Personalization
  metadata:
    name: pot
    namespace: shop
    creationTimestamp: "2026-11-27T10:00:00Z"
    generation: 1
    resourceVersion: "7"
    uid: 0c0ffee0-0000-4000-8000-000000000001
    managedFields: [{manager: kubectl}]
  spec:
    subject: {images: [{uri: s3://catalogue/pot.png}]}
    output: s3://artifacts/shop
  status: {token: <pot>}
"""


def read(tmp_path: Path, text: str | bytes) -> list[object]:
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_yaml(path))


def test_what_is_usual_is_read(tmp_path: Path) -> None:
    text = "\ufeffa: &x {b: 1, c: 2026-11-27}\nd: [*x, *x]\n---\ne: '1e-05'\n---\n"
    first, second, third = read(tmp_path, text)
    inner = {"b": 1, "c": "2026-11-27"}
    assert first == {"a": inner, "d": [inner, inner]}
    assert second == {"e": "1e-05"}
    assert third is None


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "comes to more than 100000 values"),
        ("a: &a [*a]", "refers to itself"),
        ("a: &a {b: *a}", "refers to itself"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a: {b: 1, b: 1}", "'b' is given twice"),
        ("n: " + "9" * 5000, "a number of 5000 digits"),
        ("n: 9223372036854775808", "expected a number of 64 bits"),
        ("[" * 5000, "expected YAML"),
        ("a: !!python/object/apply:os.system [ls]", "expected YAML"),
        ("a: [", "expected YAML"),
        (b"a: \xff", "not UTF-8"),
        ("a: \x07", "expected YAML"),
        ("x" * (bounded_yaml.MOST_YAML_BYTES + 1), "more than 4 MiB"),
    ],
)
def test_what_is_odd_is_refused_at_once(tmp_path: Path, text: str | bytes, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(YamlError, match=re.escape(words)) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 500
    assert time.monotonic() - began < 5


def test_a_pipe_that_nobody_writes_into_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_yaml, "MOST_WAIT_SECONDS", 0.3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(YamlError, match="nothing came"):
            list(read_yaml(pipe))
        os.write(writer, b"a: 1\n")
        with pytest.raises(YamlError, match="nothing came"):
            list(read_yaml(pipe))  # it stays open
    finally:
        os.close(writer)


def test_a_device_without_an_end_is_bounded() -> None:
    with pytest.raises(YamlError, match="more than 4 MiB"):
        list(read_yaml(Path("/dev/zero")))


def test_what_kubectl_prints_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(PRINTED)
    (document,) = read_all([tmp_path / "a.yaml"]).personalizations
    assert (document.metadata.name, document.metadata.namespace) == ("pot", "shop")


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n"])
def test_a_file_without_a_document_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(DocumentError, match="holds no document"):
        read_all([tmp_path / "a.yaml"])


def test_an_empty_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(PRINTED)
    assert main(["run", str(tmp_path / "a.yaml"), "--model", ""]) == 2
    assert "--model is empty" in capsys.readouterr().err
