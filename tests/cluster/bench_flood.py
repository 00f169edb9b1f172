"""What one tenant's flood costs another: the operator's memory, its ends, and how long the other waits for a Job.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/bench_flood.py --floods large,many

Any cluster that may be thrown away will do, with its audit log as a file here and `kubectl`, `helm` and `kwok` on PATH.
The operator runs here as a process with the chart's rights; one that takes more memory than its limit is killed and
started again, as the kubelet would. The flood comes from a service account that may create, and nothing else:

    large   the largest objects that the API server takes, by long labels
    many    objects of 20 kB that are valid
    held    the largest objects that the chart's admission policies let through
    dense   few of the largest, by as many short labels as fit: they take the most memory once they are read
    parts   Jobs and pods that carry our labels, with an annotation of 20 kB each

Beside each flood another namespace gets its own Personalizations at a modest rate; so it does once more after the
operator was killed, with all of the flood still there. "Create" and "Job" are as in bench_burst.py. A watch of the
other namespace, by an administrator who does nothing else, shows how much of that time the API server itself takes.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from kube import apply, kubectl, wait_for  # noqa: E402
from likeness_operator.kubernetes.k8s_object import K8sObject  # noqa: E402
from outside import (  # noqa: E402
    Operator,
    acted_node,
    administrator,
    audited,
    create,
    install_rights,
    percentile,
    personalization,
    profile,
    running,
    url_of,
)

COUNTS = {"large": 1200, "held": 1200, "many": 10_000, "dense": 60, "parts": 10_000}
AT_ONCE = 20
"""Requests of the flood at a time."""
HEAD_START_SECONDS = 5.0
AGAIN = 10
"""Personalizations of the other namespace after the operator was killed."""
GIVE_UP_SECONDS = 120.0
"""A Job that has not come by then counts with this time."""
PLACE = "name-of-one"
NO_LIMIT = aiohttp.ClientTimeout(total=None)
DENSE_LABELS, LONG_LABELS = 60_000, 4_000
"""More than the API server takes; lowered until it does."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floods", default="large,many", help=f"some of {', '.join(COUNTS)}")
    parser.add_argument("--count", type=int, help="objects of each flood, where not as many as is usual")
    parser.add_argument("--flood-rate", type=float, help="objects a second; as many as the API server takes without it")
    parser.add_argument("--others", type=int, default=50, help="Personalizations of the other namespace")
    parser.add_argument("--rate", type=float, default=2.0, help="of these a second")
    parser.add_argument("--limit-mib", type=float, default=256, help="the operator's memory limit")
    parser.add_argument("operator", nargs="*", help="more arguments for likeness-operator, after --")
    options = parser.parse_args()
    for flood in options.floods.split(","):
        with tempfile.TemporaryDirectory() as folder, acted_node(HERE / "burst-stages.yaml"):
            bench(flood, Path(folder), options)


def bench(flood: str, folder: Path, options: argparse.Namespace) -> None:
    tenant, other = f"{flood}-{int(time.time())}", f"zother-{flood}-{int(time.time())}"
    install_rights(tenant, other, policies=flood == "held")
    kubectl("delete", "tuningprofile", "flood", "--ignore-not-found")
    apply(profile("flood"), *rights(tenant))
    count = options.count or COUNTS[flood]
    with running(Operator(folder, *options.operator)) as operator, limited(operator, options.limit_mib) as limit:
        made, asked, told = asyncio.run(both(flood, tenant, count, other, options))
        report(f"{flood}: {made}", other, asked, told, limit)
        limit.restart()
        ready_after = wait_until_ready(operator)
        asked, told = asyncio.run(watched(other, create(other, AGAIN, options.rate, "after", "flood")))
        report(f"{flood}, after a restart (ready after {ready_after:.1f} s)", other, asked, told, limit)
        said = operator.said("WARNING", "ERROR")
        print(f"{len(said)} warnings and errors", *said[:5], sep="\n", flush=True)
    for namespace in (tenant, other):
        kubectl("delete", "namespace", namespace, "--wait=false")


def rights(namespace: str) -> list[K8sObject]:
    """A service account that may create what the floods are made of."""
    meta = {"name": "tenant", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["likeness.dev"], "resources": ["personalizations"], "verbs": ["create"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
    ]
    subject = {"kind": "ServiceAccount", **meta}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "tenant"},
            "subjects": [subject],
        },
    ]


