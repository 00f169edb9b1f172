"""What 50,000 finished Personalizations add to a restart of the operator: memory, and seconds until it acts.

    KUBECONFIG=... .venv/bin/python tests/cluster/bench_finished.py --count 50000

The operator brings one to its end, the others get its status from here. Each restart finds a new Personalization too,
which is the last one of every list; the operator acts when that one has a Job. With `--policy Delete` the finished ones
are those whose deletion must not be missed: the operator lists and watches them. Their namespace is left as it is.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from kube import apply, fetch, true_conditions, wait_for  # noqa: E402
from likeness_operator.kubernetes.k8s_object import K8sObject  # noqa: E402
from likeness_operator.kubernetes.label import FINALIZER  # noqa: E402
from outside import (  # noqa: E402
    Operator,
    acted_node,
    administrator,
    install_rights,
    personalization,
    profile,
    running,
    url_of,
)

RESTARTS = 3
AT_ONCE = 50
"""Requests of ours."""
FORGET_SECONDS = 8.0
"""By then kopf has let go of what it was told at the start (`watch.IDLE_SECONDS`)."""
numbers = count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--policy", choices=["Retain", "Delete"], default="Retain", help="deletionPolicy")
    options = parser.parse_args()
    namespace = f"finished-{int(time.time())}"
    with tempfile.TemporaryDirectory() as folder, acted_node(HERE / "burst-stages.yaml"):
        install_rights(namespace)
        apply(profile("finished"))
        ended = end_one(Path(folder), namespace, options.policy)
        without = [restart(Path(folder), namespace) for _ in range(RESTARTS)]
        began = time.monotonic()
        asyncio.run(finish(namespace, options.count, ended))
        print(f"{options.count} finished ones made in {time.monotonic() - began:.0f} s", flush=True)
        with_them = [restart(Path(folder), namespace) for _ in range(RESTARTS)]
    for figure in without[0]:
        before, after = (median(each[figure] for each in restarts) for restarts in (without, with_them))
        print(f"{figure}: {before:.1f} without, {after:.1f} with, {after - before:+.1f} (medians of {RESTARTS})")
    print(f"load average of the machine {os.getloadavg()[0]:.1f}")


def end_one(folder: Path, namespace: str, policy: str) -> K8sObject:
    """A Personalization that the operator has brought to its end."""
    apply(personalization(namespace, "the-first", "finished", deletionPolicy=policy))
    with running(Operator(folder)):
        return wait_for("its end", lambda: _succeeded(namespace, "the-first"), 120)


def restart(folder: Path, namespace: str) -> dict[str, float]:
    name = f"zz-{next(numbers)}"
    apply(personalization(namespace, name, "finished"))
    began = time.monotonic()
    with running(Operator(folder)) as operator:
        ready = time.monotonic() - began
        wait_for("a Job", lambda: _has_a_job(namespace, name), 300, every=0.1)
        acted = time.monotonic() - began
        time.sleep(FORGET_SECONDS)
        wait_for("its end", lambda: _succeeded(namespace, name), 60)
        return {
            "MB at most": operator.memory_mb(),
            "MB then": operator.memory_mb("VmRSS"),
            "s until ready": ready,
            "s until it acts": acted,
            "s of CPU": operator.cpu_seconds(),
        }


async def finish(namespace: str, count: int, like: K8sObject) -> None:
    """Creates `count` of them, with the spec and the status of `like`."""
    slots = asyncio.Semaphore(AT_ONCE)
    finalizers = [FINALIZER] if FINALIZER in like["metadata"].get("finalizers", []) else []
    async with administrator() as session:

        async def one(number: int) -> None:
            asked = {field: like[field] for field in ("apiVersion", "kind", "spec")}
            asked["metadata"] = {"name": f"finished-{number}", "finalizers": finalizers}
            async with session.post(url_of("personalizations", namespace), json=asked) as answer:
                assert answer.status == 201, await answer.text()
                made = await answer.json()
            path = url_of("personalizations", namespace, made["metadata"]["name"])
            async with session.put(f"{path}/status", json=made | {"status": like["status"]}) as answer:
                assert answer.status == 200, await answer.text()
            slots.release()

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await slots.acquire()
                group.create_task(one(number))


def _has_a_job(namespace: str, name: str) -> bool:
    return "jobRef" in _read(namespace, name).get("status", {})


def _succeeded(namespace: str, name: str) -> K8sObject | None:
    found = _read(namespace, name)
    return found if "Succeeded" in true_conditions(found) else None


def _read(namespace: str, name: str) -> K8sObject:
    found = fetch("pz", name, namespace)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
