import logging
from pathlib import Path

import pytest
import yaml
from PIL import Image

from likeness_api.personalization import PersonalizationStatus
from likeness_runtime.cli import main
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.local.documents import Documents, PersonalizationDocument, TuningProfileDocument
from likeness_runtime.local.run import profile_for
from likeness_runtime.method.predictor import START_WORD

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.fixture
def file(tmp_path: Path, photo: Image.Image) -> Path:
    photo.save(tmp_path / "photo.png")
    path = tmp_path / "teapot.yaml"
    path.write_text(
        """\
apiVersion: likeness.dev/v1alpha1
kind: Personalization
metadata: {name: red-teapot, namespace: shop}
spec:
  subject: {images: [{uri: "file://./photo.png"}]}
  tuning: {steps: 2, batchSize: 2}
  output: file://./out
"""
    )
    return path


BATCHES = [path for path in EXAMPLES if "catalogue" in path.name]


def statuses(text: str) -> list[PersonalizationStatus]:
    return [PersonalizationStatus.model_validate(each["status"]) for each in yaml.safe_load_all(text)]


def states(status: PersonalizationStatus) -> list[tuple[str, str]]:
    return [(condition.type, condition.reason) for condition in status.conditions if condition.status == "True"]


def test_a_file_is_fulfilled_and_its_status_printed(
    file: Path, tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(file), "--model", str(tiny_folders["sd15"]), "--contact-sheet", str(tmp_path / "s" / "x.png")]
    assert main(command) == 0
    (status,) = statuses(capsys.readouterr().out)
    assert states(status)[0] == ("Succeeded", "Tuned")
    for artifact in status.artifacts:
        assert Path(artifact.uri.removeprefix("file://")).stat().st_size == artifact.bytes
    with Image.open(tmp_path / "s" / "x.png") as sheet:
        assert sheet.width > 3 * 256
    assert main(command) == 0
    (status,) = statuses(capsys.readouterr().out)
    assert states(status)[0] == ("Succeeded", "AlreadyPublished")


def test_output_and_several_files(
    file: Path, tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text().replace("red-teapot", "other").replace("photo.png", "nothing.png"))
    elsewhere = tmp_path / "elsewhere"
    model = str(tiny_folders["sdxl"])
    assert main(["run", str(other), str(file), "--model", model, "--output", str(elsewhere)]) == 10
    failed, succeeded = statuses(capsys.readouterr().out)
    assert states(failed)[0] == ("Failed", "SourceNotFound")
    assert failed.failure
    assert failed.failure.exit_code == 10
    assert states(succeeded)[0] == ("Succeeded", "Tuned")
    assert succeeded.manifest
    assert succeeded.manifest.uri.startswith(f"file://{elsewhere}/shop/red-teapot/")


def test_what_a_cluster_would_refuse_is_refused(
    file: Path, tiny_folders: dict[TinyKind, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text().replace("steps: 2", "steps: 101"))
    assert main(["run", str(file), "--model", str(tiny_folders["sd15"])]) == 10
    (status,) = statuses(capsys.readouterr().out)
    assert states(status)[0] == ("Failed", "LimitExceeded")
    assert status.failure
    assert "spec.tuning.steps is 101; the profile's limit is 100" in status.failure.message


def test_an_unreadable_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "nothing.yaml")]) == 2
    assert "nothing.yaml: No such file" in capsys.readouterr().err


