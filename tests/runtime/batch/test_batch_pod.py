"""The commands of a batch's pods as the kubelet runs them: told by environment, heard by exit code and message file."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from likeness_api.batch_order import BatchOrder, accept_batch
from likeness_api.batch_result import BatchResult
from likeness_api.order import ORDER_VARIABLE, BatchEraseOrder, OrderStorage
from likeness_api.personalization_batch import PersonalizationBatchSpec
from likeness_api.reason import EXIT_CODE_OF, Reason
from likeness_api.result import Result
from likeness_api.shard_report import SHARDS_URL_VARIABLE, ShardAnswer, ShardReport
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.batch import pod
from likeness_runtime.batch.batch_folder import BatchFolder, segment_name, shard_name
from likeness_runtime.batch.plan import PlannedSubject
from likeness_runtime.batch.result_line import Outcome, ResultLine
from likeness_runtime.cli import main
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.local.run_batch import LocalBatch
from likeness_runtime.order.context import RunContext
from likeness_runtime.storage.local import LocalStore
from likeness_runtime.storage.s3 import S3Store
from likeness_runtime.storage.stores import Stores
from seaweed import ADMIN, Seaweed

NUMBERS = count(1)
Command = Callable[..., tuple[int, BatchResult]]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The commands listen to them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `likeness` with an order; the exit code, and the message."""

    def run(name: str, order: BatchOrder | str | None, *options: str) -> tuple[int, BatchResult]:
        monkeypatch.delenv(ORDER_VARIABLE, raising=False)
        if order is not None:
            monkeypatch.setenv(ORDER_VARIABLE, order if isinstance(order, str) else order.encode())
        message = tmp_path / "message"
        code = main([name, "--termination-log", str(message), *options])
        result = BatchResult.decode(message.read_text())
        message.unlink()
        assert code == EXIT_CODE_OF[result.reason]
        return code, result

    return run


class Shop:
    """A catalogue in a bucket of its own names: pictures, a manifest, and the books of one batch."""

    def __init__(self, seaweed: Seaweed, model: Path) -> None:
        self.client = seaweed.client()
        self.place = f"pods/{next(NUMBERS)}"
        self.profile = TuningProfileSpec.model_validate(
            {
                "model": {"uri": f"file://{model}"},
                "runtime": {"image": "none", "device": "cpu"},
                "storage": {
                    "endpoint": seaweed.endpoint,
                    "pathStyle": True,
                    "sourcePrefixes": ["s3://catalogue"],
                    "outputPrefixes": ["s3://artifacts"],
                },
            }
        )
        self.pictures = [f"s3://catalogue/{self.place}/{number}.png" for number in range(3)]
        self.lines: list[Any] = [
            {"id": f"sku/{number}", "images": [picture]} for number, picture in enumerate(self.pictures)
        ]

    def put_pictures(self, photo: Image.Image, folder: Path) -> None:
        for number, picture in enumerate([photo, ImageOps.mirror(photo), ImageOps.flip(photo)]):
            picture.save(folder / f"{number}.png")
            self.client.upload_file(str(folder / f"{number}.png"), "catalogue", f"{self.place}/{number}.png")

    def spec(self, output: str = "", **fields: Any) -> PersonalizationBatchSpec:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in self.lines)
        self.client.put_object(Bucket="catalogue", Key=f"{self.place}/m.jsonl", Body=text.encode())
        output = output or f"s3://artifacts/{self.place}"
        document = {
            "source": {"manifest": f"s3://catalogue/{self.place}/m.jsonl"},
            "template": {"output": output, "tuning": {"batchSize": 1}},
            "passes": [1],
        }
        return PersonalizationBatchSpec.model_validate(document | fields)

    def order(self, pass_index: int = 0, **fields: Any) -> BatchOrder:
        order = accept_batch("autumn", "shop", self.spec(**fields), self.profile, pass_index)
        assert isinstance(order, BatchOrder), order
        return order

    @property
    def folder(self) -> BatchFolder:
        home = f"s3://artifacts/{self.place}/shop/.batches/autumn/"
        return BatchFolder(S3Store(self.client, lambda _seconds: None), home, 1)

    def results(self, revision: int = 1) -> list[ResultLine]:
        data = self.folder.of_revision(revision).read("results.jsonl")
        assert data is not None
        return [ResultLine.decode(line) for line in data.splitlines()]

    def act(self, shard: int, which_pass: int = 0, steps: int = 1, revision: int = 1, first: int = 0) -> None:
        """Writes the segment that a worker would have written."""
        folder = self.folder.of_revision(revision)
        data = folder.read(shard_name(which_pass, shard)) or b""
        planned = [PlannedSubject.decode(line) for line in data.splitlines()][first:]
        lines = [
            ResultLine(
                line=each.number,
                id=each.subject.id,
                outcome=Outcome.SUCCEEDED,
                reason="Tuned",
                message="tuned",
                end_time=f"2026-11-27T22:00:0{each.number % 10}Z",
                steps=steps,
                folder=f"s3://artifacts/{self.place}/shop/sku_2f{each.number - 1}/{'d' * 64}/",
                metrics={"lossAfter": f"0.{each.number}"},
                fingerprint=each.fingerprint,
            )
            for each in planned
        ]
        folder.write(segment_name(which_pass, shard), b"".join(line.encode() for line in lines))


