"""A batch on this machine, with tiny models: every subject accounted for once, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image, ImageOps

from likeness_api.personalization_batch import PersonalizationBatchSpec, PersonalizationBatchStatus
from likeness_api.tuning_profile import Runtime, Storage, TuningProfileSpec
from likeness_runtime.batch import work
from likeness_runtime.batch.result_line import Outcome, ResultLine
from likeness_runtime.cli import main
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import InterruptedRunError
from likeness_runtime.local.run_batch import LocalBatch
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil_together
from likeness_runtime.order.model_cache import ModelCache
from likeness_runtime.storage.stores import Stores
from seaweed import ADMIN, Seaweed

MODELS = ModelCache()
"""Loaded once for all tests here."""


class Shop:
    """A folder with pictures, a manifest of them, and where the artifacts go."""

    def __init__(self, folder: Path, photo: Image.Image, model: Path) -> None:
        self.folder = folder
        self.model = model
        self.storage: dict[str, Any] = {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts"]}
        for number, picture in enumerate([photo, ImageOps.mirror(photo), ImageOps.flip(photo)]):
            picture.save(folder / f"{number}.png")
        self.lines: list[Any] = [{"id": f"sku/{number}", "images": [f"file://./{number}.png"]} for number in range(3)]

    def spec(self, **fields: Any) -> PersonalizationBatchSpec:
        (self.folder / "m.jsonl").write_text(
            "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in self.lines)
        )
        document = {
            "source": {"manifest": f"file://{self.folder}/m.jsonl"},
            "template": {"output": f"file://{self.folder}/out", "tuning": {"batchSize": 1}},
            "passes": [1],
            "maxFailedPercent": 60,
        }
        return PersonalizationBatchSpec.model_validate(document | fields)

    def run(self, check: Callable[[], None] = lambda: None, **fields: Any) -> tuple[PersonalizationBatchStatus, int]:
        profile = TuningProfileSpec(
            model={"uri": f"file://{self.model}"},
            runtime=Runtime(image="none"),
            storage=Storage.model_validate(self.storage),
        )
        stores = Stores(storage_of(profile), lambda _seconds: None)
        context = RunContext(stores, lambda _step, _total: None, check, MODELS)
        return LocalBatch("autumn", "shop", self.spec(**fields), profile, context).run()

    def book(self, name: str, revision: int = 1) -> list[dict[str, Any]]:
        path = self.folder / "out" / "shop" / ".batches" / "autumn" / str(revision) / name
        return [json.loads(line) for line in path.read_text().splitlines()]

    def results(self, revision: int = 1) -> list[ResultLine]:
        return [ResultLine.model_validate(line) for line in self.book("results.jsonl", revision)]


def storage_of(profile: TuningProfileSpec) -> Any:
    from likeness_api.accept import run_order
    from likeness_api.tuning import Tuning

    return run_order(Tuning(), profile, "shop", local=True).storage


@pytest.fixture
def shop(tmp_path: Path, photo: Image.Image, tiny_folders: dict[TinyKind, Path]) -> Shop:
    return Shop(tmp_path, photo, tiny_folders["sd15"])


def must_not_work(*_arguments: object) -> NoReturn:
    raise AssertionError("nothing was to be tuned")


def test_good_subjects_are_published_and_bad_lines_told(shop: Shop) -> None:
    shop.lines += ["{", {"id": "sku/0", "images": ["file://./1.png"]}, {"id": "gone", "images": ["file://./gone.png"]}]
    shop.lines[1]["metadata"] = {"price": 3}
    status, code = shop.run()
    assert code == 0
    assert status.conditions[0].type == "Succeeded"
    counts = status.counts
    assert (counts.total, counts.succeeded, counts.failed, counts.pending) == (6, 3, 3, 0)
    lines = shop.results()
    assert [(line.line, line.outcome, line.reason) for line in lines] == [
        (1, Outcome.SUCCEEDED, "Tuned"),
        (2, Outcome.SUCCEEDED, "Tuned"),
        (3, Outcome.SUCCEEDED, "Tuned"),
        (4, Outcome.FAILED, "InvalidLine"),
        (5, Outcome.FAILED, "DuplicateId"),
        (6, Outcome.FAILED, "SourceNotFound"),
    ]
    for line in lines[:3]:
        assert line.folder is not None
        assert line.folder.startswith(f"file://{shop.folder}/out/shop/sku_2f{line.line - 1}/")
        folder = Path(line.folder.removeprefix("file://"))
        assert {file.name for file in line.files} <= {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert shop.book("index.jsonl")[1]["metadata"] == {"price": 3}
    assert b"sku/1" in (shop.folder / "out/shop/.batches/autumn/1/report.html").read_bytes()
    assert {sample.reason for sample in status.failures} == {"InvalidLine", "DuplicateId", "SourceNotFound"}


def test_what_failed_is_a_manifest_that_runs_again(shop: Shop, photo: Image.Image) -> None:
    shop.lines = [{"id": "late", "images": ["file://./late.png"]}, "{"]
    _, code = shop.run(maxFailedPercent=100)
    assert code == 0
    photo.save(shop.folder / "late.png")
    failed = f"file://{shop.folder}/out/shop/.batches/autumn/1/failed.jsonl"
    status, _ = shop.run(source={"manifest": failed}, revision=2)
    assert (status.counts.total, status.counts.succeeded) == (1, 1)


def test_the_same_again_does_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run()
    before = shop.results()
    monkeypatch.setattr(work, "fulfil_together", must_not_work)
    status, code = shop.run()
    assert (code, status.counts.succeeded) == (0, 3)
    assert shop.results() == before


def test_stopped_and_started_again_it_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one subject a group: what was published before the stop is not worked on again."""
    monkeypatch.setattr("likeness_runtime.local.run_batch.SUBJECTS_A_PASS", 1)
    groups: list[str] = []
    real = fulfil_together

    def watched(run: Any, subjects: Any, *rest: Any) -> Any:
        groups.extend(subject.id for subject in subjects)
        return real(run, subjects, *rest)

    def stop() -> None:
        if len(groups) == 2:
            raise InterruptedRunError

    monkeypatch.setattr(work, "fulfil_together", watched)
    with pytest.raises(InterruptedRunError):
        shop.run(stop)
    assert groups == ["sku/0", "sku/1"]
    groups.append("stopped")
    status, _ = shop.run()
    assert groups[3:] == ["sku/1", "sku/2"]  # the second was stopped before it was published
    assert status.counts.succeeded == 3


