"""How quick and how heavy the operator is in a burst: 1,000 Personalizations at 50 a second, on pods that kwok acts.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/bench_burst.py --count 1000 --rate 50

Any cluster that may be thrown away will do, with its audit log as a file here and `kubectl`, `helm` and `kwok` on PATH.
The operator runs here as a process with the chart's rights. "Create" is when the request is sent from here, "Job" when
the API server has made it by its audit log: both clocks have to be one.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from kube import apply, kubectl, wait_for  # noqa: E402
from outside import (  # noqa: E402
    USER,
    WRITES,
    Operator,
    acted_node,
    audited,
    create,
    install_rights,
    percentile,
    profile,
    running,
)

FORGET_SECONDS = 8.0
"""By then kopf has let go of what it was told at the start (`watch.IDLE_SECONDS`)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50, help="Personalizations a second")
    parser.add_argument("--queued", action="store_true", help="the Jobs wait for Kueue for ever: no pods, no ends")
    parser.add_argument("operator", nargs="*", help="more arguments for likeness-operator, after --")
    options = parser.parse_args()
    namespace = f"burst-{int(time.time())}"
    with tempfile.TemporaryDirectory() as folder, acted_node(HERE / "burst-stages.yaml"):
        install_rights(namespace)
        kubectl("delete", "tuningprofile", "burst", "--ignore-not-found")
        apply(profile("burst", **({"queueName": "for-ever"} if options.queued else {})))
        ends = ("Waiting",) if options.queued else ("Succeeded", "Failed")
        with running(Operator(Path(folder), *options.operator)) as operator:
            asked = asyncio.run(create(namespace, options.count, options.rate, "b", "burst"))
            every = max(2.0, options.count / 500)  # a look at very many takes the API server seconds
            wait_for("the last end", lambda: not unfinished(namespace, options.count, ends), 600, every)
            report(namespace, asked, operator)
            if options.queued:
                restart(operator, options.count)
            else:
                restart_after_the_ends(operator)
        said = operator.said("WARNING", "ERROR")
        print(f"{len(said)} warnings and errors", *said[:10], sep="\n", flush=True)
    kubectl("delete", "namespace", namespace, "--wait=false")


def unfinished(namespace: str, count: int, ends: tuple[str, ...]) -> int:
    path = '{range .items[*]}{.status.conditions[?(@.status=="True")].type}{"\\n"}{end}'
    states = kubectl("-n", namespace, "get", "pz", "-o", f"jsonpath={path}").splitlines()
    return count - sum(any(end in line for end in ends) for line in states)


def report(namespace: str, asked: dict[str, datetime], operator: Operator) -> None:
    path = '{range .items[*]}{.metadata.name} {.status.jobRef.name} {.status.conditions[0].type}{"\\n"}{end}'
    lines = [line.split() for line in kubectl("-n", namespace, "get", "pz", "-o", f"jsonpath={path}").splitlines()]
    owners = {job: name for name, job, _ in lines}
    made: dict[str, datetime] = {}
    calls: Counter[str] = Counter()
    for event in audited([namespace]):
        on, verb = event["objectRef"], event["verb"]
        if event["user"].get("username") == USER and verb != "watch":
            calls[f"{verb} {on['resource']}{'/' + on['subresource'] if 'subresource' in on else ''}"] += 1
        if (verb, on["resource"], event["responseStatus"]["code"]) == ("create", "jobs", 201):
            made[owners[on["name"]]] = datetime.fromisoformat(event["stageTimestamp"])
    count, took = len(asked), (max(asked.values()) - min(asked.values())).total_seconds()
    seconds = sorted((made[name] - asked[name]).total_seconds() for name in asked)
    writes = sum(number for call, number in calls.items() if call.split()[0] in WRITES)
    print(f"{count} created in {took:.1f} s ({count / took:.0f}/s); ends: {dict(Counter(line[2] for line in lines))}")
    middle, late = percentile(seconds, 50), percentile(seconds, 99)
    print(f"create -> Job: P50 {middle:.2f} s, P99 {late:.2f} s, max {seconds[-1]:.2f} s")
    print(f"a Personalization's life: {writes / count:.2f} writes, {calls.total() / count:.2f} calls: {dict(calls)}")
    print(
        f"operator: {operator.cpu_seconds():.1f} s of CPU, at most {operator.memory_mb():.0f} MB,"
        f" now {operator.memory_mb('VmRSS'):.0f} MB; load average of the machine {os.getloadavg()[0]:.1f}"
    )


def restart(operator: Operator, count: int) -> None:
    """With `count` live ones, each of which is reconciled once."""
    operator.kill()
    operator.start()
    operator.wait_until_ready()
    began = time.monotonic()
    wait_for(
        "a reconciliation of each one", lambda: operator.metric("likeness_reconciles_total") >= count, 900, every=5
    )
    print(
        f"after a restart: each one reconciled within {time.monotonic() - began:.0f} s,"
        f" {operator.cpu_seconds():.1f} s of CPU, at most {operator.memory_mb():.0f} MB,"
        f" now {operator.memory_mb('VmRSS'):.0f} MB"
    )


def restart_after_the_ends(operator: Operator) -> None:
    """Their Jobs and pods are there, and are listed, until their time to live is over."""
    operator.kill()
    began = time.monotonic()
    operator.start()
    operator.wait_until_ready()
    ready = time.monotonic() - began
    time.sleep(FORGET_SECONDS)
    print(
        f"after a restart, with their Jobs and pods still there: ready after {ready:.1f} s,"
        f" {operator.cpu_seconds():.1f} s of CPU, at most {operator.memory_mb():.0f} MB,"
        f" now {operator.memory_mb('VmRSS'):.0f} MB"
    )


if __name__ == "__main__":
    main()