@pytest.fixture
def shop(seaweed: Seaweed, tiny_folders: dict[TinyKind, Path], monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key)
    return Shop(seaweed, tiny_folders["sd15"])


# Orders that are none.


@pytest.mark.parametrize("name", ["plan", "work", "collect"])
@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "is not set"), ("{", "document"), ('{"version": 3}', "version"), ('{"kind": "Order"}', "kind")],
    ids=["none", "no JSON", "another version", "another kind"],
)
def test_a_bad_order_is_told(command: Command, name: str, text: str | None, words: str) -> None:
    code, result = command(name, text)
    assert (code, result.reason) == (12, Reason.BAD_ORDER)
    assert words in result.message


@pytest.mark.parametrize("name", ["plan", "work", "collect"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sourcePrefixes": ["s3://elsewhere"]}, "order.source.manifest is s3://catalogue/"),
        ({"outputPrefixes": ["s3://elsewhere/{namespace}"]}, "order.template.output is s3://artifacts/"),
    ],
    ids=["source", "output"],
)
def test_an_order_beyond_its_profiles_prefixes_is_refused(
    command: Command, shop: Shop, name: str, changes: dict[str, Any], words: str
) -> None:
    document = json.loads(shop.order().encode())
    document["profile"]["storage"] |= changes
    code, result = command(name, json.dumps(document))
    assert (code, result.reason) == (11, Reason.BUCKET_NOT_ALLOWED)
    assert words in result.message


def test_a_worker_that_was_told_no_address_says_so(
    command: Command, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SHARDS_URL_VARIABLE, raising=False)
    code, result = command("work", shop.order())
    assert (code, result.reason) == (12, Reason.BAD_ORDER)
    assert SHARDS_URL_VARIABLE in result.message


def test_a_message_that_cannot_be_written_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(ORDER_VARIABLE, raising=False)
    assert main(["plan", "--termination-log", str(tmp_path / "no" / "folder")]) == 12
    assert "could not be written" in caplog.text


# Planning.


def test_a_plan_says_what_there_is_to_do(command: Command, shop: Shop) -> None:
    shop.lines += ["{", {"id": "sku/0", "images": shop.pictures[:1]}, {"id": "x", "images": ["file:///etc/x.png"]}]
    code, result = command("plan", shop.order())
    assert (code, result.reason) == (0, Reason.PLANNED)
    assert (result.lines, result.planned, result.failed, result.skipped, result.shards) == (6, 3, 3, 0, 1)
    assert result.message == "3 subjects to tune in 1 shards, 0 unchanged, 3 lines that say none"
    assert {each.reason for each in result.failures} == {"InvalidLine", "DuplicateId", "BucketNotAllowed"}
    shard = shop.folder.read(shard_name(0, 0))
    assert shard is not None
    assert [PlannedSubject.decode(line).subject.id for line in shard.splitlines()] == ["sku/0", "sku/1", "sku/2"]


def test_a_plan_with_a_pilot_measures_what_a_subject_takes_and_publishes_none(
    command: Command, shop: Shop, photo: Image.Image, tmp_path: Path
) -> None:
    shop.put_pictures(photo, tmp_path)
    code, result = command("plan", shop.order(), "--pilot")
    assert (code, result.planned) == (0, 3)
    assert result.seconds_each is not None
    assert 0 < result.seconds_each < 600
    found = shop.client.list_objects_v2(Bucket="artifacts", Prefix=shop.place)["Contents"]
    assert [each["Key"] for each in found if "/.batches/" not in each["Key"]] == []


