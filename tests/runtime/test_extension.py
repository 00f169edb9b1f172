from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from likeness_runtime.cli import main, parser
from likeness_runtime.extension import COMMAND_GROUP, IMAGE_SET_GROUP, extensions, load_extension
from likeness_runtime.failure import RunError


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime as an image has it: no other distribution adds anything."""
    monkeypatch.setattr("likeness_runtime.extension.entry_points", EntryPoints().select)


def test_what_is_offered_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = EntryPoints([EntryPoint("squares", "math:sqrt", IMAGE_SET_GROUP)])
    monkeypatch.setattr("likeness_runtime.extension.entry_points", offered.select)
    assert load_extension(IMAGE_SET_GROUP, "squares", needed_for="--images builtin://squares")(9) == 3
    assert extensions(COMMAND_GROUP) == []


@pytest.mark.parametrize("command", ["bench", "pocket"])
def test_a_command_of_the_laboratory_says_what_to_install(
    alone: None, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "base", "--out", "out"]) == 2
    expected = f"likeness {command}: not installed; expected: pip install 'likeness-tuner[lab]'\n"
    assert capsys.readouterr().err == expected


def test_help_works_without_the_laboratory_and_names_it(alone: None) -> None:
    text = parser().format_help()
    assert "bench and pocket come with: pip install 'likeness-tuner[lab]'" in text
    assert "measure what the method" not in text


def test_an_image_set_that_nobody_offers_is_refused_with_what_to_install(alone: None) -> None:
    with pytest.raises(RunError, match=r"--images builtin://pocket needs .* pip install 'likeness-tuner\[lab\]'"):
        load_extension(IMAGE_SET_GROUP, "pocket", needed_for="--images builtin://pocket")


def test_the_pocket_models_phrases_come_with_the_laboratory(
    alone: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "encoder").mkdir()
    assert main(["contexts", "--encoder", str(tmp_path)]) != 0
    assert "pip install 'likeness-tuner[lab]'" in capsys.readouterr().err
