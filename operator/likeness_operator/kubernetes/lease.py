"""Which of several operators acts: the one that holds a coordination.k8s.io Lease.

The times are those of Kubernetes' own controllers. A leader that could not renew stops writing five seconds before
anybody may take over, whatever its clock says about the time of day: each side only measures how long ago it
saw the Lease change. If that fails nevertheless (a machine asleep in between two instructions), two writers do no harm:
Job names are fixed and statuses carry a resourceVersion.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from likeness_operator import metrics
from likeness_operator.kubernetes.api_error import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject

logger = logging.getLogger(__name__)

DURATION_SECONDS = 15
"""Nobody else takes a Lease that changed within this time."""
RENEW_SECONDS = 10.0
"""A leader that has not renewed for so long is none any more."""
RETRY_SECONDS = 2.0
CALL_SECONDS = 4.0
"""A call that hangs must leave time for another one."""


class LeaseLostError(Exception):
    """Somebody else may act now: whoever gets this has to stop. The kubelet starts it anew, as a standby."""


@dataclass(frozen=True)
class LeaseName:
    """Namespace and name of a Lease."""

    namespace: str
    name: str


class Lease:
    """One operator's view of the Lease. `clock` counts seconds and never jumps; `now` is only for people to read."""

    def __init__(
        self,
        api: ApiServer,
        name: LeaseName,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._version = ""
        self._changed_at = clock()
        self._renewed_at: float | None = None

    def held(self) -> bool:
        """Whether the Lease was renewed so recently that nobody else can have it."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < RENEW_SECONDS

    async def try_once(self) -> bool:
        """Takes or renews the Lease; False where another one holds it. Raises the errors of api_error.py."""
        asked_at = self._clock()
        try:
            found = await self._api.lease(self._name.namespace, self._name.name)
        except NotFoundError:
            found = None
        if found is not None and not self._may_take(found):
            self._renewed_at = None
            return False
        written = self._manifest(found, self._identity, DURATION_SECONDS)
        try:
            written = await (self._api.create_lease(written) if found is None else self._api.update_lease(written))
        except (AlreadyExistsError, ConflictError):
            return False  # another one was quicker, or our own last write went through without an answer
        self._version, self._changed_at, self._renewed_at = _version(written), asked_at, asked_at
        return True

    async def release(self) -> None:
        """So that the next one need not wait. It does no harm when it fails."""
        if not self.held():
            return
        self._renewed_at = None
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):
                found = await self._api.lease(self._name.namespace, self._name.name)
                if found["spec"].get("holderIdentity") == self._identity:
                    await self._api.update_lease(self._manifest(found, "", 1))
                    logger.info("gave up the Lease")

    def _may_take(self, found: K8sObject) -> bool:
        if _version(found) != self._version:
            self._version, self._changed_at = _version(found), self._clock()
        holder = found["spec"].get("holderIdentity", "")
        return holder in ("", self._identity) or self._clock() - self._changed_at > DURATION_SECONDS

    def _manifest(self, found: K8sObject | None, holder: str, seconds: int) -> K8sObject:
        moment = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before: K8sObject = found["spec"] if found else {}
        same = before.get("holderIdentity") == holder
        metadata: K8sObject = {"name": self._name.name, "namespace": self._name.namespace}
        if found:
            metadata["resourceVersion"] = _version(found)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": seconds,
                "acquireTime": before["acquireTime"] if same else moment,
                "renewTime": moment,
                "leaseTransitions": before.get("leaseTransitions", 0) + (0 if same or not found else 1),
            },
        }


@asynccontextmanager
async def leading(lease: Lease, standing_by: Callable[[], None]) -> AsyncIterator[None]:
    """Waits until the Lease is ours, then holds the Lease while the block runs; the block is cancelled if that fails.

    `standing_by` is called each time the Lease could be read and is another one's. Raises LeaseLostError.
    """
    while (mine := await _attempt(lease)) is not True:
        if mine is False:
            standing_by()
        await asyncio.sleep(RETRY_SECONDS)
    logger.info("leading")
    metrics.LEADER.set(1)
    lost: LeaseLostError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            renewal = group.create_task(_renew(lease))
            yield
            renewal.cancel()
    except* LeaseLostError as errors:
        metrics.LEASES_LOST.inc()
        lost = LeaseLostError(*errors.exceptions[0].args)
    finally:
        metrics.LEADER.set(0)
        await lease.release()
    if lost is not None:
        raise lost


async def _renew(lease: Lease) -> None:
    while True:
        await asyncio.sleep(RETRY_SECONDS)
        await _attempt(lease)
        if not lease.held():
            raise LeaseLostError(f"the Lease was not renewed within {RENEW_SECONDS:.0f} s, or another one took it")


async def _attempt(lease: Lease) -> bool | None:
    """Whether the Lease is ours; None where nobody could tell."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            return await lease.try_once()
    except (ApiError, TimeoutError) as error:
        logger.warning("the Lease cannot be had: %s", error or "no answer")
        return None


def _version(lease: K8sObject) -> str:
    version: str = lease["metadata"]["resourceVersion"]
    return version
