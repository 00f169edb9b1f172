from pathlib import Path

import pytest

from likeness_runtime.failure import StorageMissingError
from likeness_runtime.storage.local import LocalStore, path_of
from likeness_runtime.storage.object_store import ObjectTooLargeError

STORE = LocalStore()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/deep/er/ä b.bin"
    STORE.write(uri, b"one", "text/plain")
    STORE.write(uri, b"two", "text/plain")
    assert STORE.read(uri, 3) == b"two"


def test_only_the_first_writer_wins_where_absence_is_asked_for(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/x"
    assert STORE.write_if_absent(uri, b"first", "text/plain")
    assert not STORE.write_if_absent(uri, b"second", "text/plain")
    assert STORE.read(uri, 100) == b"first"


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    for _ in range(2):
        STORE.write(f"file://{tmp_path}/a", b"x", "")
        STORE.write_if_absent(f"file://{tmp_path}/b", b"x", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(ObjectTooLargeError) as caught:
        STORE.read(f"file://{tmp_path}/x", 4)
    assert caught.value.size == 5


@pytest.mark.parametrize("name", ["nothing", "file/below", "folder"])
def test_what_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageMissingError, match=str(tmp_path)):
        STORE.read(f"file://{tmp_path}/{name}", 10)


def test_a_list_names_every_file_below(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a/b"):
        STORE.write(f"file://{tmp_path}/{name}", b"", "")
    assert list(STORE.list(f"file://{tmp_path}/")) == [f"file://{tmp_path}/{name}" for name in ("a/b", "a/c", "b")]


def test_an_address_must_be_absolute() -> None:
    with pytest.raises(ValueError, match="three slashes"):
        path_of("file://here/x.png")
