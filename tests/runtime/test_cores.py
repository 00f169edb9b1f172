import os
from pathlib import Path

import pytest

from likeness_runtime.cores import quota_cores, usable_cores


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_a_container_s_quota_is_understood(tmp_path: Path, text: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert quota_cores(tmp_path / "cpu.max") == cores


def test_a_quota_takes_cores_away_and_adds_none(tmp_path: Path) -> None:
    bound = len(os.sched_getaffinity(0))
    (tmp_path / "small").write_text("50000 100000")
    (tmp_path / "large").write_text(f"{(bound + 7) * 100000} 100000")
    assert usable_cores(tmp_path / "small") == 1
    assert usable_cores(tmp_path / "large") == usable_cores(tmp_path / "none") == bound