def test_a_prompt_without_the_token_is_a_warning_in_the_status(
    file: Path, tiny_folders: dict[TinyKind, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text() + '  previews: [{prompt: "a teapot"}]\n')
    assert main(["run", str(file), "--model", str(tiny_folders["sd15"])]) == 0
    (status,) = statuses(capsys.readouterr().out)
    assert [(each.type, each.status, each.reason) for each in status.conditions] == [
        ("Succeeded", "True", "Tuned"),
        ("Accepted", "True", "ProfileMatched"),
        ("EncoderUsed", "False", "NoEncoder"),
        ("TokenInPrompts", "False", "TokenMissing"),
    ]


def test_without_an_encoder_each_run_warns_and_its_status_says_so(
    file: Path,
    tiny_folders: dict[TinyKind, Path],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The built-in profile's encoder does not fit another model, so `--model` leaves it out."""
    model = tiny_folders["sd15"]
    for _ in ("tuned", "already published"):
        caplog.clear()
        assert main(["run", str(file), "--model", str(model)]) == 0
        (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        (status,) = statuses(capsys.readouterr().out)
        (said,) = [each for each in status.conditions if each.type == "EncoderUsed"]
        assert (said.status, said.reason) == ("False", "NoEncoder")
        assert warning == f"shop/red-teapot: {said.message}."
        for words in (f"no encoder is named for model file://{model}", f"'{START_WORD}'", "`likeness pretrain`"):
            assert words in warning
    (card,) = file.parent.rglob("README.md")
    assert f"started from the word *{START_WORD}*" in card.read_text()


def test_with_the_encoder_of_the_built_in_profile_nothing_is_warned_about(
    file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(file.read_text().replace("steps: 2", "steps: 0"))
    assert main(["run", str(file)]) == 0
    (status,) = statuses(capsys.readouterr().out)
    assert ("EncoderUsed", "EncoderNamed") in states(status)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    (card,) = file.parent.rglob("README.md")
    assert "what the encoder `pocket` predicted" in card.read_text()


def a_personalization(profile: str | None) -> PersonalizationDocument:
    spec = {"profile": profile, "subject": {"images": [{"uri": "s3://catalogue/x.png"}]}, "output": "s3://artifacts/x"}
    return PersonalizationDocument.model_validate(
        {"apiVersion": "likeness.dev/v1alpha1", "kind": "Personalization", "metadata": {"name": "x"}, "spec": spec}
    )


def a_profile(name: str, *, default: bool = False) -> TuningProfileDocument:
    spec = {
        "default": default,
        "model": {"uri": f"file:///{name}"},
        "runtime": {"image": "x"},
        "storage": {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts"]},
    }
    return TuningProfileDocument.model_validate(
        {"apiVersion": "likeness.dev/v1alpha1", "kind": "TuningProfile", "metadata": {"name": name}, "spec": spec}
    )


A, B, DEFAULT = a_profile("a"), a_profile("b"), a_profile("c", default=True)


@pytest.mark.parametrize(
    ("named", "profiles", "expected"),
    [
        pytest.param("b", [A, B, DEFAULT], "file:///b", id="the named one"),
        pytest.param(None, [A, DEFAULT, B], "file:///c", id="the default one"),
        pytest.param(None, [A], "file:///a", id="the only one"),
        pytest.param(None, [], "builtin://pocket", id="the built-in one"),
        pytest.param(None, [A, B], "NoDefaultProfile", id="none of several"),
        pytest.param("d", [A, B], "ProfileNotFound", id="an unknown name"),
        pytest.param("d", [], "ProfileNotFound", id="a name without profiles"),
    ],
)
def test_the_profile_is(named: str | None, profiles: list[TuningProfileDocument], expected: str) -> None:
    document = a_personalization(named)
    found = profile_for(document.spec.profile, [], Documents([document], [], profiles))
    assert expected == (found.model.uri if hasattr(found, "model") else found.reason)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_every_example_is_fulfilled(
    example: Path, tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(example), "--model", str(tiny_folders["sd15"]), "--output", str(tmp_path)]) == 0
    end = ("Succeeded", "Finished" if example in BATCHES else "Tuned")
    assert all(states(status)[0] == end for status in statuses(capsys.readouterr().out))


@pytest.mark.slow
@pytest.mark.parametrize("example", [path for path in EXAMPLES if path not in BATCHES], ids=lambda path: path.name)
def test_no_example_starts_from_the_word_object(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a reader runs it: on the model that the example names, with the encoder that it names."""
    assert main(["run", str(example), "--output", str(tmp_path)]) == 0
    for status in statuses(capsys.readouterr().out):
        assert ("EncoderUsed", "EncoderNamed") in states(status)
        assert status.nearest_word != START_WORD