def test_a_new_revision_works_on_what_changed(shop: Shop, monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    shop.run()
    ImageOps.invert(photo).save(shop.folder / "1.png")
    shop.lines = [
        shop.lines[0] | {"metadata": {"new": True}},
        shop.lines[1],
        {"id": "new", "images": ["file://./2.png"]},
    ]
    worked: list[str] = []
    real = fulfil_together

    def watched(run: Any, subjects: Any, *rest: Any) -> Any:
        worked.extend(subject.id for subject in subjects)
        return real(run, subjects, *rest)

    monkeypatch.setattr(work, "fulfil_together", watched)
    status, _ = shop.run(revision=2)
    assert worked == ["sku/1", "new"]
    assert (status.counts.succeeded, status.counts.skipped) == (2, 1)
    unchanged = shop.results(2)[0]
    assert unchanged.outcome is Outcome.SKIPPED
    assert unchanged.metadata == {"new": True}
    assert unchanged.folder == shop.results(1)[0].folder
    assert [line["id"] for line in shop.book("removed.jsonl", 2)] == ["sku/2"]
    assert len(shop.book("index.jsonl", 2)) == 3


def test_only_what_failed_is_tried_again(shop: Shop, photo: Image.Image) -> None:
    shop.lines.append({"id": "late", "images": ["file://./late.png"]})
    shop.run()
    photo.save(shop.folder / "late.png")
    ImageOps.invert(photo).save(shop.folder / "0.png")
    status, _ = shop.run(revision=2, retryFailed=True)
    assert (status.counts.succeeded, status.counts.skipped, status.counts.failed) == (1, 3, 0)


def test_a_revision_is_one_source(shop: Shop) -> None:
    shop.run()
    del shop.lines[0]
    status, code = shop.run()
    assert code == 10
    assert status.conditions[0].type == "Failed"
    assert "expected spec.revision: 2" in status.conditions[0].message


def test_of_two_passes_the_later_one_counts_and_takes_nothing_away(shop: Shop) -> None:
    status, _ = shop.run(passes=[0, 1])
    assert status.counts.succeeded == 3
    assert [line.steps for line in shop.results()] == [1, 1, 1]
    assert [line["steps"] for line in shop.book("segments/0-00000.jsonl")] == [0, 0, 0]
    (shop.folder / "out/shop/.batches/autumn/1/segments/1-00000.jsonl").unlink()
    (shop.folder / "2.png").unlink()
    status, _ = shop.run(passes=[0, 1])
    assert [line.steps for line in shop.results()] == [1, 1, 0]
    assert status.counts.succeeded == 3


def test_a_plan_tunes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "fulfil_together", must_not_work)
    shop.lines.append("{")
    status, code = shop.run(mode="Plan")
    assert code == 0
    assert (status.counts.total, status.counts.pending, status.counts.failed) == (4, 3, 1)
    assert status.conditions[0].type == "Planned"