def test_a_pilot_that_can_tune_none_says_no_seconds(command: Command, shop: Shop) -> None:
    shop.lines = [{"id": "gone", "images": ["s3://catalogue/gone.png"]}]
    code, result = command("plan", shop.order(), "--pilot")
    assert (code, result.planned, result.seconds_each) == (0, 1, None)


def test_planned_again_it_is_the_same(command: Command, shop: Shop) -> None:
    """As where the pod was killed before it was heard."""
    _, first = command("plan", shop.order())
    _, again = command("plan", shop.order())
    assert again == first


def test_planned_again_from_another_source_it_is_refused(command: Command, shop: Shop) -> None:
    command("plan", shop.order())
    del shop.lines[0]
    code, result = command("plan", shop.order())
    assert (code, result.reason) == (10, Reason.INVALID_SPEC)
    assert "expected spec.revision: 2" in result.message


def test_a_source_that_is_not_there_is_told(command: Command, shop: Shop) -> None:
    code, result = command("plan", shop.order(source={"manifest": f"s3://catalogue/{shop.place}/gone.jsonl"}))
    assert (code, result.reason) == (10, Reason.SOURCE_NOT_FOUND)


def test_the_next_pass_is_planned_from_what_the_one_before_came_to(command: Command, shop: Shop) -> None:
    passes: dict[str, Any] = {"passes": [1, 2], "retryFailed": True}
    command("plan", shop.order(**passes))
    shop.act(0)
    code, result = command("plan", shop.order(1, **passes))
    assert (code, result.reason, result.planned, result.shards) == (0, Reason.PLANNED, 3, 1)
    shard = shop.folder.read(shard_name(1, 0))
    assert shard is not None
    assert [PlannedSubject.decode(line).number for line in shard.splitlines()] == [3, 2, 1]


# Collecting.


def test_what_is_done_is_collected(command: Command, shop: Shop) -> None:
    shop.lines.append("{")
    command("plan", shop.order())
    shop.act(0)
    code, result = command("collect", shop.order())
    assert (code, result.reason, result.missing) == (0, Reason.COLLECTED, "")
    assert (result.lines, result.succeeded, result.skipped, result.failed, result.shards) == (4, 3, 0, 1, 1)
    assert result.message == "3 tuned, 0 unchanged, 1 failed of 4"
    assert [each.reason for each in result.failures] == ["InvalidLine"]
    assert [line.line for line in shop.results()] == [1, 2, 3, 4]
    page = shop.folder.read("report.html")
    assert page is not None
    assert b"shop/autumn" in page


def test_shards_that_are_missing_are_told_and_nothing_is_collected(command: Command, shop: Shop) -> None:
    shop.lines = [{"id": str(number), "images": shop.pictures[:1]} for number in range(20)]
    order = shop.order(workers={"max": 2})
    _, planned = command("plan", order)
    assert planned.shards == 5
    for shard in (0, 2):
        shop.act(shard)
    shop.act(4, first=1)
    code, result = command("collect", order)
    assert (code, result.reason, result.missing) == (0, Reason.COLLECTED, "1,3-4")
    assert result.message == "3 shards of 5 have no whole segment"
    assert shop.folder.read("results.jsonl") is None


def test_unfinished_it_is_collected_all_the_same(command: Command, shop: Shop) -> None:
    shop.lines = [{"id": str(number), "images": shop.pictures[:1]} for number in range(20)]
    order = shop.order(workers={"max": 2})
    command("plan", order)
    shop.act(0)
    code, result = command("collect", order, "--unfinished")
    assert (code, result.reason, result.missing) == (0, Reason.COLLECTED, "")
    assert (result.lines, result.succeeded, len(shop.results())) == (20, 5, 5)


def test_of_a_last_pass_that_was_not_finished_the_one_before_counts(command: Command, shop: Shop) -> None:
    passes: dict[str, Any] = {"passes": [1, 2]}
    command("plan", shop.order(**passes))
    shop.act(0)
    command("plan", shop.order(1, **passes))
    shop.act(0, which_pass=1, steps=2, first=1)
    _, result = command("collect", shop.order(**passes))
    assert result.missing == "0"
    _, result = command("collect", shop.order(**passes), "--unfinished")
    assert (result.succeeded, result.missing) == (3, "")
    assert [(line.steps, "not reached" in line.message) for line in shop.results()] == [
        (2, False),
        (2, False),
        (1, True),
    ]


