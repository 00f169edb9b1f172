import argparse
from pathlib import Path

import pytest

from likeness_lab.build.command import BUILD_STAGES, add_parser


def handled(*arguments: str) -> int:
    """What `likeness pocket` returns."""
    parser = argparse.ArgumentParser(prog="likeness")
    add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["pocket", *arguments])
    status: int = parsed.handler(parsed)
    return status


@pytest.mark.parametrize("stage", BUILD_STAGES)
def test_a_build_that_an_earlier_release_began_is_refused_before_any_work(
    stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / f"build/{stage}.checkpoint.pt").touch()
    assert handled("build", "--home", str(tmp_path), "--out", str(tmp_path / "out"), "--workers", "2") != 0
    message = capsys.readouterr().err
    assert message.startswith("likeness pocket: ")
    assert f"{stage}.checkpoint.pt: an earlier release wrote this checkpoint" in message
