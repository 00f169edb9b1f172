"""How quick and how heavy the operator is in a burst: 1,000 Personalizations at 50 a second, on pods that kwok acts.

    ../shared/kube/cluster up --dir D --node fake
    ../shared/kube/cluster exec --dir D -- env LIKENESS_TEST_AUDIT_LOG=D/log/audit.log \
        .venv/bin/python tests/cluster/bench_burst.py --count 1000 --rate 50

Any cluster of yours will do that has an audit log and `kubectl`, `helm` and `kwok` on PATH. The operator runs here as a
process with the chart's rights. "Create" is when the request is sent from here, "Job" when the API server has made it
by its audit log: both clocks have to be one.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

import aiohttp  # noqa: E402
import kopf  # noqa: E402

from kube import apply, kubectl, run, wait_for  # noqa: E402

SYSTEM, USER = "likeness-system", "system:serviceaccount:likeness-system:likeness-operator"
NODE = "likeness-burst"
WRITES = ("create", "update", "patch", "delete")
Manifest = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50, help="Personalizations a second")
    parser.add_argument("--queued", action="store_true", help="the Jobs wait for Kueue for ever: no pods, no ends")
    parser.add_argument("operator", nargs="*", help="more arguments for likeness-operator, after --")
    options = parser.parse_args()
    namespace = f"burst-{int(time.time())}"
    with tempfile.TemporaryDirectory() as folder, acted_node():
        install(namespace, options.queued)
        ends = ("Waiting",) if options.queued else ("Succeeded", "Failed")
        with operator(Path(folder), options.operator) as process:
            asked = asyncio.run(create(namespace, options.count, options.rate))
            wait_for("the last end", lambda: not unfinished(namespace, options.count, ends), 300, every=2)
            report(namespace, asked, process)
    kubectl("delete", "namespace", namespace, "--wait=false")


@contextlib.contextmanager
def acted_node() -> Iterator[None]:
    """A node of kwok's on which every pod ends well after two seconds."""
    labels = {"type": NODE, "kubernetes.io/hostname": NODE}
    apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}})
    command = ["kwok", "--config", HERE / "burst-stages.yaml", "--manage-nodes-with-label-selector", f"type={NODE}"]
    command += ["--kubeconfig", os.environ["KUBECONFIG"], "--server-address", "127.0.0.1:10299"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as kwok:
        try:
            kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=30s")
            yield
        finally:
            kwok.kill()


def install(namespace: str, queued: bool) -> None:
    """The chart's CRDs and rights; its pods are not wanted."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    run("helm", "upgrade", "--install", "likeness", str(HERE.parents[1] / "charts/likeness"), "--namespace", SYSTEM)
    kubectl("-n", SYSTEM, "scale", "deployment/likeness-operator", "--replicas=0")
    kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/instance=likeness")
    kubectl("delete", "tuningprofile", "burst", "--ignore-not-found")
    apply(
        {
            "apiVersion": "likeness.dev/v1alpha1",
            "kind": "TuningProfile",
            "metadata": {"name": "burst"},
            "spec": {
                "model": {"uri": "file:///models/none"},
                "runtime": {"image": "none:1", "nodeSelector": {"type": NODE}},
                **({"queueName": "for-ever"} if queued else {}),
                "storage": {"sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts/{namespace}"]},
            },
        }
    )


@contextlib.contextmanager
def operator(folder: Path, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    token = kubectl("-n", SYSTEM, "create", "token", "likeness-operator", "--duration=1h").strip()
    configuration = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    configuration["users"][0]["user"] = {"token": token}
    (folder / "kubeconfig").write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "likeness_operator.main", "--kubeconfig", str(folder / "kubeconfig")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--probe-port=18080", "--log-format=text", *arguments], stderr=log)
    try:
        wait_for("an operator that is ready", lambda: ready() or process.poll() is not None, 60)
        assert process.poll() is None, (folder / "log").read_text()
        yield process
    finally:
        process.terminate()
        process.wait()
        said = [line for line in (folder / "log").read_text().splitlines() if " WARNING " in line or " ERROR " in line]
        print(f"{len(said)} warnings and errors", *said[:10], sep="\n", flush=True)


def ready() -> bool:
    done = subprocess.run(["curl", "-sf", "http://127.0.0.1:18080/readyz"], capture_output=True, check=False)
    return done.returncode == 0


async def create(namespace: str, count: int, rate: float) -> dict[str, datetime]:
    """Creates them evenly, each in a request of its own; returns when each one was asked for."""
    asked = {}
    login = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    assert login is not None
    url = f"{login.server}/apis/likeness.dev/v1alpha1/namespaces/{namespace}/personalizations"
    connector = aiohttp.TCPConnector(ssl=login.as_ssl_context())
    async with aiohttp.ClientSession(connector=connector, headers=login.as_http_headers()) as session:

        async def one(name: str) -> None:
            asked[name] = datetime.now(UTC)
            async with session.post(url, json=a_personalization(namespace, name)) as answer:
                assert answer.status == 201, await answer.text()

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(f"b{number}"))
                await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
    return asked


def a_personalization(namespace: str, name: str) -> Manifest:
    images = {"images": ["s3://catalogue/a.png"]}
    spec = {"profile": "burst", "subject": images, "output": f"s3://artifacts/{namespace}"}
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "Personalization",
        "metadata": {"name": name},
        "spec": spec,
    }


def unfinished(namespace: str, count: int, ends: tuple[str, ...]) -> int:
    path = '{range .items[*]}{.status.conditions[?(@.status=="True")].type}{"\\n"}{end}'
    states = kubectl("-n", namespace, "get", "pz", "-o", f"jsonpath={path}").splitlines()
    return count - sum(any(end in line for end in ends) for line in states)


def report(namespace: str, asked: dict[str, datetime], process: subprocess.Popen[bytes]) -> None:
    path = '{range .items[*]}{.metadata.name} {.status.jobRef.name} {.status.conditions[0].type}{"\\n"}{end}'
    lines = [line.split() for line in kubectl("-n", namespace, "get", "pz", "-o", f"jsonpath={path}").splitlines()]
    owners = {job: name for name, job, _ in lines}
    made: dict[str, datetime] = {}
    calls: Counter[str] = Counter()
    for event in audited(namespace):
        on, verb = event["objectRef"], event["verb"]
        if event["user"]["username"] == USER and verb != "watch":
            calls[f"{verb} {on['resource']}{'/' + on['subresource'] if 'subresource' in on else ''}"] += 1
        if (verb, on["resource"], event["responseStatus"]["code"]) == ("create", "jobs", 201):
            made[owners[on["name"]]] = datetime.fromisoformat(event["stageTimestamp"])
    count, took = len(asked), (max(asked.values()) - min(asked.values())).total_seconds()
    seconds = sorted((made[name] - asked[name]).total_seconds() for name in asked)
    writes = sum(number for call, number in calls.items() if call.split()[0] in WRITES)
    times = [int(word) for word in Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]]
    memory = dict(line.split(":") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    print(f"{count} created in {took:.1f} s ({count / took:.0f}/s); ends: {dict(Counter(line[2] for line in lines))}")
    middle, late = percentile(seconds, 50), percentile(seconds, 99)
    print(f"create -> Job: P50 {middle:.2f} s, P99 {late:.2f} s, max {seconds[-1]:.2f} s")
    print(f"a Personalization's life: {writes / count:.2f} writes, {calls.total() / count:.2f} calls: {dict(calls)}")
    print(
        f"operator: {sum(times) / os.sysconf('SC_CLK_TCK'):.1f} s of CPU, VmHWM {memory['VmHWM'].strip()},"
        f" VmRSS {memory['VmRSS'].strip()}; load average of the machine {os.getloadavg()[0]:.1f}"
    )


def audited(namespace: str) -> Iterator[Manifest]:
    with Path(os.environ["LIKENESS_TEST_AUDIT_LOG"]).open() as log:
        for line in log:
            if namespace in line:
                event: Manifest = json.loads(line)
                if event["objectRef"].get("namespace") == namespace and event["stage"] == "ResponseComplete":
                    yield event


def percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    main()
