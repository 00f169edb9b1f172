"""`likeness-operator`: puts the parts together and runs them until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import kopf
import prometheus_client

from likeness_api import API_VERSION
from likeness_operator import health, log
from likeness_operator.api_error import ApiError
from likeness_operator.api_server import ApiServer
from likeness_operator.controller import Controller
from likeness_operator.profiles import Profiles
from likeness_operator.store import Store
from likeness_operator.token_bucket import TokenBucket
from likeness_operator.watch import watch
from likeness_operator.work_queue import WorkQueue
from likeness_operator.worker import resync, work

logger = logging.getLogger(__name__)

PROBE_AGAIN_SECONDS = 2.0
REQUESTS_PER_SECOND = 300
"""Enough for fifty new Personalizations a second: a life takes five requests."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    log.set_up(options.log_format)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig  # where kopf looks for it
    try:
        asyncio.run(run(options))
    except asyncio.CancelledError:
        logger.info("stopped before there was anything to watch")
    except (kopf.LoginError, OSError) as error:
        logger.error("cannot start: %s", error)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    new = argparse.ArgumentParser(
        prog="likeness-operator", description="Runs Personalizations as Jobs and writes what became of them."
    )
    new.add_argument(
        "--namespace",
        action="append",
        default=[],
        help="watch this namespace; may be given several times; the whole cluster where not given",
    )
    new.add_argument("--kubeconfig", help="kubeconfig file; the pod's service account where not given")
    new.add_argument("--log-format", choices=["json", "text"], default="json")
    new.add_argument("--probe-port", type=int, default=8080, help="for /livez, /readyz, /metrics; 0 for none")
    new.add_argument("--workers", type=at_least_one, default=8, help="Personalizations looked at at the same time")
    new.add_argument(
        "--qps",
        type=at_least_one,
        default=REQUESTS_PER_SECOND,
        help=f"requests a second to the API server, twice as many at once ({REQUESTS_PER_SECOND})",
    )
    return new


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too small; expected 1 or more")
    return number


def log_in() -> kopf.ConnectionInfo:
    """A kubeconfig where one is named, else the pod's service account. Read anew each time: tokens are replaced."""
    chosen = kopf.OperatorSettings()
    from_file = kopf.login_with_kubeconfig(settings=chosen) if os.environ.get("KUBECONFIG") else None
    found = from_file or kopf.login_with_service_account(settings=chosen) or kopf.login_with_kubeconfig(settings=chosen)
    if found is None:
        raise kopf.LoginError("no API server: expected --kubeconfig, KUBECONFIG, ~/.kube/config or a service account")
    return found


async def run(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Until kopf takes the signal over. As process 1 of a container we would not get it at all otherwise.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    ready = asyncio.Event()
    queue = WorkQueue()
    store = Store(queue)
    api = ApiServer(log_in, TokenBucket(options.qps, 2 * options.qps, time.monotonic))
    profiles = Profiles(api, time.monotonic)
    controller = Controller(api, store, profiles, instance=socket.gethostname(), now=lambda: datetime.now(UTC))
    try:
        async with health.serve(options.probe_port, ready):
            await readable(api, options.namespace)
            # Whichever part ends by an error ends the process: the kubelet starts it anew, and nothing is lost.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work(queue, store, controller)) for _ in range(options.workers)]
                tasks.append(group.create_task(resync(queue, store)))
                logger.info("watching %s", ", ".join(options.namespace) or "all namespaces")
                await watch(store, profiles, log_in, options.namespace, ready)
                logger.info("stopping")
                for background in tasks:
                    background.cancel()
    finally:
        await api.close()


async def readable(api: ApiServer, namespaces: Sequence[str]) -> None:
    """Waits until every kind can be listed: the CRDs may come after us, and kopf never looks for them again."""
    scopes = [f"namespaces/{namespace}/" for namespace in namespaces] or [""]
    paths = [f"/apis/{API_VERSION}/tuningprofiles"]
    for scope in scopes:
        paths += [f"/apis/{API_VERSION}/{scope}personalizations", f"/apis/batch/v1/{scope}jobs", f"/api/v1/{scope}pods"]
    for path in paths:
        while True:
            try:
                await api.probe(path)
                break
            except ApiError as error:
                logger.warning("cannot list %s yet: %s; trying again in %.0f s", path, error, PROBE_AGAIN_SECONDS)
                await asyncio.sleep(PROBE_AGAIN_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
