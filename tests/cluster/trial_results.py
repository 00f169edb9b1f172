"""Hostile results against a real API server: whatever a pod leaves behind, the status that comes of it is taken.

    KUBECONFIG=... .venv/bin/python tests/cluster/trial_results.py --count 5000

Any cluster that may be thrown away will do, with `kubectl` and `helm` on PATH. Each status is sent as the operator
sends it, but with dryRun. Ends with 1 where one was refused, or says what was not ordered.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))


from given import NAME, NAMESPACE, SPEC, a_job, a_pod, an_observation, reconcile  # noqa: E402
from hostile import GOOD, believed, hostile_messages  # noqa: E402
from likeness_operator.kubernetes.k8s_object import K8sObject  # noqa: E402
from outside import administrator, install_rights, url_of  # noqa: E402

AT_ONCE = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=16)
    options = parser.parse_args()
    install_rights(NAMESPACE)
    return asyncio.run(trial(options.count, options.seed))


async def trial(count: int, seed: int) -> int:
    ends: Counter[str] = Counter()
    refused: list[str] = []
    wrong: list[str] = []
    async with administrator() as session:
        metadata = {"name": NAME, "namespace": NAMESPACE}
        subject = {"apiVersion": "likeness.dev/v1alpha1", "kind": "Personalization", "metadata": metadata, "spec": SPEC}
        async with session.post(url_of("personalizations", NAMESPACE), json=subject) as answer:
            assert answer.status in (201, 409), await answer.text()
        async with session.get(url_of("personalizations", NAMESPACE, NAME)) as answer:
            there: K8sObject = await answer.json()
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(message: str) -> None:
            decision = reconcile(an_observation(None, a_job("Complete"), a_pod(exit_code=0, message=message)))
            assert decision.status is not None
            status = {field: value for field, value in decision.status.to_json().items() if value != []}
            end = status["conditions"][0]
            ends[f"{end['type']} {end['reason']}"] += 1
            if end["type"] == "Succeeded" and believed(json.loads(json.dumps(status))):
                wrong.append(message)
            url = f"{url_of('personalizations', NAMESPACE, NAME)}/status?dryRun=All"
            async with limit, session.put(url, json=there | {"status": status}) as answer:
                if answer.status != 200:
                    refused.append(await answer.text())

        async with asyncio.TaskGroup() as group:
            for message in hostile_messages(GOOD, count, seed):
                group.create_task(one(message))
    print(f"{count} results: {dict(ends)}; statuses refused: {len(refused)}; believed against the order: {len(wrong)}")
    print(*refused[:3], *wrong[:3], sep="\n")
    return int(bool(refused or wrong))


if __name__ == "__main__":
    sys.exit(main())
