"""The calls that the operator makes, on kopf's credentials.

Why not the `kubernetes` client: its generated models are most of the memory of an operator that uses them, it is
synchronous, and the calls below take and give plain JSON. What they and the watches of the engine need to be allowed:

    likeness.dev       personalizations, personalizationbatches                get, list, watch, patch (the finalizer)
    likeness.dev       personalizations/status, personalizationbatches/status  update
    likeness.dev       tuningprofiles            get, list, watch
    batch              jobs                      get, list, watch, create, patch, delete
    (core)             pods                      list, watch
    events.k8s.io      events                    create, list
    kueue.x-k8s.io     workloads                 list (only with --kueue)
    authentication.k8s.io  tokenreviews          create (only with --progress-port)
    coordination.k8s.io  leases                  create, get, update (one of that name, in the operator's namespace)

and of uninstall.py, which has an identity of its own:

    likeness.dev       personalizations          list, patch
    apps               deployments/scale         patch (the operator's)
    coordination.k8s.io  leases                  get, update (the operator's)
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic

import aiohttp
import kopf

from likeness_api import API_VERSION
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.api_error import RefusedError, UnauthorizedError, UnavailableError, error_of
from likeness_operator.kubernetes.cut import parse_list, parse_object
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.pace import Pace
from likeness_operator.kubernetes.resource import OUR_API, Resource
from likeness_operator.kubernetes.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
"""The time limit of every call, in seconds. The API server itself gives up on a request after 60."""
PAGE = 10
"""Objects of a list at a time: each may have more than a megabyte."""
NAMES_PAGE = 500
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MOST_LISTED = 50
"""Of what belongs to one object: more pods, events or Workloads than we could have caused are somebody's mischief."""
JOBS = "/apis/batch/v1"
EVENTS = "/apis/events.k8s.io/v1"
CORE = "/api/v1"
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta1"
LEASES = "/apis/coordination.k8s.io/v1"


