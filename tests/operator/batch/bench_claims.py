"""Many workers of a batch ask for a shard at the same moment: how long each one waits for its answer.

    .venv/bin/python tests/operator/batch/bench_claims.py --workers 200 1000

The real server with its limits, ledger and token reviews, before a stub of the API server that answers a review after
5 ms; workers connect from an address each, in a process of their own, all at once. Three rounds: the first, where no
token is known, and two more. Prints JSON, in milliseconds.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import kopf

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "harness"), str(HERE.parents[2])]

from tests.operator.batch.batch_given import BATCH, a_manifest, a_status  # noqa: E402
from tests.operator.batch.test_shards_endpoint import Scene, of_pod  # noqa: E402

from api_stub import ApiStub  # noqa: E402
from likeness_api.personalization_batch import Shards  # noqa: E402
from likeness_operator.batch.facts import BATCH_KIND  # noqa: E402
from likeness_operator.batch.job import JobPlace, Role  # noqa: E402
from likeness_operator.kubernetes.api_server import ApiServer  # noqa: E402
from likeness_operator.kubernetes.token_bucket import TokenBucket  # noqa: E402
from likeness_operator.limited_server import serve_limited  # noqa: E402
from likeness_operator.reports_server import REPORT_LIMITS  # noqa: E402
from outside import percentile  # noqa: E402

PORT = 18098
ROUNDS = 3
REVIEW_SECONDS = 0.005


async def ask(workers: int) -> list[list[float]]:
    """In a process of its own: seconds of each worker in each round, tried again where it was not answered."""

    async def one(number: int) -> float:
        began = time.perf_counter()
        while not await answered(number):
            await asyncio.sleep(0.2)
        return time.perf_counter() - began

    told = []
    for _ in range(ROUNDS):
        told.append(await asyncio.gather(*(one(number) for number in range(workers))))
        await asyncio.sleep(0.5)
    return told


async def answered(number: int) -> bool:
    """Whether a shard was asked for with success, from the worker's own address."""
    body = json.dumps({"batch": BATCH, "revision": 1, "wants": True}).encode()
    head = [
        "POST /shards HTTP/1.1", "Host: x", f"Authorization: Bearer token-{number}", "Connection: close",
        "Content-Type: application/json", f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT, local_addr=source)
        writer.write("\r\n".join(head).encode() + body)
        answer = await reader.read()
        writer.close()
    except OSError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


async def ticks(scene: Scene) -> None:
    """The scene's clock stands still otherwise."""
    began, first = time.monotonic(), scene.now
    while True:
        scene.now = first + time.monotonic() - began
        await asyncio.sleep(0.01)


async def bench(workers: int) -> list[dict[str, float]]:
    server = ApiStub()
    async with server.serving():
        api = ApiServer(lambda: kopf.ConnectionInfo(server=server.url), TokenBucket(1000, 2000, time.monotonic))
        scene = Scene(server, api)
        review = api.review_token

        async def slowly(token: str, audience: str) -> object:
            await asyncio.sleep(REVIEW_SECONDS)
            return await review(token, audience)

        api.review_token = slowly  # type: ignore[method-assign, assignment]
        shards = Shards(total=100_000)
        scene.cache.saw_object(BATCH_KIND, a_manifest(status=a_status(shards=shards)), "ADDED")
        for number in range(workers):
            server.tokens[f"token-{number}"] = of_pod(f"pod-{number}")
            scene.job(JobPlace(Role.WORKER, number), f"job-{number}")
            scene.pod(f"pod-{number}", f"job-{number}")
        scene.hands_out(status=a_status(shards=shards), wanted=workers)
        ticking = asyncio.create_task(ticks(scene))
        async with serve_limited(PORT, scene.served, REPORT_LIMITS, 1.0):
            asking = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--ask", "--workers", str(workers), stdout=asyncio.subprocess.PIPE
            )
            told, _ = await asking.communicate()
        ticking.cancel()
        await api.close()
    return [
        {f"p{percent}": round(1000 * percentile(seconds, percent), 1) for percent in (50, 99, 100)}
        for seconds in json.loads(told)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[200])
    parser.add_argument("--ask", action="store_true", help="what the workers' process is started with")
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(asyncio.run(ask(options.workers[0]))))
    else:
        print(json.dumps({workers: asyncio.run(bench(workers)) for workers in options.workers}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
