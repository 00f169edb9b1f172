"""`python -m likeness_operator.uninstall`: the chart's pre-delete hook. Without an operator nobody would ever take our
finalizers off, and whatever has one could not be deleted. What was published stays.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic

from likeness_operator import log
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_error import ApiError, ConflictError, NotFoundError, UnavailableError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.lease import RETRY_SECONDS, Lease, LeaseName
from likeness_operator.kubernetes.resource import Resource
from likeness_operator.kubernetes.token_bucket import TokenBucket
from likeness_operator.main import WATCHED_KINDS, lease_name, log_in

logger = logging.getLogger(__name__)

UNINSTALL_REQUESTS_PER_SECOND = 100


def main(arguments: Sequence[str] | None = None) -> int:
    options = hook_parser().parse_args(arguments)
    log.set_up(options.log_format)
    try:
        asyncio.run(run_hook(options))
    except ApiError as error:
        logger.error("finalizers may be left: %s", error)
        return 1
    return 0


def hook_parser() -> argparse.ArgumentParser:
    new = argparse.ArgumentParser(prog="uninstall", description="Stops the operator and takes its finalizers off.")
    new.add_argument(
        "--operator", type=lease_name, required=True, metavar="NAMESPACE/NAME", help="Deployment and Lease"
    )
    new.add_argument("--namespace", action="append", default=[], help="as the operator's; the whole cluster without it")
    new.add_argument("--log-format", choices=["json", "text"], default="json")
    return new


async def run_hook(options: argparse.Namespace) -> None:
    api = ApiServer(log_in, TokenBucket(UNINSTALL_REQUESTS_PER_SECOND, 2 * UNINSTALL_REQUESTS_PER_SECOND, monotonic))
    lease = Lease(api, options.operator, f"uninstall_{uuid.uuid4()}", monotonic, lambda: datetime.now(UTC))
    try:
        await stop(api, options.operator, lease)
        for namespace in options.namespace or [None]:
            await release(api, namespace)
    finally:
        await lease.release()
        await api.close()


async def stop(api: ApiServer, operator: LeaseName, lease: Lease) -> None:
    """Scales the operator to zero and takes its Lease: an operator that acts would put finalizers on again."""
    with suppress(NotFoundError):
        await api.scale_to_zero(operator.namespace, operator.name)
    with suppress(NotFoundError):
        await api.lease(operator.namespace, operator.name)  # where there never was one, nobody acts
        while not await lease.try_once():
            await asyncio.sleep(RETRY_SECONDS)


async def release(api: ApiServer, namespace: str | None) -> None:
    """Takes our finalizer off every object of ours there, or in all namespaces."""
    count = 0
    for kind in WATCHED_KINDS:
        with suppress(NotFoundError):  # somebody else installs the CRDs, and has not all of them
            count += await _release_kind(api, kind.resource, namespace)
    logger.info("released %d in %s", count, namespace or "all namespaces")


async def _release_kind(api: ApiServer, resource: Resource, namespace: str | None) -> int:
    count = 0
    left = True
    while left:
        left = False
        async for manifest in api.objects(resource, namespace):
            finalizers = manifest["metadata"].get("finalizers", [])
            if label.FINALIZER not in finalizers:
                continue
            try:
                await api.set_finalizers(resource, manifest, [name for name in finalizers if name != label.FINALIZER])
                count += 1
            except (ConflictError, UnavailableError) as error:
                logger.warning("%s; trying again", error)
                left = True
            except NotFoundError:
                continue
    return count


if __name__ == "__main__":
    raise SystemExit(main())
