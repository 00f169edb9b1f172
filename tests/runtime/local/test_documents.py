from pathlib import Path

import pytest

from likeness_runtime.local.documents import DocumentError, absolute, read_all

PERSONALIZATION = """\
apiVersion: likeness.dev/v1alpha1
kind: Personalization
metadata: {name: red-teapot, labels: {team: shop}}
spec:
  subject: {images: [{uri: "file://./teapot.png"}, {uri: "s3://catalogue/teapot.png"}]}
  output: file://../out
"""
PROFILE = """\
apiVersion: likeness.dev/v1alpha1
kind: TuningProfile
metadata: {name: sd15}
spec:
  model: {uri: file:///models/sd15}
  runtime: {image: x}
  storage: {sourcePrefixes: ["s3://catalogue"], outputPrefixes: ["s3://artifacts"]}
"""


def written(folder: Path, text: str, name: str = "x.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_one_file_may_hold_everything_and_so_may_several(tmp_path: Path) -> None:
    together = read_all([written(tmp_path, f"---\n{PROFILE}---\n{PERSONALIZATION}---\n")])
    apart = read_all([written(tmp_path, PROFILE, "a.yaml"), written(tmp_path, PERSONALIZATION, "b.yaml")])
    assert together == apart
    assert [each.metadata.name for each in together.personalizations] == ["red-teapot"]
    assert [each.metadata.name for each in together.profiles] == ["sd15"]


def test_relative_addresses_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (document,) = read_all([written(tmp_path / "deep", PERSONALIZATION)]).personalizations
    addresses = [image.uri for image in document.spec.subject.images]
    assert addresses == [f"file://{tmp_path}/deep/teapot.png", "s3://catalogue/teapot.png"]
    assert document.spec.output == f"file://{tmp_path}/out"


@pytest.mark.parametrize("uri", ["file:///a/b", "s3://./x", "builtin://pocket", "a photo of ./x", 7, None])
def test_everything_else_is_left_alone(uri: object) -> None:
    assert absolute(uri, Path("/folder")) == uri


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "expected YAML"),
        ("kind: Pod\napiVersion: v1\n", "document 1: expected a resource with apiVersion likeness.dev/v1alpha1"),
        ("- a\n", "document 1: expected a resource"),
        (PERSONALIZATION.replace("Personalization", "PersonalizationBatch"), "document 1: .*PersonalizationBatch"),
        (f"{PROFILE}---\n{PERSONALIZATION}  suspended: true\n", "document 2: .*suspended"),
        (PERSONALIZATION.replace("red-teapot", "Red Teapot"), "document 1: .*metadata.name"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=rf"x\.yaml.*{words}"):
        read_all([written(tmp_path, text)])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nothing\.yaml: No such file"):
        read_all([tmp_path / "nothing.yaml"])