def test_what_is_suspended_is_planned_and_not_tuned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(work, "fulfil_together", must_not_work)
        status, code = shop.run(suspend=True)
    assert (code, status.conditions[0].type, status.counts.pending) == (0, "Suspended", 3)
    status, _ = shop.run()
    assert status.counts.succeeded == 3


def test_what_is_nobodys_own_fault_stops_the_batch(shop: Shop) -> None:
    """Storage that refuses is refused once more by each subject: eight in a row are enough, and none is written off."""
    (shop.folder / "out" / "shop").mkdir(parents=True)
    shop.lines = [{"id": f"s{number}", "images": [f"file://{shop.folder}/{number % 3}.png"]} for number in range(12)]
    for number in range(12):
        (shop.folder / "out" / "shop" / f"s{number}").write_text("a file where a folder is to be")
    status, code = shop.run()
    assert status.conditions[0].type == "Failed"
    assert code != 0
    assert "in a row failed alike" in status.conditions[0].message
    for number in range(12):
        (shop.folder / "out" / "shop" / f"s{number}").unlink()
    status, _ = shop.run()
    assert (status.counts.succeeded, status.counts.failed) == (12, 0)


def test_too_many_failures_end_it_badly(shop: Shop) -> None:
    shop.lines += ["{"]
    status, code = shop.run(maxFailedPercent=10)
    assert code == 10
    assert status.conditions[0].reason == "TooManyFailed"
    assert status.counts.succeeded == 3


def test_a_manifest_from_a_bucket_reaches_no_file_of_this_machine(shop: Shop, tmp_path: Path) -> None:
    """Told by the line: whoever writes to the bucket is not whoever runs the command."""
    from likeness_runtime.batch.read_source import reaches_this_machine
    from likeness_runtime.batch.subject_line import SubjectLine

    line = SubjectLine.model_validate({"id": "a", "images": ["file:///etc/passwd.png"]})
    assert reaches_this_machine(line)
    assert not reaches_this_machine(line.model_copy(update={"images": []}))


def test_all_of_it_in_a_bucket(shop: Shop, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source, pictures, books and artifacts; unchanged, nothing is fetched again."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key)
    client = seaweed.client()
    for number in range(3):
        client.upload_file(str(shop.folder / f"{number}.png"), "catalogue", f"batch/pictures/sku {number}#/1.png")
    shop.storage = {
        "endpoint": seaweed.endpoint,
        "pathStyle": True,
        "sourcePrefixes": ["s3://catalogue"],
        "outputPrefixes": ["s3://artifacts"],
    }
    there = {"output": "s3://artifacts/batch", "tuning": {"batchSize": 1}}
    status, _ = shop.run(source={"prefix": "s3://catalogue/batch/pictures"}, template=there, maxFailedPercent=100)
    assert (status.counts.total, status.counts.failed) == (3, 3)  # "#" in an address is refused, by line
    lines = "".join(
        json.dumps({"id": str(number), "images": [f"s3://catalogue/batch/{number}.png"]}) + "\n" for number in range(3)
    )
    for number in range(3):
        client.upload_file(str(shop.folder / f"{number}.png"), "catalogue", f"batch/{number}.png")
    client.put_object(
        Bucket="catalogue", Key="batch/m.jsonl", Body=(lines + '{"id": "x", "images": ["file:///x.png"]}').encode()
    )
    source = {"manifest": "s3://catalogue/batch/m.jsonl"}
    status, _ = shop.run(source=source, template=there, revision=2)
    assert (status.counts.succeeded, status.failures[0].reason) == (3, "BucketNotAllowed")
    status, _ = shop.run(source=source, template=there, revision=3)
    assert (status.counts.succeeded, status.counts.skipped) == (0, 3)
    keys = seaweed.keys("artifacts", "batch/shop/")
    assert "batch/shop/.batches/autumn/3/report.html" in keys
    assert sum(key.endswith("/manifest.json") for key in keys) == 3


def test_the_command_prints_the_status(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    spec = shop.spec()
    document = {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "PersonalizationBatch",
        "metadata": {"name": "autumn", "namespace": "shop"},
        "spec": spec.to_json() | {"source": {"manifest": "file://./m.jsonl"}},
    }
    path = shop.folder / "batch.yaml"
    path.write_text(json.dumps(document))
    assert main(["run", str(path), "--model", str(shop.model), "--output", str(shop.folder / "there")]) == 0
    printed = capsys.readouterr()
    assert "3 tuned, 0 unchanged, 0 failed of 3" in printed.out
    assert "3/3" in printed.err
    assert (shop.folder / "there/shop/.batches/autumn/1/report.html").is_file()
