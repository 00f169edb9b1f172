"""A PersonalizationBatch that is being deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from likeness_operator.batch.facts import Batch, read_batch
from likeness_operator.engine.decision import Decision, Rule
from likeness_operator.engine.lifecycle import Snapshot
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.event import ObjectReference
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.profiles import Profiles


def batch_released(o: Batch) -> Decision[Any]:
    return Decision()


@dataclass(frozen=True)
class BatchErasureLifecycle:
    api: ApiServer
    profiles: Profiles
    instance: str
    now: Callable[[], datetime]
    rules: Sequence[Rule[Batch]] = (batch_released,)
    most_writes: int = 5
    trusts_cache: bool = False

    async def read(self, manifest: K8sObject) -> Snapshot:
        return Snapshot(manifest)

    def observe(self, snapshot: Snapshot) -> Batch:
        return read_batch(snapshot.manifest)

    def reference(self, observation: Batch) -> ObjectReference:
        return observation.reference
