"""Odd specs: each is refused by the API server, or the operator says a documented reason in its status, in few writes.

    KUBECONFIG=... LIKENESS_TEST_AUDIT_LOG=... .venv/bin/python tests/cluster/trial_specs.py --count 2000

hypothesis draws them from the CRDs' schemas and spoils them in up to three places; three in four are Personalizations,
the others TuningProfiles, each with a plain Personalization that names it. A third of those that were taken is changed
afterwards in fields that may change. Ends with 1 where anything does not hold.
"""

# ruff: noqa: T201 - what it prints is what it is for

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "harness"))

import aiohttp  # noqa: E402
import yaml  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from kube import CommandFailedError, kubectl, true_conditions  # noqa: E402
from likeness_operator.kubernetes.k8s_object import K8sObject  # noqa: E402
from odd import KEYS, ODD, fitting, spoilt  # noqa: E402
from outside import (  # noqa: E402
    USER,
    WRITES,
    Operator,
    acted_node,
    administrator,
    audited,
    install_rights,
    personalization,
    profile,
    running,
    url_of,
)

ROOT = HERE.parents[1]
DOCUMENTED = set(re.findall(r"`([A-Z]\w+)`", (ROOT / "docs/troubleshooting.md").read_text()))
AT_ONCE = 16
STABLE_SECONDS, QUIET_SECONDS = 300, 30
MOST_WRITES = 6
"""Three for a good end, an event after a bad one, and what a change of the spec may add: a patch and a status."""
PATHS = st.one_of(st.text(max_size=12), st.from_regex(r"[a-zA-Z0-9 é$%(){}'/_.-]{0,20}", fullmatch=True))
CHANGEABLE = ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    namespace = f"odd-{int(time.time())}"
    with tempfile.TemporaryDirectory() as folder, acted_node(HERE / "burst-stages.yaml"):
        install_rights(namespace)
        drawn = draw(namespace, options.count, options.seed)
        with running(Operator(Path(folder), "--namespace", namespace)) as operator:
            first = operator.process.pid
            wrong = asyncio.run(trial(namespace, drawn, random.Random(options.seed)))  # noqa: S311
            alive = operator.process.poll() is None and operator.process.pid == first
            wrong += [] if alive else [f"the operator ended: {operator.log.read_text()[-2000:]}"]
            wrong += operator.said("ERROR")[:20]
            wrong += cleared(namespace)
            print(f"operator: {operator.cpu_seconds():.1f} s of CPU, at most {operator.memory_mb():.0f} MB")
    kubectl("delete", "tuningprofiles", "-l", f"trial={namespace}", "--wait=false")
    print(*(f"WRONG: {line}" for line in wrong), f"{len(wrong)} wrong", sep="\n")
    return 1 if wrong else 0


def cleared(namespace: str) -> list[str]:
    """Deletes the namespace while there is an operator: those with `deletionPolicy: Delete` must not hold it up."""
    began = time.monotonic()
    try:
        kubectl("delete", "namespace", namespace, f"--timeout={STABLE_SECONDS}s")
    except CommandFailedError as error:
        return [f"the namespace does not go: {error}"]
    print(f"the namespace was gone {time.monotonic() - began:.0f} s after it was deleted")
    return []


