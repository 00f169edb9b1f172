"""What the cluster tests stand on: a disposable cluster, the chart on it, an S3 server that pods reach, a small model.

`tests/cluster/run` (`make cluster-test`) brings the cluster and the images and sets the variables read here.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kube import RESTRICTED, apply, diagnosis, kubectl, missing_programs, run
from seaweed import TENANT, Seaweed
from shop import MODEL_PREFIX, SECRET, SHOP, SYSTEM, install_chart, profile

HOW = (
    "no disposable cluster; with kind: kind create cluster, then KUBECONFIG=... LIKENESS_TEST_HOST=... "
    "LIKENESS_TEST_LOAD_IMAGE='kind load docker-image' tests/cluster/run, whose first lines say the rest"
)
figures: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in this folder needs a cluster; what judges all the others comes after them."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "cluster" in getattr(item, "fixturenames", ()):
        report.sections.append(("the cluster", diagnosis([SHOP, SYSTEM])))
    return report


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a measured sentence for the end of the report."""
    return lambda sentence: figures.append(f"{request.node.name}: {sentence}")


@pytest.fixture(scope="session")
def cluster() -> None:
    if not (os.environ.get("KUBECONFIG") and os.environ.get("LIKENESS_TEST_OPERATOR_IMAGE")):
        pytest.skip(HOW)
    assert not missing_programs(), f"{missing_programs()} not on PATH"


@pytest.fixture(scope="session")
def storage(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """SeaweedFS outside the cluster, under the name `s3.storage.svc` inside it, as the examples expect."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"), os.environ["LIKENESS_TEST_HOST"])
    server.start()
    port = int(server.endpoint.rpartition(":")[2])
    ports = [{"name": "s3", "port": 8333, "targetPort": port}]
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "storage"}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s3", "namespace": "storage"},
            "spec": {"ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "s3", "namespace": "storage", "labels": {"kubernetes.io/service-name": "s3"}},
            "addressType": "IPv4",
            "ports": [{"name": "s3", "port": port}],
            "endpoints": [{"addresses": [server.host]}],
        },
    )
    yield server
    server.kill()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small random pipeline in diffusers layout."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    run(str(Path(sys.executable).parent / "likeness"), "tiny-model", str(folder))
    return folder


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A JPEG with a camera's statistics: a lit, coloured shape on a gradient, with grain."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:240, 0:320]
    picture = np.stack([90 + x / 3, 120 + y / 4, 160 - x / 5], axis=-1)
    inside = ((x - 170) / 80) ** 2 + ((y - 120) / 60) ** 2 < 1
    picture[inside] = np.stack([220 - y / 3, 60 + x / 8, 40 + y / 9], axis=-1)[inside]
    picture += random.normal(0, 6, picture.shape)
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def release(cluster: None) -> str:
    """The chart as users install it, in a namespace that enforces the restricted Pod Security level."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": RESTRICTED}})
    install_chart()
    return "likeness"


@pytest.fixture(scope="session")
def shop(release: str, storage: Seaweed, model: Path, photograph: bytes) -> str:
    """A tenant's namespace: restricted Pod Security, its storage keys, its picture, the profile `tiny`."""
    kubectl("delete", "namespace", SHOP, "--ignore-not-found")  # what an earlier run left on this cluster
    storage.upload(model, "models", MODEL_PREFIX)
    storage.client().put_object(Bucket="catalogue", Key="teapot/00.jpg", Body=photograph)
    keys = {"AWS_ACCESS_KEY_ID": TENANT.access_key, "AWS_SECRET_ACCESS_KEY": TENANT.secret_key}
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": RESTRICTED}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": SHOP},
            "data": {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()},
        },
        profile("tiny"),
    )
    return SHOP