async def both(
    flood: str, tenant: str, count: int, other: str, options: argparse.Namespace
) -> tuple[str, dict[str, datetime], dict[str, float]]:
    """Floods one namespace and creates in the other; returns what was made, and when the others were asked for."""
    token = kubectl("-n", tenant, "create", "token", "tenant", "--duration=2h").strip()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:  # it takes all of an event loop
        flooding = asyncio.get_running_loop().run_in_executor(
            elsewhere, flood_with, token, flood, tenant, count, options.flood_rate
        )
        await asyncio.sleep(HEAD_START_SECONDS)
        asked, told = await watched(other, create(other, options.others, options.rate, "beside", "flood"))
        still = "" if flooding.done() else ", still going on when the last of the others was created"
        return await flooding + still, asked, told


def flood_with(token: str, flood: str, namespace: str, count: int, rate: float | None) -> str:
    """In a process of its own; returns what was made."""

    async def go() -> str:
        async with administrator() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            session.headers["Content-Type"] = "application/json"
            return await pour(session, flood, namespace, count, rate)

    return asyncio.run(go())


async def watched(
    namespace: str, creating: Coroutine[Any, Any, dict[str, datetime]]
) -> tuple[dict[str, datetime], dict[str, float]]:
    """When each was asked for, and how many seconds later a watch told of it."""
    seen: dict[str | None, datetime] = {}

    async def look() -> None:
        query = {"watch": "true", "timeoutSeconds": "600"}
        async with administrator() as session:
            while True:  # it may break, or be refused for a moment
                async with session.get(url_of("personalizations", namespace), params=query, timeout=NO_LIMIT) as answer:
                    async for line in answer.content:
                        seen.setdefault(
                            json.loads(line).get("object", {}).get("metadata", {}).get("name"), datetime.now(UTC)
                        )
                await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    asked = await creating
    end = time.monotonic() + GIVE_UP_SECONDS
    while asked.keys() - seen.keys() and time.monotonic() < end:
        await asyncio.sleep(0.1)
    looking.cancel()
    return asked, {name: (seen[name] - moment).total_seconds() for name, moment in asked.items() if name in seen}


async def pour(session: aiohttp.ClientSession, flood: str, namespace: str, count: int, rate: float | None) -> str:
    """Makes the flood, at this rate or as fast as the API server takes it."""
    numbers, began, refused = iter(range(count)), time.monotonic(), 0
    labels = await most_labels(session, flood, namespace) if flood in ("large", "dense") else 0
    bodies = [(path, json.dumps(manifest)) for path, manifest in drop(flood, namespace, PLACE, labels)]

    async def some() -> None:
        nonlocal refused
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()) if rate else 0.0)
            for path, body in bodies:
                async with session.post(path, data=body.replace(PLACE, f"f{number}")) as answer:
                    refused += answer.status != 201

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    seconds = time.monotonic() - began
    return f"{count} in {seconds:.0f} s, {refused} of them refused" + (f", with {labels} labels each" if labels else "")


async def most_labels(session: aiohttp.ClientSession, flood: str, namespace: str) -> int:
    count = DENSE_LABELS if flood == "dense" else LONG_LABELS
    for number in itertools.count():
        ((path, manifest),) = drop(flood, namespace, f"try{number}", count)
        async with session.post(path, data=json.dumps(manifest)) as answer:
            if answer.status == 201:
                return count
        count = count * 97 // 100
    raise AssertionError


def drop(flood: str, namespace: str, name: str, labels: int) -> list[tuple[str, K8sObject]]:
    """What is created, and where: one object of a flood, of Jobs and pods one of each."""
    if flood == "parts":
        return parts(namespace, name)
    order = personalization(namespace, name, "there-is-none")
    if flood == "many":
        order["spec"]["previews"] = [{"prompt": "🫖" * 600}] * 8
    elif flood == "held":
        order["spec"]["previews"] = [{"prompt": "🫖" * 1024}] * 8
        order["spec"]["subject"]["images"] = [
            {"uri": "s3://catalogue/" + "🫖" * 1000, "caption": "{token}" + "🫖" * 500}
        ] * 8
        order["metadata"]["annotations"] = {"a": "🫖" * 32_760}
        order["metadata"]["labels"] = {f"{i:0>63}": "b" * 63 for i in range(64)}
    elif flood == "large":
        order["metadata"]["labels"] = {f"{i:0>253}.{'a' * 62}"[-253:] + f"/{i:0>63}": "b" * 63 for i in range(labels)}
    else:
        order["metadata"]["labels"] = {f"{i:x}": "" for i in range(labels)}
    return [(url_of("personalizations", namespace), order)]