class ApiServer:
    """A session with the API server. Raises the errors of api_error.py.

    `may_write` is called before each write: an operator that has lost its Lease without knowing it yet writes nothing.
    """

    def __init__(
        self,
        log_in: Callable[[], kopf.ConnectionInfo],
        bucket: TokenBucket,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._log_in = log_in
        self._bucket = bucket
        self._may_write = may_write
        self._pace = Pace(monotonic)
        self._page = asyncio.Lock()
        """Held while a page of a list is read: one at a time in memory, whoever waits for others."""
        self._login = log_in()
        self._session = aiohttp.ClientSession(
            self._login.server.rstrip("/") + "/",
            connector=aiohttp.TCPConnector(ssl=self._login.as_ssl_context()),
            headers={"User-Agent": "likeness-operator"},
            proxy=self._login.proxy_url,
            timeout=TIMEOUT,
        )

    async def close(self) -> None:
        await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> K8sObject:
        return await self._call("GET", resource.path(namespace, name))

    async def write_status(self, resource: Resource, current: K8sObject, status: K8sObject) -> K8sObject:
        """Replaces the status of exactly the version that `current` is; raises ConflictError where it changed since."""
        metadata = current["metadata"]
        kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": kept, "status": status}
        return await self._call("PUT", f"{resource.path(kept['namespace'], kept['name'])}/status", body=body)

    async def set_finalizers(self, resource: Resource, current: K8sObject, finalizers: list[str]) -> K8sObject:
        """Replaces the finalizers of exactly the version that `current` is; raises ConflictError where it changed."""
        metadata = current["metadata"]
        only = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        path = resource.path(metadata["namespace"], metadata["name"])
        return await self._call("PATCH", path, body={"metadata": only | {"finalizers": finalizers}})

    async def objects(self, resource: Resource, namespace: str | None) -> AsyncIterator[K8sObject]:
        """Every object there is, or those of one namespace; page by page, for there may be very many."""
        async for item in self._items(resource.path(namespace)):
            yield item

    async def names(self, resource: Resource, namespace: str, field_selector: str) -> AsyncIterator[str]:
        """The names of a namespace's objects alone, however large these are: the first column of a table's rows."""
        query = {"fieldSelector": field_selector, "includeObject": "None", "limit": str(NAMES_PAGE)}
        while True:
            table = json.loads(await self._answer("GET", resource.path(namespace), query=query, accept=TABLE))
            for row in table["rows"]:
                yield row["cells"][0]
            query["continue"] = table["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def namespace_labels(self, name: str) -> dict[str, str]:
        """All labels of a namespace: which of them matter, a TuningProfile says."""
        found = json.loads(await self._answer("GET", f"/api/v1/namespaces/{name}"))
        labels: dict[str, str] = found["metadata"].get("labels") or {}
        return labels

    async def profile(self, name: str) -> K8sObject:
        return await self._call("GET", f"{OUR_API}/tuningprofiles/{name}")

    async def profiles(self) -> list[K8sObject]:
        return [item async for item in self._items(f"{OUR_API}/tuningprofiles")]

    async def job(self, namespace: str, name: str) -> K8sObject:
        return await self._call("GET", f"{JOBS}/namespaces/{namespace}/jobs/{name}")

    async def unsuccessful_jobs(self, namespace: str, profile: str) -> AsyncIterator[K8sObject]:
        """The Jobs that tune with a profile in one namespace: all that run, and failures that are still there."""
        tuners = f"{label.OURS},{label.COMPONENT}={label.TUNER},{label.PROFILE}={profile}"
        path = f"{JOBS}/namespaces/{namespace}/jobs"
        async for item in self._items(path, labelSelector=tuners, fieldSelector="status.successful=0"):
            yield item

    async def create_job(self, manifest: K8sObject) -> K8sObject:
        return await self._call("POST", f"{JOBS}/namespaces/{manifest['metadata']['namespace']}/jobs", body=manifest)

    async def patch_job(self, namespace: str, name: str, patch: K8sObject) -> K8sObject:
        return await self._call("PATCH", f"{JOBS}/namespaces/{namespace}/jobs/{name}", body=patch)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Deletes the Job and its pods, if it still is the Job with this uid; raises ConflictError where it is not."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._call("DELETE", f"{JOBS}/namespaces/{namespace}/jobs/{name}", body=options)

    async def pods(self, namespace: str, job_uid: str) -> list[K8sObject]:
        return await self._pods(namespace, f"batch.kubernetes.io/controller-uid={job_uid}")

    async def labelled_pods(self, namespace: str, name: str, value: str, most: int | None = None) -> list[K8sObject]:
        """The pods with a label, whatever Job they are of; `most` of them."""
        return await self._pods(namespace, f"{name}={value}", most)

    async def labelled_jobs(self, namespace: str, name: str, value: str, most: int) -> list[K8sObject]:
        """The Jobs of ours with a label; `most` of them."""
        selector = f"{label.OURS},{name}={value}"
        return await self._list(f"{JOBS}/namespaces/{namespace}/jobs", most, labelSelector=selector)

    async def _pods(self, namespace: str, selector: str, most: int | None = None) -> list[K8sObject]:
        return await self._list(f"{CORE}/namespaces/{namespace}/pods", most, labelSelector=selector)

    async def pod_refusals(self, namespace: str, job_uid: str) -> list[K8sObject]:
        """The events in which the Job controller says why it could not create a pod."""
        selector = f"regarding.uid={job_uid},reason=FailedCreate"
        return await self._list(f"{EVENTS}/namespaces/{namespace}/events", fieldSelector=selector)

    async def workloads(self, namespace: str, job_uid: str) -> list[K8sObject]:
        """What Kueue made of a Job; raises NotFoundError where Kueue is not installed."""
        selector = f"kueue.x-k8s.io/job-uid={job_uid}"
        return await self._list(f"{WORKLOADS}/namespaces/{namespace}/workloads", labelSelector=selector)

    async def create_event(self, manifest: K8sObject, *, dry_run: bool = False) -> K8sObject:
        """Creates an event. With `dry_run` the answer is the same and nothing is stored."""
        namespace = manifest["metadata"]["namespace"]
        query = {"dryRun": "All"} if dry_run else None
        return await self._call("POST", f"{EVENTS}/namespaces/{namespace}/events", query=query, body=manifest)

    async def review_token(self, token: str, audience: str) -> K8sObject:
        """Whose token it is, if it is for `audience`. Nothing is stored by this."""
        spec = {"token": token, "audiences": [audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        return await self._call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)

    async def scale_to_zero(self, namespace: str, deployment: str) -> None:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"
        await self._call("PATCH", path, body={"spec": {"replicas": 0}})

    async def lease(self, namespace: str, name: str) -> K8sObject:
        return await self._call("GET", f"{LEASES}/namespaces/{namespace}/leases/{name}")

    async def create_lease(self, manifest: K8sObject) -> K8sObject:
        path = f"{LEASES}/namespaces/{manifest['metadata']['namespace']}/leases"
        return await self._call("POST", path, body=manifest)

    async def update_lease(self, manifest: K8sObject) -> K8sObject:
        """Replaces exactly the version that `manifest` names; raises ConflictError where it changed since."""
        path = f"{LEASES}/namespaces/{manifest['metadata']['namespace']}/leases/{manifest['metadata']['name']}"
        return await self._call("PUT", path, body=manifest)

    async def probe(self, path: str, **query: str) -> None:
        """Asks for one object of a list, to see whether the list is there and may be read."""
        await self._call("GET", path, query={"limit": "1", **query})

    async def streams_lists(self) -> bool:
        """Whether the API server starts a watch with what there is (WatchList): then nobody has to list in pages."""
        query = {
            "watch": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
            "fieldSelector": "metadata.name=nobody",
            "timeoutSeconds": "1",
        }
        try:
            await self._answer("GET", f"{OUR_API}/tuningprofiles", query=query)
        except RefusedError:
            return False
        return True

    async def _list(self, path: str, most: int | None = None, **query: str) -> list[K8sObject]:
        """At most so many objects of a list: MOST_LISTED, where nothing is said."""
        items: list[K8sObject] = []
        async for item in self._items(path, **query):
            items.append(item)
            if len(items) == (most or MOST_LISTED):
                break
        return items

    async def _items(self, path: str, **query: str) -> AsyncIterator[K8sObject]:
        """All objects of a list, page by page."""
        query["limit"] = str(PAGE)
        while True:
            items, query["continue"] = parse_list(await self._answer("GET", path, query=query, turn=self._page))
            for item in items:
                yield item
            if not query["continue"]:
                return

    async def _call(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: K8sObject | None = None
    ) -> K8sObject:
        """The object that the API server answers with, without what we do not read."""
        return parse_object(await self._answer(method, path, query=query, body=body))

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: K8sObject | None = None,
        accept: str = "application/json",
        turn: AbstractAsyncContextManager[None] | None = None,
    ) -> str:
        """The text of the answer. What is asked in `turn` is asked one after the other."""
        namespace = _namespace(path)
        await self._pace.wait(namespace)
        await self._bucket.take()
        if method != "GET" and not self._may_write():
            raise UnavailableError(0, "NotLeading", f"{method} {path}: not sent, for another operator may act by now")
        async with turn or nullcontext():
            try:
                answer = await self._send(method, path, query, body, accept)
            except UnauthorizedError:
                # Service account tokens are replaced on disk every hour or so; the one we hold may have run out.
                logger.info("the API server refused our token; logging in again")
                self._login = self._log_in()
                answer = await self._send(method, path, query, body, accept)
        self._pace.got(namespace, len(answer), int((query or {}).get("limit", "1")))
        return answer

    async def _send(
        self, method: str, path: str, query: dict[str, str] | None, body: K8sObject | None, accept: str
    ) -> str:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = self._login.as_http_headers() | {"Content-Type": kind, "Accept": accept}
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(method, path, params=query, data=data, headers=headers) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(0, type(error).__name__, f"{method} {path}: {error}") from error
        if answer.status >= 400:
            reason, message = _explanation(text)
            raise error_of(answer.status, reason, message, answer.headers.get("Retry-After"))
        return text


def _namespace(path: str) -> str:
    """The namespace that a request is about; "" for none."""
    return path.partition("/namespaces/")[2].partition("/")[0]


def _explanation(text: str) -> tuple[str, str]:
    """Reason and message of a metav1.Status; what is not one (a proxy's page) is quoted as it is."""
    try:
        status = json.loads(text)
    except ValueError:
        return "", text[:200]
    if not isinstance(status, dict):
        return "", text[:200]
    return str(status.get("reason", "")), str(status.get("message", text[:200]))
