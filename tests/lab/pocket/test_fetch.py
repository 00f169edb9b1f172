import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from likeness_lab.pocket.fetch import NOTO, FetchError, fetch_package

CONTENT = b"an archive"
SOURCE = replace(NOTO, sha256=hashlib.sha256(CONTENT).hexdigest())


def test_an_archive_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / SOURCE.archive).write_bytes(CONTENT)
    assert fetch_package(SOURCE, tmp_path) == tmp_path / SOURCE.archive


def test_other_bytes_are_refused_with_both_digests(tmp_path: Path) -> None:
    (tmp_path / SOURCE.archive).write_bytes(b"something else")
    with pytest.raises(FetchError, match=f"SHA-256 is [0-9a-f]{{64}}, expected {SOURCE.sha256}"):
        fetch_package(SOURCE, tmp_path)


def test_without_npm_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="apt-get install npm"):
        fetch_package(SOURCE, tmp_path)


def test_an_npm_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no such registry >&2\nexit 3\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(FetchError, match="ended with 3: no such registry"):
        fetch_package(SOURCE, tmp_path / "downloads")
