"""An operator as a process outside of the cluster, with the chart's rights, and pods that kwok acts.

All of it needs `kubectl` and `helm` on PATH, `kwok` too where a node is acted, and KUBECONFIG of a disposable cluster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import kopf

from kube import apply, kubectl, run, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject

SYSTEM = "likeness-system"
USER = f"system:serviceaccount:{SYSTEM}:likeness-operator"
CHART = Path(__file__).resolve().parents[2] / "charts/likeness"
NODE = "likeness-acted"
NODE_SELECTOR = {"type": NODE}
WRITES = ("create", "update", "patch", "delete")
READY_SECONDS = 60


@contextlib.contextmanager
def acted_node(stages: Path) -> Iterator[None]:
    """A node on which kwok acts the pods as `stages` (a file of Stages) says."""
    labels = {"type": NODE, "kubernetes.io/hostname": NODE}
    apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}})
    command = ["kwok", "--config", str(stages), "--manage-nodes-with-label-selector", f"type={NODE}"]
    command += ["--kubeconfig", os.environ["KUBECONFIG"], "--server-address", "127.0.0.1:10299"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as kwok:
        try:
            kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=30s")
            yield
        finally:
            kwok.kill()


def install_rights(*namespaces: str, policies: bool = False) -> None:
    """The chart's CRDs and rights; its pods are not wanted. Makes `namespaces`.

    Without the admission policies where they are not asked for: what is tried with this stands alone, and makes
    objects that they would refuse.
    """
    for name in (SYSTEM, *namespaces):
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    sets = ("--set", "replicas=0", "--set", f"admissionPolicy.enabled={str(policies).lower()}")
    run("helm", "upgrade", "--install", "likeness", str(CHART), "--namespace", SYSTEM, *sets)
    kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/instance=likeness")


def profile(name: str, **changes: object) -> K8sObject:
    """A TuningProfile whose pods go to the acted node; `changes` replace fields of its spec."""
    spec = {
        "model": {"uri": "file:///models/none"},
        "runtime": {"image": "none:1", "nodeSelector": NODE_SELECTOR},
        "storage": {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts/{namespace}"]},
    }
    named = {"apiVersion": "likeness.dev/v1alpha1", "kind": "TuningProfile", "metadata": {"name": name}}
    return named | {"spec": spec | changes}


def personalization(namespace: str, name: str, profile: str, **changes: object) -> K8sObject:
    """A Personalization that `profile` accepts; `changes` replace fields of its spec."""
    images = {"images": [{"uri": "s3://catalogue/a.png"}]}
    spec = {"profile": profile, "subject": images, "output": f"s3://artifacts/{namespace}", **changes}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "likeness.dev/v1alpha1", "kind": "Personalization", "metadata": metadata, "spec": spec}


def url_of(kind: str, namespace: str = "", name: str = "") -> str:
    """The path of one of our kinds, by its plural."""
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/likeness.dev/v1alpha1{within}/{kind}" + (f"/{name}" if name else "")


@contextlib.asynccontextmanager
async def administrator() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the API server as KUBECONFIG's user, for paths without the host; many requests at a time."""
    login = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    assert login is not None
    connector = aiohttp.TCPConnector(ssl=login.as_ssl_context(), limit=50)
    headers = login.as_http_headers()
    async with aiohttp.ClientSession(login.server, connector=connector, headers=headers) as session:
        yield session


async def create(namespace: str, count: int, rate: float, prefix: str, profile: str) -> dict[str, datetime]:
    """Creates them evenly, each in a request of its own; returns when each one was asked for, by its name."""
    asked = {}
    async with administrator() as session:

        async def one(name: str) -> None:
            asked[name] = datetime.now(UTC)
            order = personalization(namespace, name, profile)
            async with session.post(url_of("personalizations", namespace), json=order) as answer:
                assert answer.status == 201, await answer.text()

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(f"{prefix}{number}"))
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
    return asked


def upstream() -> tuple[str, ssl.SSLContext]:
    """The API server's address and how to trust it, for a proxy before it."""
    configuration = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    cluster = configuration["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return cluster["server"], ssl.create_default_context(cadata=authority)


class Operator:
    """`likeness-operator` with a fresh token of the chart's service account; what it logs is appended to one file."""

    def __init__(self, folder: Path, *arguments: str, port: int = 18080, server: str = "") -> None:
        """`server` is where to go instead of the API server itself: a proxy's http address."""
        self.log = folder / f"operator-{port}.log"
        self.kubeconfig = folder / f"kubeconfig-{port}"
        self._port = port
        self._server = server
        self._command = [sys.executable, "-m", "likeness_operator.main", "--kubeconfig", str(self.kubeconfig)]
        self._command += [f"--probe-port={port}", "--log-format=text", *arguments]
        self.log_in(kubectl("-n", SYSTEM, "create", "token", "likeness-operator", "--duration=2h").strip())
        self.process = self.start()

    def log_in(self, token: str) -> None:
        """Has the operator find this token when it next logs in."""
        configuration = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        configuration["users"][0]["user"] = {"token": token}
        if self._server:
            configuration["clusters"][0]["cluster"] = {"server": self._server}
        written = self.kubeconfig.with_suffix(".new")
        written.write_text(json.dumps(configuration))
        written.replace(self.kubeconfig)

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log)
        return self.process

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def ready(self) -> bool:
        asked = ["curl", "-sf", f"http://127.0.0.1:{self._port}/readyz"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def wait_until_ready(self) -> None:
        wait_for("an operator that is ready", lambda: self.ready() or self.process.poll() is not None, READY_SECONDS)
        assert self.process.poll() is None, self.log.read_text()[-4000:]

    def cpu_seconds(self) -> float:
        ticks = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, field: str = "VmHWM") -> float:
        """In units of 10^6 bytes: VmHWM is the most it ever had, VmRSS what it has now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith(field))
        return int(kib) * 1024 / 1e6

    def metric(self, name: str) -> float:
        """The sum over its labels."""
        text = run("curl", "-sf", f"http://127.0.0.1:{self._port}/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))

    def said(self, *levels: str) -> list[str]:
        """The lines that it logged on these levels."""
        words = [f" {level} " for level in levels]
        return [line for line in self.log.read_text().splitlines() if any(word in line for word in words)]


@contextlib.contextmanager
def running(operator: Operator) -> Iterator[Operator]:
    """Ends it with the block."""
    try:
        operator.wait_until_ready()
        yield operator
    finally:
        operator.process.terminate()
        operator.process.wait()


def audited(namespaces: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What was asked about these namespaces and answered, by the API server's audit log, in order."""
    with Path(os.environ["LIKENESS_TEST_AUDIT_LOG"]).open() as log:
        for line in log:
            if line.endswith("\n") and any(namespace in line for namespace in namespaces):
                event: K8sObject = json.loads(line)
                if event["objectRef"].get("namespace") in namespaces and event["stage"] == "ResponseComplete":
                    yield event


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
