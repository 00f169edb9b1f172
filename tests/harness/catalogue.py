"""Catalogues for the cluster tests: pictures and manifests in the bucket, batches that work on them."""

from __future__ import annotations

import json
from typing import Any

from kube import fetch, fetch_all, true_conditions, wait_for
from likeness_operator.kubernetes.k8s_object import K8sObject
from pictures import picture
from seaweed import Seaweed
from shop import SECRET, SHOP


def put_pictures(storage: Seaweed, prefix: str, count: int) -> list[dict[str, Any]]:
    """Uploads pictures below the bucket `catalogue`; the lines of a manifest that name them."""
    client = storage.client()
    lines = []
    for number in range(count):
        key = f"{prefix}/{number:05}.png"
        client.put_object(Bucket="catalogue", Key=key, Body=picture(number))
        lines.append({"id": f"SKU_{number:05}", "images": [f"s3://catalogue/{key}"], "metadata": {"row": number}})
    return lines


def put_manifest(storage: Seaweed, key: str, lines: list[Any]) -> str:
    """Uploads JSON lines (a text is a line as it is); their address."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    storage.client().put_object(Bucket="catalogue", Key=key, Body=text.encode())
    return f"s3://catalogue/{key}"


def batch(
    name: str, manifest: str, *, profile: str = "tiny", template: K8sObject | None = None, **changes: object
) -> K8sObject:
    """A PersonalizationBatch; `changes` replace fields of its spec, `template` adds to its template."""
    shared = {"profile": profile, "output": f"s3://artifacts/{SHOP}", "credentialsSecretRef": {"name": SECRET}}
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "PersonalizationBatch",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {"source": {"manifest": manifest}, "template": shared | (template or {}), "passes": [2], **changes},
    }


def read_batch(name: str) -> K8sObject:
    found = fetch("pzb", name, SHOP)
    assert found is not None, f"batch {name} is gone"
    return found


def ended(name: str, seconds: float = 300, revision: int = 1) -> K8sObject:
    """The batch once that revision is Succeeded or Failed."""

    def look() -> K8sObject | None:
        found = read_batch(name)
        over = {"Succeeded", "Failed"} & true_conditions(found).keys()
        return found if over and found["status"]["revision"] == revision else None

    return wait_for(f"end of batch {name}", look, seconds)


def batch_jobs(name: str) -> list[K8sObject]:
    return fetch_all("jobs", SHOP, f"likeness.dev/batch={name}")


def batch_pods(name: str, component: str = "worker") -> list[K8sObject]:
    return fetch_all("pods", SHOP, f"likeness.dev/batch={name},app.kubernetes.io/component={component}")


def results_of(storage: Seaweed, name: str, revision: int = 1, which: str = "results.jsonl") -> list[dict[str, Any]]:
    key = f"{SHOP}/{SHOP}/.batches/{name}/{revision}/{which}"
    text = storage.client().get_object(Bucket="artifacts", Key=key)["Body"].read().decode()
    return [json.loads(line) for line in text.splitlines()]
