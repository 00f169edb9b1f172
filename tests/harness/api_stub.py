"""An API server in memory, as much of one as the operator's own calls need: versions, conflicts, names, uids.

It speaks HTTP, so what is tested with it is the real client. The cluster tests use a real server.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from likeness_api.crd import KINDS, manifest
from likeness_operator.kubernetes.k8s_object import K8sObject
from schema import complaints

(PERSONALIZATION_STATUS,) = [
    version["schema"]["openAPIV3Schema"]["properties"]["status"]
    for kind in KINDS
    if kind.kind == "Personalization"
    for version in manifest(kind)["spec"]["versions"]
]
LISTS = ("pods", "tuningprofiles", "events", "personalizations", "jobs")


class ApiStub:
    """`objects` by the path of their URL; `calls` as `VERB path`, in order."""

    def __init__(self) -> None:
        self.status_schema = PERSONALIZATION_STATUS
        self.objects: dict[str, K8sObject] = {}
        self.calls: list[str] = []
        self.url = ""
        self.terminating = False
        """Whether nothing can be created any more, as in a namespace that is being deleted."""
        self.unavailable = False
        """Whether it answers nothing but 503."""
        self.tokens: dict[str, K8sObject] = {}
        """The status of a TokenReview, by token; every other token is nobody's."""
        self._versions = itertools.count(100)

    def put(self, path: str, manifest: K8sObject) -> K8sObject:
        """Creates or replaces an object behind the operator's back."""
        held: dict[str, Any] = json.loads(json.dumps(manifest))
        held["metadata"]["resourceVersion"] = str(next(self._versions))
        held["metadata"].setdefault("uid", f"uid-{next(self._versions)}")
        held["metadata"].setdefault("creationTimestamp", "2026-11-23T12:00:00Z")
        self.objects[path] = held
        return held

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path.removesuffix("/status")
        body = json.loads(await request.text() or "null")
        self.calls.append(f"{request.method} {request.path}")
        if self.unavailable:
            return refusal(503, "ServiceUnavailable")
        held = self.objects.get(path)
        if request.method == "POST":
            return self._create(request, f"{path}/{body['metadata']['name']}", body)
        items = [item for below, item in self.objects.items() if below.startswith(f"{path}/")]
        if held is None and request.method == "GET" and (items or path.rpartition("/")[2] in LISTS):
            return web.json_response(table(items) if "as=Table" in request.headers["Accept"] else {"items": items})
        if held is None:
            return refusal(404, "NotFound")
        if request.method in ("PUT", "PATCH"):
            return self._change(request, path, body)
        if request.method == "DELETE":
            del self.objects[path]
        return web.json_response(held)

    async def _review(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path}")
        token = (await request.json())["spec"]["token"]
        return web.json_response({"status": self.tokens.get(token, {"authenticated": False})})

    def _change(self, request: web.Request, path: str, body: K8sObject) -> web.Response:
        """A patch changes metadata and spec, one level deep; a deleted object goes with its last finalizer."""
        held = self.objects[path]
        if body["metadata"].get("resourceVersion", "") != held["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict")
        if request.method == "PUT":
            part = "status" if request.path != path else "spec"
            ours = part == "status" and "/personalizations/" in path
            wrong = complaints(body[part], self.status_schema) if ours else []
            if wrong := [each for each in wrong if not each.endswith(" is unknown")]:  # those are left out instead
                return refusal(422, "Invalid", "; ".join(wrong))
            return web.json_response(self.put(path, held | {part: body[part]}))
        parts = {part: held[part] | body[part] for part in ("metadata", "spec") if part in body}
        patched = self.put(path, held | parts)
        if "deletionTimestamp" in patched["metadata"] and not patched["metadata"].get("finalizers"):
            del self.objects[path]
        return web.json_response(patched)

    def _create(self, request: web.Request, path: str, manifest: K8sObject) -> web.Response:
        if self.terminating and "/namespaces/default/" not in path:
            return refusal(403, "Forbidden", "unable to create new content because it is being terminated")
        if path in self.objects:
            return refusal(409, "AlreadyExists")
        if "dryRun" in request.query:
            return web.json_response(manifest, status=201)
        return web.json_response(self.put(path, manifest), status=201)


def table(items: list[K8sObject]) -> K8sObject:
    return {"metadata": {}, "rows": [{"cells": [item["metadata"]["name"], "Waiting"]} for item in items]}


def refusal(code: int, reason: str, message: str = "") -> web.Response:
    status = {"kind": "Status", "reason": reason, "message": message or reason, "code": code}
    return web.json_response(status, status=code)
