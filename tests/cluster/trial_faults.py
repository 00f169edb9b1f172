"""An API server in trouble between the operator and its Personalizations: none lost, doubled or told wrongly.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/trial_faults.py --count 600 --share 0.15

Of all requests, `--share` is answered with 409, 429 with Retry-After, 500, nothing at all, or done and yet answered
like that; four in ten lists and watches meet a fault too, 410 among them, each kind once before any comes again; every
watch breaks within 20 s. After a third of the time the operator's token is made invalid, and another one lies in its
kubeconfig; after two thirds there is no API server for 20 s. A process that ends is started again after two seconds, as
a kubelet would. Prints a report as JSON; ends with 1 where anything was lost, doubled or wrong.
"""

# ruff: noqa: T201, S311 - what it prints is what it is for, and chance is no secret

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

from fates import stages  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from kube import kubectl  # noqa: E402
from outside import SYSTEM, Operator, acted_node, administrator, install_rights, upstream  # noqa: E402
from population import Population  # noqa: E402

OUTAGE_SECONDS = 20
RESTART_SECONDS = 2.0
END_SECONDS = 300
STEP_SECONDS = 0.5
BOUND_TO = "operator-token"
"""A Secret: a token that is bound to it is as good as expired when it is deleted."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="Personalizations")
    parser.add_argument("--seconds", type=float, default=180, help="in which they are created")
    parser.add_argument("--share", type=float, default=0.15, help="of requests that meet a fault")
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    namespace = f"faults-{int(time.time())}"
    choice = random.Random(options.seed)
    install_rights(namespace)
    proxy = FaultyProxy(*upstream(), choice=random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder, acted_node(stages(Path(folder))), proxy.serving():
        population = Population(namespace, options.count, choice, acted=True)
        report = asyncio.run(trial(population, namespace, Path(folder), options, proxy))
    kubectl("delete", "namespace", namespace, "--wait=false")
    print(json.dumps(vars(options) | report, indent=1))
    return 1 if report["lost"] or report["doubled"] or report["wrong"] else 0


async def trial(
    population: Population, namespace: str, folder: Path, options: argparse.Namespace, proxy: FaultyProxy
) -> dict[str, Any]:
    operator = Operator(folder, "--namespace", namespace, server=proxy.url)
    kubectl("-n", SYSTEM, "delete", "secret", BOUND_TO, "--ignore-not-found")
    kubectl("-n", SYSTEM, "create", "secret", "generic", BOUND_TO)
    operator.log_in(token("--bound-object-kind=Secret", f"--bound-object-name={BOUND_TO}"))
    operator.kill()
    operator.start()
    operator.wait_until_ready()
    ends: list[int] = []
    kubelet = asyncio.create_task(restarted(operator, ends))
    proxy.share = options.share
    async with administrator() as session, population.watched(session):
        await created(population, options.seconds / 3, options.count // 3)
        operator.log_in(token())
        kubectl("-n", SYSTEM, "delete", "secret", BOUND_TO)
        await created(population, options.seconds / 3, options.count // 3)
        proxy.outage = True
        await asyncio.gather(asyncio.sleep(OUTAGE_SECONDS), created(population, OUTAGE_SECONDS, options.count // 10))
        proxy.outage, back = False, time.monotonic()
        while proxy.answered_at < back:
            await asyncio.sleep(0.1)
        recovered = proxy.answered_at - back
        await created(population, options.seconds / 3, options.count)
        await population.ended(END_SECONDS)
        verdict = await population.verdict()
    kubelet.cancel()
    operator.process.terminate()
    operator.process.wait()
    return verdict | {
        "faults": dict(proxy.faults.most_common()),
        "faults_never_met": proxy.never_met,
        "process_ended_by_itself_with": ends,
        "logged_in_again": operator.log.read_text().count("logging in again"),
        "seconds_from_the_outages_end_to_a_write": round(recovered, 1),
        "bugs_logged": [line for line in operator.said("ERROR") if "a bug" in line][:10],
    }


def token(*arguments: str) -> str:
    return kubectl("-n", SYSTEM, "create", "token", "likeness-operator", "--duration=2h", *arguments).strip()


async def created(population: Population, seconds: float, count: int) -> None:
    """`count` more of them, or all there are, evenly over the time."""
    steps = max(1, round(seconds / STEP_SECONDS))
    for step in range(steps):
        await population.create(count * (step + 1) // steps - count * step // steps)
        await asyncio.sleep(STEP_SECONDS)


async def restarted(operator: Operator, ends: list[int]) -> None:
    """What a kubelet does: starts the process again when it ended."""
    while True:
        await asyncio.sleep(STEP_SECONDS)
        code = operator.process.poll()
        if code is not None:
            ends.append(code)
            await asyncio.sleep(RESTART_SECONDS)
            operator.start()


if __name__ == "__main__":
    sys.exit(main())