def parts(namespace: str, name: str) -> list[tuple[str, K8sObject]]:
    """A Job that never starts, with an object of its own by its label, and a pod that is another one's, as all are."""
    labels = {"app.kubernetes.io/managed-by": "likeness", "likeness.dev/personalization": name}
    labels |= {"likeness.dev/profile": name, "app.kubernetes.io/component": "tuner"}
    metadata = {"name": name, "labels": labels, "annotations": {"likeness.dev/token": "t" * 20_000}}
    pod = {"containers": [{"name": "tuner", "image": "none:1"}], "schedulerName": "nobody", "restartPolicy": "Never"}
    one = labels | {"likeness.dev/personalization": "one"}
    job = {"suspend": True, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return [
        (f"/apis/batch/v1/namespaces/{namespace}/jobs", {"metadata": metadata, "spec": job}),
        (f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata | {"labels": one}, "spec": pod}),
    ]


class Limit:
    """Kills an operator that takes more memory than it may, and starts it again, whatever it ended by."""

    def __init__(self, operator: Operator, limit_mib: float) -> None:
        self._operator = operator
        self._limit_mb = limit_mib * 1024**2 / 1e6
        self.most_mb = 0.0
        """The most that it ever had since this was last set to zero."""
        self.ends = 0
        self.over = threading.Event()
        self._held = threading.Lock()

    def hold(self) -> None:
        while not self.over.wait(0.05):
            with self._held:
                self._look()

    def restart(self) -> None:
        with self._held:
            self._operator.kill()
            self._operator.start()

    def cpu_seconds(self) -> float:
        """Of the process that runs now."""
        with self._held:
            return self._operator.cpu_seconds()

    def _look(self) -> None:
        with contextlib.suppress(OSError, StopIteration):  # it may just have ended
            self.most_mb = max(self.most_mb, self._operator.memory_mb())
            if self._operator.memory_mb("VmRSS") > self._limit_mb:
                self._operator.kill()
        if self._operator.process.poll() is not None:
            self.ends += 1
            self._operator.start()


@contextlib.contextmanager
def limited(operator: Operator, limit_mib: float) -> Iterator[Limit]:
    limit = Limit(operator, limit_mib)
    thread = threading.Thread(target=limit.hold)
    thread.start()
    try:
        yield limit
    finally:
        limit.over.set()
        thread.join()


def wait_until_ready(operator: Operator) -> float:
    began = time.monotonic()
    wait_for("an operator that is ready", operator.ready, 300, every=0.1)
    return time.monotonic() - began


def report(what: str, other: str, asked: dict[str, datetime], told: dict[str, float], limit: Limit) -> None:
    """Once they all have a Job, or had the time to get one."""
    with contextlib.suppress(AssertionError):
        wait_for("their Jobs", lambda: len(seconds_to_job(other, asked)) >= len(asked), GIVE_UP_SECONDS, every=2)
    found = seconds_to_job(other, asked)
    seconds = [found.get(name, GIVE_UP_SECONDS) for name in asked]
    print(what, f"(load average {os.getloadavg()[0]:.1f})")
    print(f"  restarts: {limit.ends}; operator at most {limit.most_mb:.0f} MB, {limit.cpu_seconds():.1f} s of CPU")
    print(f"  the other's {len(asked)}: create -> Job {spread(seconds)}; without a Job {len(asked) - len(found)}")
    print(f"  a watch told of them after {spread([told.get(name, GIVE_UP_SECONDS) for name in asked])}", flush=True)
    limit.ends, limit.most_mb = 0, 0.0


def spread(seconds: list[float]) -> str:
    return f"P50 {percentile(seconds, 50):.2f} s, P99 {percentile(seconds, 99):.2f} s"


def seconds_to_job(namespace: str, asked: dict[str, datetime]) -> dict[str, float]:
    """Of each that has a Job: the first one that was made for it, by the audit log."""
    found: dict[str, float] = {}
    for event in audited([namespace]):
        on = event["objectRef"]
        if (event["verb"], on["resource"], event["responseStatus"]["code"]) != ("create", "jobs", 201):
            continue
        for name, moment in asked.items():
            if on["name"].startswith(f"{name}-") and name not in found:
                found[name] = (datetime.fromisoformat(event["stageTimestamp"]) - moment).total_seconds()
    return found


if __name__ == "__main__":
    main()