def test_without_a_plan_there_is_nothing_to_collect(command: Command, shop: Shop) -> None:
    code, result = command("collect", shop.order())
    assert (code, result.reason) == (10, Reason.SOURCE_NOT_FOUND)
    assert "plan.json is gone" in result.message


@pytest.mark.parametrize(("policy", "stays"), [("Retain", True), ("Delete", False)])
def test_who_the_source_lists_no_more_goes_where_that_is_wanted(
    command: Command, shop: Shop, policy: str, stays: bool
) -> None:
    command("plan", shop.order())
    shop.act(0)
    command("collect", shop.order())
    for number in (1, 2):
        key = f"{shop.place}/shop/sku_2f{number}/{'d' * 64}/manifest.json"
        shop.client.put_object(Bucket="artifacts", Key=key, Body=b"{}")
    del shop.lines[2]
    order = shop.order(revision=2, deletionPolicy=policy)
    _, planned = command("plan", order)
    assert (planned.skipped, planned.planned, planned.removed) == (2, 0, 1)
    _, result = command("collect", order)
    assert (result.skipped, result.removed) == (2, 1)
    found = shop.client.list_objects_v2(Bucket="artifacts", Prefix=f"{shop.place}/shop/sku_2f")["Contents"]
    kept = [each["Key"].split("/")[3] for each in found]
    assert kept == (["sku_2f1", "sku_2f2"] if stays else ["sku_2f1"])


# Erasing.


def test_a_batch_is_erased_by_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = f"file://{tmp_path}/out/shop/.batches/autumn/1/{shard_name(0, 0)}"
    line = {"line": 1, "fingerprint": "f" * 64, "subject": {"id": "a", "images": ["s3://c/1.png"]}}
    LocalStore().write(books, json.dumps(line).encode(), "")
    LocalStore().write(f"file://{tmp_path}/out/shop/a/latest.json", b"{}", "")
    storage = OrderStorage(source_prefixes=[], output_prefixes=["file://"])
    order = BatchEraseOrder(namespace="shop", name="autumn", output=f"file://{tmp_path}/out", storage=storage)
    monkeypatch.setenv(ORDER_VARIABLE, order.encode())
    assert main(["erase-batch", "--termination-log", str(tmp_path / "message")]) == 0
    result = Result.decode((tmp_path / "message").read_bytes())
    assert result.reason is Reason.ERASED
    assert result.message.startswith("erased 1 objects of 1 subjects")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("text", [None, "{", '{"kind": "EraseOrder"}'])