def draw(namespace: str, count: int, number: int) -> list[list[K8sObject]]:
    """What to create, in groups: a Personalization, or a TuningProfile with a Personalization that names it."""
    ours, profiles = schema_of("personalizations"), schema_of("tuningprofiles")
    groups: list[list[K8sObject]] = []

    def collect(strategy: st.SearchStrategy[list[K8sObject]], most: int, first: int) -> None:
        @seed(first)
        @settings(max_examples=most, database=None, phases=[Phase.generate], deadline=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(strategy)
        def one(group: list[K8sObject]) -> None:
            groups.append(group)

        one()

    collect(odd_personalizations(namespace, ours), count - count // 4, number)
    collect(odd_profiles(namespace, profiles), count // 4, number + 1)
    for index, group in enumerate(groups):
        for manifest in group:
            name = manifest["metadata"].setdefault("name", f"odd-{index}")
            if manifest["kind"] == "TuningProfile":
                manifest["metadata"] |= {"name": f"{namespace}-{index}", "labels": {"trial": namespace}}
            elif name == f"odd-{index}" and len(group) == 2:
                manifest["spec"]["profile"] = f"{namespace}-{index}"
    plain = profile(namespace)
    plain["metadata"]["labels"] = {"trial": namespace}
    return [[plain], *groups]


def schema_of(plural: str) -> K8sObject:
    crd = yaml.safe_load((ROOT / f"crds/{plural}.yaml").read_text())
    found: K8sObject = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def odd_personalizations(namespace: str, schema: K8sObject) -> st.SearchStrategy[list[K8sObject]]:
    """Addresses are mostly those that the profile allows: else nothing would get as far as a Job."""
    pictures = PATHS.map(lambda text: {"uri": f"s3://catalogue/{text}"})
    usual = st.fixed_dictionaries(
        {
            "profile": st.sampled_from([namespace] * 8 + ["nowhere"]),
            "subject": st.fixed_dictionaries({"images": st.lists(pictures, min_size=1, max_size=9)}),
            "output": PATHS.map(lambda text: f"s3://artifacts/{namespace}/{text}"),
        }
    )
    any_spec = st.tuples(fitting(schema), usual, st.sampled_from([True] * 5 + [False])).map(
        lambda drawn: drawn[0] | (drawn[1] if drawn[2] else {})
    )
    names = st.sampled_from([None] * 60 + ["", "a", "A", "a.b", "é", "x" * 64, "-a", "a/b"])
    labels = st.one_of(st.none(), st.just({"likeness.dev/personalization": "another", "likeness.dev/profile": "x"}))

    def manifest(drawn: tuple[Any, str | None, dict[str, str] | None]) -> list[K8sObject]:
        spec, name, labelled = drawn
        made = personalization(namespace, "", namespace) | {"spec": spec}
        made["metadata"] = {"namespace": namespace, **({} if name is None else {"name": name})}
        return [made | {"metadata": made["metadata"] | ({"labels": labelled} if labelled else {})}]

    return st.tuples(spoilt(any_spec), names, labels).map(manifest)


def odd_profiles(namespace: str, schema: K8sObject) -> st.SearchStrategy[list[K8sObject]]:
    """Where pods go and what is stored where stay as they are: else nothing would get as far as a Job."""
    plain = profile("x")["spec"]

    def specs(drawn: tuple[K8sObject, Any, Any]) -> K8sObject:
        spec, template, tolerations = drawn
        runtime = plain["runtime"] | {
            key: spec["runtime"][key] for key in spec["runtime"] if key not in plain["runtime"]
        }
        if template is not None:
            runtime["podTemplate"] = template
        if tolerations is not None:
            runtime["tolerations"] = tolerations
        return spec | {"runtime": runtime, "storage": plain["storage"], "default": False} | (
            {} if "s3" in str(spec["model"]) else {"model": plain["model"]}
        )  # fmt: skip

    container = st.dictionaries(st.sampled_from(["name", "image", "env", "resources", "command"]), ODD, max_size=3)
    containers = st.one_of(
        ODD, st.lists(st.one_of(container, container.map(lambda one: one | {"name": "tuner"})), max_size=2)
    )
    inner = st.dictionaries(
        st.sampled_from(["containers", "nodeSelector", "restartPolicy", "volumes"]), containers, max_size=2
    )
    templates = st.one_of(
        st.none(), ODD, st.fixed_dictionaries({}, optional={"metadata": ODD, "spec": st.one_of(ODD, inner)})
    )
    spec = st.tuples(
        fitting(schema),
        templates,
        st.one_of(
            st.none(), st.lists(st.dictionaries(st.sampled_from([*KEYS, "operator"]), ODD, max_size=2), max_size=2)
        ),
    ).map(specs)
    named = personalization(namespace, "", "")

    def group(spec: Any) -> list[K8sObject]:
        one = named | {"metadata": {"namespace": namespace}, "spec": dict(named["spec"])}
        return [profile("x") | {"metadata": {}, "spec": spec}, one]

    return spoilt(spec).map(group)


async def trial(namespace: str, drawn: list[list[K8sObject]], choice: random.Random) -> list[str]:
    wrong: list[str] = []
    answers: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)
    async with administrator() as session:

        async def put(group: list[K8sObject], changes: K8sObject | None) -> None:
            async with gate:
                for manifest in group:
                    plural = manifest["kind"].lower() + "s"
                    url = url_of(plural, manifest["metadata"].get("namespace", ""))
                    code, said = await ask(session, "POST", url, manifest)
                    answers[f"{manifest['kind']} {'taken' if code == 201 else 'refused'}"] += 1
                    if code == 201 and plural == "personalizations" and changes is not None:
                        url = url_of(plural, namespace, said["metadata"]["name"])
                        code, said = await ask(session, "PATCH", url, {"spec": changes})
                        answers[f"change {'taken' if code == 200 else 'refused'}"] += 1
                    if code not in (200, 201) and not (400 <= code < 429 and said.get("message")):
                        wrong.append(f"{code} {said} on {json.dumps(manifest)[:500]}")

        began = time.monotonic()
        await put(drawn[0], None)
        async with asyncio.TaskGroup() as tasks:
            for group in drawn[1:]:
                tasks.create_task(put(group, changed(choice) if choice.random() < 1 / 3 else None))
        print(f"{sum(map(len, drawn))} objects asked for in {time.monotonic() - began:.0f} s: {dict(answers)}")
        found = await stable(session, namespace)
        await asyncio.sleep(QUIET_SECONDS)
    wrong += judge(namespace, found)
    return wrong


def changed(choice: random.Random) -> K8sObject:
    values: list[Any] = [True, False, 0, 1, 60, 604800, 604801, -1, None, "1", 0.5, [], {}]
    return {field: choice.choice(values) for field in choice.sample(CHANGEABLE, choice.randint(1, 2))}


async def ask(session: aiohttp.ClientSession, verb: str, url: str, body: K8sObject) -> tuple[int, K8sObject]:
    kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
    async with session.request(verb, url, data=json.dumps(body), headers={"Content-Type": kind}) as answer:
        said: K8sObject = await answer.json(content_type=None)
        return answer.status, said


async def stable(session: aiohttp.ClientSession, namespace: str) -> list[K8sObject]:
    """The Personalizations once each one says something, and nothing is under way."""
    end = time.monotonic() + STABLE_SECONDS
    while True:
        async with session.get(url_of("personalizations", namespace)) as answer:
            found: list[K8sObject] = (await answer.json())["items"]
        if all({"Failed", "Succeeded", "Suspended", "Waiting"} & true_conditions(one).keys() for one in found):
            return found
        if time.monotonic() > end:
            return found
        await asyncio.sleep(5)


def judge(namespace: str, found: list[K8sObject]) -> list[str]:
    wrong = []
    ends: Counter[str] = Counter()
    for one in found:
        name, true = one["metadata"]["name"], true_conditions(one)
        state = next(iter(true), "nothing")
        reason = true[state]["reason"] if true else ""
        ends[f"{state} {reason}"] += 1
        if state not in ("Failed", "Succeeded", "Suspended", "Waiting") or reason not in DOCUMENTED:
            wrong.append(f"{name} says {state} {reason!r}: {json.dumps(one)[:1000]}")
        elif not true[state]["message"] or (state == "Waiting" and not one["status"]["waiting"]["nextStep"]):
            wrong.append(f"{name} says {reason} and not one word more")
    writes: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    jobs = {
        one["status"]["jobRef"]["name"]: one["metadata"]["name"] for one in found if one.get("status", {}).get("jobRef")
    }
    late = []
    for event in audited([namespace]):
        on, code = event["objectRef"], event["responseStatus"]["code"]
        if event["user"].get("username") == USER and event["verb"] in WRITES:
            about = jobs.get(on.get("name", ""), on.get("name", "").rpartition(".")[0] or on.get("name", ""))
            (writes if code < 300 else refused)[about] += 1
            late.append(event["requestReceivedTimestamp"])
    print(f"{len(found)} Personalizations: {dict(ends.most_common())}")
    most = max(writes.values())
    print(f"writes an object: at most {most}; {writes.total()} in all, {refused.total()} more were refused")
    told = {one["metadata"]["name"]: json.dumps(one.get("status")) for one in found}
    wrong += [
        f"{number} writes for {name}: {told.get(name)}" for name, number in writes.items() if number > MOST_WRITES
    ]
    return wrong


if __name__ == "__main__":
    sys.exit(main())
