"""What half-open connections cost the operator: a burst of Personalizations while 10,000 of them are held, by turns at
the operator and at another process with the same limits, so that the machine is equally busy.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/bench_sockets.py --pairs 3

Any cluster that may be thrown away will do, with its audit log as a file here and `kubectl`, `helm` and `kwok` on PATH.
The operator runs here as a process with the chart's rights; connections come from as many loopback addresses as there
would be hostile pods. Each sends half a header, a byte a second, half a body or nothing, and is opened again when it is
ended.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from aiohttp import web  # noqa: E402

from kube import apply, kubectl, run, wait_for  # noqa: E402
from likeness_operator.limited_server import serve_limited  # noqa: E402
from likeness_operator.reports_server import REPORT_LIMITS  # noqa: E402
from outside import Operator, acted_node, audited, create, install_rights, percentile, profile, running  # noqa: E402

PORTS, DECOYS = (18080, 18081), (18090, 18091)
STARTS = (
    b"POST /progress HTTP/1.1\r\nHost: x\r\nAuthorization: Bear",
    b"",
    b"POST /progress HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 900\r\n\r\n{",
    b"GET /metrics HTTP/1.1\r\nX: ",
)
AGAIN_SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--addresses", type=int, default=40)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rate", type=float, default=20)
    options = parser.parse_args()
    late: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder, acted_node(HERE / "burst-stages.yaml"):
        namespaces = [f"sockets-{int(time.time())}-{number}" for number in range(2 * options.pairs)]
        for namespace in namespaces:
            install_rights(namespace)
        apply(profile("burst", queueName="for-ever"))
        arguments = (f"--progress-port={PORTS[1]}", "--progress-url=http://127.0.0.1:18081/progress")
        with running(Operator(Path(folder), *arguments, port=PORTS[0])) as operator:
            for number, namespace in enumerate(namespaces):
                attacked = number % 2 == 1
                ports = PORTS if attacked else DECOYS
                with attack(ports, options.connections, options.addresses):
                    before = operator.cpu_seconds()
                    asked = asyncio.run(create(namespace, options.count, options.rate, "s", "burst"))
                    wait_for("their Jobs", lambda: len(jobs(namespace)) >= options.count, 120, 1.0)  # noqa: B023
                    answered = probe_seconds()
                seconds = sorted((jobs(namespace)[name] - asked[name]).total_seconds() for name in asked)
                late[attacked].append(percentile(seconds, 99))
                print(
                    f"{'attacked' if attacked else 'beside it'}: create -> Job P50 {percentile(seconds, 50):.3f} s,"
                    f" P99 {late[attacked][-1]:.3f} s; {operator.cpu_seconds() - before:.1f} s of CPU; /livez in"
                    f" {answered:.2f} s; memory at most {operator.memory_mb():.0f} MB; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            ended = operator.process.poll()
        print(
            f"ends of the operator: {0 if ended is None else 1}; P99 attacked / beside it, medians: {ratio(late):.2f}"
        )
    for namespace in namespaces:
        kubectl("delete", "namespace", namespace, "--wait=false")


def ratio(late: dict[bool, list[float]]) -> float:
    return percentile(late[True], 50) / percentile(late[False], 50)


def jobs(namespace: str) -> dict[str, datetime]:
    """When the API server had made each one's Job, by the Personalization's name."""
    made = {}
    for event in audited([namespace]):
        on = event["objectRef"]
        if (event["verb"], on["resource"], event["responseStatus"]["code"]) == ("create", "jobs", 201):
            made[on["name"].rpartition("-")[0]] = datetime.fromisoformat(event["stageTimestamp"])
    return made


def probe_seconds() -> float:
    """How long the kubelet would wait for its answer."""
    began = time.monotonic()
    run("curl", "-sf", "--max-time", "10", f"http://127.0.0.1:{PORTS[0]}/livez")
    return time.monotonic() - began


@contextmanager
def attack(ports: tuple[int, int], connections: int, addresses: int) -> Iterator[None]:
    processes = [
        multiprocessing.Process(target=decoys, daemon=True),
        multiprocessing.Process(target=hold, args=(ports, connections, addresses), daemon=True),
    ]
    for process in processes:
        process.start()
    time.sleep(10)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def decoys() -> None:
    """A server like the operator's on ports of its own."""

    async def serve() -> None:
        first, second = (serve_limited(port, web.Application(), REPORT_LIMITS) for port in DECOYS)
        async with first, second:
            await asyncio.sleep(3600)

    asyncio.run(serve())


def hold(ports: tuple[int, int], connections: int, addresses: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_hold(ports, connections, addresses))


async def _hold(ports: tuple[int, int], connections: int, addresses: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(
                _one(ports[number % 2], number, f"127.0.{1 + number % addresses // 250}.{1 + number % addresses % 250}")
            )
            if number % 100 == 0:
                await asyncio.sleep(0.05)


async def _one(port: int, number: int, address: str) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            writer.write(STARTS[number % len(STARTS)])
            while not (reader.at_eof() or reader.exception() or writer.is_closing()):
                if number % 5 == 0:
                    writer.write(b"x")
                    await asyncio.sleep(1)
                else:
                    await reader.read(100)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    main()