def test_an_order_to_erase_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.delenv(ORDER_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(ORDER_VARIABLE, text)
    assert main(["erase-batch", "--termination-log", str(tmp_path / "message")]) == 12
    assert Result.decode((tmp_path / "message").read_bytes()).reason is Reason.BAD_ORDER


# All of it.


class Operator:
    """Hands out shards to whoever has the token, and releases who is done with the last one."""

    def __init__(self, shards: int, which_pass: int = 0) -> None:
        self.left = list(range(shards))
        self.which_pass = which_pass
        self.done: dict[int, tuple[int, int]] = {}
        """Of each finished shard: how many succeeded and failed."""
        self.tokens: set[str] = set()
        self.url = ""

    def answer(self, report: ShardReport) -> ShardAnswer:
        self.done |= {each.shard: (each.succeeded, each.failed) for each in report.holds if each.finished}
        shard = self.left.pop(0) if report.wants and self.left else None
        over = shard is None and not self.left and all(each.finished for each in report.holds)
        return ShardAnswer(pass_index=self.which_pass, shard=shard, release=over, pause_seconds=0.1)


@contextmanager
def listening(operator: Operator) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            report = ShardReport.decode(self.rfile.read(int(self.headers["Content-Length"])))
            operator.tokens.add(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(operator.answer(report).encode().encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/shards"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def work(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BatchResult]:
    """`likeness work`, with an operator that listens."""
    (tmp_path / "token").write_text("a token\n")
    monkeypatch.setattr(pod, "PROGRESS_TOKEN_FOLDER", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(order: BatchOrder, operator: Operator) -> BatchResult:
        with listening(operator) as url:
            monkeypatch.setenv(SHARDS_URL_VARIABLE, url)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # of a pipe: test_worker_process.py has that
                _, result = command("work", order)
                for thread in [each for each in threading.enumerate() if each.name == "listen"]:
                    thread.join()
                gc.collect()
            return result

    return run


def locally(shop: Shop, folder: Path, **fields: Any) -> list[ResultLine]:
    """The results of the same, by what `likeness run` does."""
    output = f"s3://artifacts/{shop.place}-local"
    spec = shop.spec(output, **fields)
    stores = Stores(shop.order(**fields).storage, lambda _seconds: None)
    LocalBatch("autumn", "shop", spec, shop.profile, RunContext(stores, lambda _s, _t: None, lambda: None)).run()
    home = f"{output}/shop/.batches/autumn/"
    data = BatchFolder(S3Store(shop.client, lambda _seconds: None), home, 1).read("results.jsonl")
    assert data is not None
    return [ResultLine.decode(line) for line in data.splitlines()]


def comparable(lines: list[ResultLine]) -> list[tuple[object, ...]]:
    return [(each.line, each.id, each.outcome, each.reason, each.digest, each.steps) for each in lines]


@pytest.mark.slow
def test_planned_worked_on_and_collected_it_is_what_likeness_run_makes_of_it(
    command: Command, work: Callable[..., BatchResult], shop: Shop, photo: Image.Image, tmp_path: Path
) -> None:
    shop.put_pictures(photo, tmp_path)
    gone = f"s3://catalogue/{shop.place}/gone.png"
    shop.lines += ["{", {"id": "gone", "images": [gone]}, {"id": "two", "images": shop.pictures[:2]}]
    order = shop.order(maxFailedPercent=100)
    _, planned = command("plan", order)
    operator = Operator(planned.shards)
    ended = work(order, operator)
    assert (ended.reason, ended.exit_code) == (Reason.NOTHING_LEFT, 0)
    assert operator.done == {0: (4, 1)}
    assert operator.tokens == {"Bearer a token"}
    _, collected = command("collect", order)
    assert (collected.lines, collected.succeeded, collected.failed, collected.missing) == (6, 4, 2, "")
    expected = locally(shop, tmp_path, maxFailedPercent=100)
    assert comparable(shop.results()) == comparable(expected)
    assert [line.outcome for line in expected].count(Outcome.SUCCEEDED) == 4


@pytest.mark.slow
def test_two_passes_are_what_likeness_run_makes_of_them(
    command: Command, work: Callable[..., BatchResult], shop: Shop, photo: Image.Image, tmp_path: Path
) -> None:
    shop.put_pictures(photo, tmp_path)
    passes: dict[str, Any] = {"passes": [1, 2]}
    for number in range(2):
        order = shop.order(number, **passes)
        _, planned = command("plan", order)
        operator = Operator(planned.shards, number)
        assert work(order, operator).reason is Reason.NOTHING_LEFT
        assert operator.done == {0: (3, 0)}
    _, collected = command("collect", shop.order(**passes))
    assert (collected.succeeded, collected.failed) == (3, 0)
    assert comparable(shop.results()) == comparable(locally(shop, tmp_path, **passes))
    assert {line.steps for line in shop.results()} == {2}


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_the_worker_with_its_reason(
    work: Callable[..., BatchResult], shop: Shop
) -> None:
    shop.profile = shop.profile.model_copy(
        update={"model": shop.profile.model.model_copy(update={"uri": "file:///gone"})}
    )
    ended = work(shop.order(), Operator(1))
    assert (ended.reason, ended.exit_code) == (Reason.MODEL_NOT_FOUND, 12)


@pytest.mark.slow
def test_told_to_end_the_worker_gives_back_what_it_holds(work: Callable[..., BatchResult], shop: Shop) -> None:
    """SIGTERM comes with the first report, before the model is loaded."""
    reports: list[ShardReport] = []

    class Ending(Operator):
        def answer(self, report: ShardReport) -> ShardAnswer:
            reports.append(report)
            if len(reports) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().answer(report)

    ended = work(shop.order(), Ending(5))
    assert (ended.reason, ended.exit_code) == (Reason.INTERRUPTED, 143)
    assert (reports[-1].gives_back, reports[-1].holds) == (True, [])
