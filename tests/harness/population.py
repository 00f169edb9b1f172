"""Many Personalizations with fates of their own: created while a trial goes on, watched, and judged at its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from fates import FATES, LABEL, profile_of
from kube import apply, true_conditions
from likeness_operator.kubernetes.k8s_object import K8sObject
from outside import USER, WRITES, audited, personalization, url_of

ENDS = ("Succeeded", "Failed")
JOB_ENDS = ("Complete", "Failed")
MAY_LOSE_ITS_JOB = (("Failed", "OutOfMemory"),)
"""A Job that would start another pod, which needs as much memory, is deleted by the operator."""
LOOK_SECONDS = 1.0
"""Between two looks for pods to evict."""


class Population:
    """`count` Personalizations in `namespace`, their fates drawn from `choice`. Lives within `watched`."""

    def __init__(self, namespace: str, count: int, choice: random.Random, *, acted: bool) -> None:
        fates = [fate for fate in FATES if acted or not fate.only_acted]
        drawn = choice.choices(fates, [fate.share for fate in fates], k=count)
        self.fates = {f"{fate.name}-{number}": fate for number, fate in enumerate(drawn)}
        self.evicted: set[str] = set()
        self._namespace = namespace
        self._uncreated = list(self.fates)
        self._said: dict[str, str] = {}
        """What those that ended say, as JSON."""
        self._changed_after_end: set[str] = set()
        apply(*(profile_of(fate, acted=acted) for fate in fates))

    @contextlib.asynccontextmanager
    async def watched(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Follows what they say, and evicts those that are to be evicted, as long as the block lasts."""
        self._session = session
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._evict())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def create(self, most: int) -> None:
        """The next ones, up to `most`."""
        for name in self._uncreated[:most]:
            fate = self.fates[name]
            asked = personalization(self._namespace, name, fate.name, activeDeadlineSeconds=fate.deadline_seconds)
            async with self._session.post(url_of("personalizations", self._namespace), json=asked) as answer:
                assert answer.status == 201, await answer.text()
        del self._uncreated[:most]

    @property
    def in_flight(self) -> int:
        """Created and not ended."""
        return len(self.fates) - len(self._uncreated) - len(self._said)

    async def ended(self, seconds: float) -> None:
        """Until all of them have, or until the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._uncreated or self.in_flight:
                    await asyncio.sleep(LOOK_SECONDS)

    async def verdict(self) -> dict[str, Any]:
        """Who was lost, doubled or told wrongly, by the API server's objects and its audit log."""
        found = {one["metadata"]["name"]: one for one in await self._list(url_of("personalizations", self._namespace))}
        jobs = await self._list(f"/apis/batch/v1/namespaces/{self._namespace}/jobs")
        own: dict[str, list[K8sObject]] = {name: [] for name in self.fates}
        for job in jobs:
            own[job["metadata"]["labels"]["likeness.dev/personalization"]].append(job)
        created: Counter[str] = Counter()
        writes: Counter[str] = Counter()
        refused: Counter[int] = Counter()
        for event in audited([self._namespace]):
            on, verb, code = event["objectRef"], event["verb"], event["responseStatus"]["code"]
            if event["user"].get("username") != USER or verb not in WRITES:
                continue
            if code >= 300:
                refused[code] += 1
                continue
            writes[f"{verb} {on['resource']}{'/' + on['subresource'] if 'subresource' in on else ''}"] += 1
            if (verb, on["resource"]) == ("create", "jobs"):
                created[on["name"].rpartition("-")[0]] += 1
        ends = {name: _end(found.get(name)) for name in self.fates}
        wrong = {
            name: problem for name, end in ends.items() if end and (problem := self._wrong(found[name], own[name]))
        }
        wrong |= dict.fromkeys(self._changed_after_end, "said something else after its end")
        return {
            "lost": sorted(name for name, end in ends.items() if end is None),
            "doubled": sorted(name for name in self.fates if created[name] > 1 or len(own[name]) > 1),
            "wrong": wrong,
            "personalizations": len(self.fates),
            "ends": dict(Counter(" ".join(end) for end in ends.values() if end).most_common()),
            "evicted": len(self.evicted),
            "writes_each": round(writes.total() / len(self.fates), 2),
            "writes": dict(writes),
            "refused_or_in_conflict": dict(refused),
        }

    def _wrong(self, one: K8sObject, jobs: list[K8sObject]) -> str | None:
        """What does not agree between its end, its fate, the rest of its status and its Job."""
        name, end, true = one["metadata"]["name"], _end(one), true_conditions(one)
        assert end is not None
        state, status = end[0], one["status"]
        became = [next((kind for kind in JOB_ENDS if kind in true_conditions(job)), "unfinished") for job in jobs]
        uids = [job["metadata"]["uid"] for job in jobs]
        expected: dict[str, tuple[object, object]] = {
            "state and reason": (end in self.fates[name].says or end, True),
            "other true states": (sorted(true.keys() & {*ENDS, "Running", "Waiting", "Suspended"}), [state]),
            "waiting": (status.get("waiting"), None),
            "manifest": ("manifest" in status, state == "Succeeded"),
            "failure": ("failure" in status, state == "Failed"),
            "completionTime": ("completionTime" in status, True),
            "the Job's own end": (became, [JOB_ENDS[ENDS.index(state)]] if jobs or end not in MAY_LOSE_ITS_JOB else []),
            "the Job's uid": (uids, [status["jobRef"]["uid"]] if jobs or end not in MAY_LOSE_ITS_JOB else []),
        }
        found = [f"{what} is {is_}, expected {wanted}" for what, (is_, wanted) in expected.items() if is_ != wanted]
        return "; ".join(found) or None

    async def _follow(self) -> None:
        """Watches; where the watch breaks, it lists: no change is judged that was not seen."""
        url = url_of("personalizations", self._namespace)
        while True:
            async with self._session.get(url) as answer:
                listed = await answer.json()
                if answer.status != 200:  # too much at once, say: not what is judged here
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
            for one in listed["items"]:
                self._hear(one)
            since = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
            unbounded = aiohttp.ClientTimeout(total=None)
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get(url, params=since, timeout=unbounded) as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break
                        self._hear(event["object"])
            await asyncio.sleep(LOOK_SECONDS)

    def _hear(self, one: K8sObject) -> None:
        name = one["metadata"]["name"]
        if name not in self._said and _end(one) is None:
            return
        said = json.dumps(one.get("status"), sort_keys=True)
        if self._said.setdefault(name, said) != said:
            self._changed_after_end.add(name)

    async def _evict(self) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        names = ",".join(fate.name for fate in FATES if fate.evicted)
        selector = {"labelSelector": f"{LABEL} in ({names})", "fieldSelector": "status.phase=Running"}
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for pod in await self._list(path, selector):
                metadata = pod["metadata"]
                name = metadata["labels"]["likeness.dev/personalization"]
                if name in self.evicted:
                    continue
                # One that has ended meanwhile would be deleted with its result, which is another fate.
                unchanged = {"preconditions": {"resourceVersion": metadata["resourceVersion"]}}
                eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": metadata["name"]}}
                eviction["deleteOptions"] = unchanged
                async with self._session.post(f"{path}/{metadata['name']}/eviction", json=eviction) as answer:
                    if answer.status == 201:
                        self.evicted.add(name)

    async def _list(self, path: str, query: dict[str, str] | None = None) -> list[K8sObject]:
        async with self._session.get(path, params=query) as answer:
            assert answer.status == 200, await answer.text()
            items: list[K8sObject] = (await answer.json())["items"]
            return items


def _end(one: K8sObject | None) -> tuple[str, str] | None:
    true = true_conditions(one) if one else {}
    return next(((state, true[state]["reason"]) for state in ENDS if state in true), None)
