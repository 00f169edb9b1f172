"""The operator is killed (SIGKILL) at random moments: no Personalization in flight is lost, doubled or told wrongly.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/trial_kills.py --count 1000 --kills 240

`--node real` sends them through real pods (a shell in the image LIKENESS_TEST_OPERATOR_IMAGE), on a cluster with a real
node. Pods take their time, fail in every way and are evicted, as tests/harness/fates.py says. The next operator starts
at once, without a Lease, so that a kill costs seconds; `--operators 2` has two of them act at the same time, which is
worse than what the Lease lets happen. Prints a report as JSON; ends with 1 where anything was lost, doubled or wrong.
"""

# ruff: noqa: T201, S311 - what it prints is what it is for, and chance is no secret

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from kube import kubectl  # noqa: E402
from outside import Operator, acted_node, administrator, install_rights, percentile  # noqa: E402
from population import Population  # noqa: E402

END_SECONDS = 1200
"""At most, after the last kill, until the last Personalization has ended. On a busy machine very many are left then."""
LONGEST_LIFE_SECONDS = 4.0
START_SECONDS = 2.0
"""What an operator takes to start, more or less."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="Personalizations")
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--node", choices=["fake", "real"], default="fake")
    parser.add_argument("--operators", type=int, choices=[1, 2], default=1)
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    namespace = f"kills-{int(time.time())}"
    choice = random.Random(options.seed)
    install_rights(namespace)
    with tempfile.TemporaryDirectory() as folder:
        node = acted_node(stages(Path(folder))) if options.node == "fake" else contextlib.nullcontext()
        with node:
            population = Population(namespace, options.count, choice, acted=options.node == "fake")
            report = asyncio.run(trial(population, namespace, Path(folder), options, choice))
    kubectl("delete", "namespace", namespace, "--wait=false")
    print(json.dumps(vars(options) | report, indent=1))
    return 1 if report["lost"] or report["doubled"] or report["wrong"] else 0


async def trial(
    population: Population, namespace: str, folder: Path, options: argparse.Namespace, choice: random.Random
) -> dict[str, Any]:
    operators = [Operator(folder, "--namespace", namespace, port=18080 + n) for n in range(options.operators)]
    in_flight = []
    began = time.monotonic()
    async with administrator() as session, population.watched(session):
        for kill in range(options.kills):
            # One kill in six hits an operator that is starting, the others one that works.
            starting = choice.random() < 1 / 6
            life = choice.uniform(0, START_SECONDS) if starting else choice.uniform(0, LONGEST_LIFE_SECONDS)
            if not starting:
                await asyncio.to_thread(operators[kill % options.operators].wait_until_ready)
            before = choice.uniform(0, life)
            await asyncio.sleep(before)
            await population.create(options.count * (kill + 1) // options.kills - options.count * kill // options.kills)
            await asyncio.sleep(life - before)
            in_flight.append(population.in_flight)
            ended = operators[kill % options.operators].process.poll()
            assert ended is None, f"an operator ended by itself with {ended}"
            operators[kill % options.operators].kill()
            operators[kill % options.operators].start()
        killed = time.monotonic() - began
        await population.ended(END_SECONDS)
        verdict = await population.verdict()
    for operator in operators:
        operator.process.terminate()
        operator.process.wait()
    bugs = [line for operator in operators for line in operator.said("ERROR")]
    return verdict | {
        "in_flight_when_killed": {f"p{p}": percentile(in_flight, p) for p in (0, 10, 50, 90, 100)},
        "seconds_of_kills": round(killed),
        "errors_logged": bugs[:10],
    }


if __name__ == "__main__":
    sys.exit(main())
