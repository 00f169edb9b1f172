"""On a real SeaweedFS; faults by a small server that answers what we want to hear."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from likeness_api.order import OrderStorage
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage.object_store import ObjectTooLargeError
from likeness_runtime.storage.s3 import RETRY_DELAYS_SECONDS, S3Store, client_of
from seaweed import TENANT, Identity, Seaweed


def settings(endpoint: str, **more: object) -> OrderStorage:
    return OrderStorage.model_validate(
        {"endpoint": endpoint, "path_style": True, "source_prefixes": [], "output_prefixes": [], **more}
    )


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, TENANT)


def use(monkeypatch: pytest.MonkeyPatch, identity: Identity) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)


@pytest.fixture(scope="module")
def store(seaweed: Seaweed) -> S3Store:
    with pytest.MonkeyPatch.context() as patch:
        use(patch, TENANT)
        return S3Store(client_of(settings(seaweed.endpoint)), never_sleep)


def never_sleep(_seconds: float) -> None:
    raise AssertionError("nothing here is worth a second try")


def reason(caught: pytest.ExceptionInfo[RunError]) -> Reason:
    return caught.value.reason


@pytest.mark.parametrize("mode", ["WhenSupported", "WhenRequired"])
def test_what_is_written_is_read_back(seaweed: Seaweed, credentials: None, mode: str) -> None:
    store = S3Store(client_of(settings(seaweed.endpoint, checksum_mode=mode)), never_sleep)
    store.write("s3://artifacts/shop/ä b.bin", b"hello", "text/plain")
    assert store.read("s3://artifacts/shop/ä b.bin", 5) == b"hello"
    stored = seaweed.client().head_object(Bucket="artifacts", Key="shop/ä b.bin")
    assert stored["ContentType"] == "text/plain"
    assert stored["Metadata"]["sha256"].startswith("2cf24dba")


def test_only_the_first_writer_wins_where_absence_is_asked_for(store: S3Store) -> None:
    assert store.write_if_absent("s3://artifacts/race", b"first", "text/plain")
    assert not store.write_if_absent("s3://artifacts/race", b"second", "text/plain")
    version = store.version("s3://artifacts/race")
    assert version is not None
    assert store.replace("s3://artifacts/race", b"third", "text/plain", version)
    assert not store.replace("s3://artifacts/race", b"fourth", "text/plain", version)
    assert not store.replace("s3://artifacts/no-race", b"x", "text/plain", version)
    assert store.read("s3://artifacts/race", 10) == b"third"
    assert store.replace("s3://artifacts/race", b"first", "text/plain", str(store.version("s3://artifacts/race")))
    assert store.read("s3://artifacts/race", 100) == b"first"


def test_a_list_names_every_object_below(store: S3Store) -> None:
    for name in ("list/b", "list/a/c", "listed/not"):
        store.write(f"s3://artifacts/{name}", b"", "")
    assert list(store.list("s3://artifacts/list/")) == ["s3://artifacts/list/a/c", "s3://artifacts/list/b"]


def test_an_object_becomes_a_file(store: S3Store, tmp_path: Path) -> None:
    store.write("s3://artifacts/file", b"x" * 9_000_000, "")
    store.download("s3://artifacts/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"x" * 9_000_000


def test_more_than_the_limit_is_not_read(store: S3Store) -> None:
    store.write("s3://artifacts/large", b"12345", "")
    with pytest.raises(ObjectTooLargeError) as caught:
        store.read("s3://artifacts/large", 4)
    assert caught.value.size == 5


def test_a_missing_object_and_a_missing_bucket_are_told_apart(store: S3Store) -> None:
    with pytest.raises(StorageMissingError, match=r"no object 'nothing\.jpg' in bucket 'catalogue'"):
        store.read("s3://catalogue/nothing.jpg", 10)
    with pytest.raises(StorageMissingError, match="no bucket 'not-made'"):
        store.read("s3://not-made/x.jpg", 10)


def test_a_foreign_bucket_is_denied(store: S3Store) -> None:
    with pytest.raises(RunError, match="refused these credentials") as caught:
        store.read("s3://private/x", 10)
    assert reason(caught) == Reason.ACCESS_DENIED


def test_a_wrong_key_is_denied(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Identity("nobody", "nothing", ()))
    with pytest.raises(RunError) as caught:
        S3Store(client_of(settings(seaweed.endpoint)), never_sleep).read("s3://catalogue/ready", 10)
    assert reason(caught) == Reason.ACCESS_DENIED


def test_no_key_at_all_is_said(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(RunError, match="no usable credentials") as caught:
        S3Store(client_of(settings(seaweed.endpoint)), never_sleep).read("s3://catalogue/ready", 10)
    assert reason(caught) == Reason.ACCESS_DENIED


class Faulty:
    """An S3 server that answers the first requests with `faults`, then with `body`."""

    def __init__(self, faults: list[bytes], body: bytes = b"recovered") -> None:
        self.faults = faults
        self.body = body
        self.requests = 0

    def answer(self) -> bytes:
        self.requests += 1
        if self.faults:
            return self.faults.pop(0)
        return response(200, self.body)


def response(status: int, body: bytes, promised: int | None = None) -> bytes:
    length = len(body) if promised is None else promised
    return f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


def refusal(status: int, code: str) -> bytes:
    return response(status, f"<Error><Code>{code}</Code><Message>try later</Message></Error>".encode())


@contextmanager
def serving(faulty: Faulty) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(faulty.answer())
            self.close_connection = True

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


CUT = response(200, b"half", promised=100)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([refusal(503, "SlowDown")] * 3, id="throttled"),
        pytest.param([refusal(500, "InternalError")] * 2, id="internal error"),
        pytest.param([refusal(502, "BadGateway"), refusal(504, "GatewayTimeout")], id="gateway"),
        pytest.param([refusal(400, "RequestTimeout")], id="request timeout"),
        pytest.param([CUT, CUT], id="cut in the middle of the body"),
        pytest.param([b"", b""], id="closed without an answer"),
    ],
)
def test_passing_trouble_passes(credentials: None, faults: list[bytes]) -> None:
    slept: list[float] = []
    faulty = Faulty(list(faults))
    with serving(faulty) as endpoint:
        assert S3Store(client_of(settings(endpoint)), slept.append).read("s3://b-u-c/x", 100) == b"recovered"
    assert faulty.requests == len(slept) + 1 == len(faults) + 1


def test_a_racing_conditional_write_is_tried_again(credentials: None) -> None:
    slept: list[float] = []
    faulty = Faulty([refusal(409, "ConditionalRequestConflict"), refusal(412, "PreconditionFailed")])
    with serving(faulty) as endpoint:
        assert not S3Store(client_of(settings(endpoint)), slept.append).write_if_absent("s3://b-u-c/x", b"", "")
    assert len(slept) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refusal(503, "SlowDown"), Reason.STORAGE_THROTTLED),
        (refusal(500, "InternalError"), Reason.STORAGE_UNAVAILABLE),
        (CUT, Reason.STORAGE_UNAVAILABLE),
    ],
)
def test_lasting_trouble_ends_the_pod_for_a_retry(credentials: None, fault: bytes, expected: Reason) -> None:
    slept: list[float] = []
    with serving(Faulty([fault] * 100)) as endpoint, pytest.raises(RunError) as caught:
        S3Store(client_of(settings(endpoint)), slept.append).read("s3://b-u-c/x", 100)
    assert reason(caught) == expected
    assert len(slept) == len(RETRY_DELAYS_SECONDS)
    assert 45 < sum(slept) < 95


def test_nobody_listening_is_passing_trouble(credentials: None) -> None:
    with serving(Faulty([])) as endpoint:
        pass
    with pytest.raises(RunError) as caught:
        S3Store(client_of(settings(endpoint)), lambda _seconds: None).read("s3://b-u-c/x", 100)
    assert reason(caught) == Reason.STORAGE_UNAVAILABLE


def test_a_run_that_is_told_to_end_does_not_wait_for_the_storage(credentials: None) -> None:
    from likeness_runtime.failure import InterruptedRunError
    from likeness_runtime.order.stop import Stop

    stop = Stop()
    stop.requested = True
    with serving(Faulty([refusal(503, "SlowDown")] * 9)) as endpoint, pytest.raises(InterruptedRunError):
        S3Store(client_of(settings(endpoint)), stop.sleep).read("s3://b-u-c/x", 100)


@pytest.mark.slow
def test_an_outage_of_the_server_passes(tmp_path: Path, credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Seaweed(tmp_path)
    server.start()
    store = S3Store(client_of(settings(server.endpoint)), lambda _seconds: server.start())
    store.write("s3://artifacts/x", b"kept", "")
    server.kill()
    assert store.read("s3://artifacts/x", 100) == b"kept"
    server.kill()
