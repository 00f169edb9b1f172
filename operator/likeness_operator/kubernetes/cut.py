"""What is kept of an object that the API server sends: what is read of it, and no more than so much.

A tenant may put more than a megabyte into one, tens of megabytes once it is parsed. So whatever reads objects (our
calls, kopf's watches) cuts each one down before it reads the next, and before anything else holds it.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from likeness_api import GROUP
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.label import CONTAINER, QUEUE

LONGEST_TEXT = 4096
"""Characters of an annotation, a message or another text that is read: as many as a termination message may have."""
KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
)
MOST_NAMES = 16
"""Labels, and annotations, of ours that are kept: more than we ever write. Whoever adds others to our objects may take
away ours, too."""
MOST_CONDITIONS = 32


def cut(manifest: K8sObject) -> K8sObject:
    """The object with the metadata that is read of any object, and of Jobs and pods without what runs in them.

    Finalizers stay whole, for we write them back. Spec and status of our own kinds do, too: their schemas bound them.
    """
    metadata = manifest.get("metadata", {})
    kept = {name: metadata[name] for name in KEPT_METADATA if name in metadata}
    for part in ("labels", "annotations"):
        if ours := _our_names(metadata.get(part) or {}):
            kept[part] = ours
    if owners := [owner for owner in metadata.get("ownerReferences", ()) if owner.get("controller")][:1]:
        kept["ownerReferences"] = owners
    return manifest | {"metadata": kept} | _without_what_runs(manifest)


def text(value: Any) -> str:
    """The beginning of a text."""
    return str(value)[:LONGEST_TEXT]


def parse_object(document: str) -> K8sObject:
    """One object, cut down."""
    return cut(json.loads(document))


def parse_list(document: str) -> tuple[list[K8sObject], str]:
    """The objects of a list, and where it goes on, or "". Each is cut down before the next one is parsed."""
    head, opening, _ = document.partition('"items":[')
    if not opening:  # "items": null, or spaces that the API server does not send
        parsed = json.loads(document)
        return [cut(item) for item in parsed.get("items") or []], _continuation(parsed)
    decoder, items, place = json.JSONDecoder(), list[K8sObject](), len(head) + len(opening)
    while document[place] != "]":
        item, place = decoder.raw_decode(document, place)
        items.append(cut(item))
        if document[place] == ",":
            place += 1
    return items, _continuation(json.loads(f"{head}{opening}{document[place:]}"))


def _continuation(parsed: K8sObject) -> str:
    return (parsed.get("metadata") or {}).get("continue") or ""


def _our_names(values: dict[str, str]) -> dict[str, str]:
    ours = (name for name in values if name.startswith(f"{GROUP}/") or name == QUEUE)
    return {name: text(values[name]) for name in islice(ours, MOST_NAMES)}


def _without_what_runs(manifest: K8sObject) -> K8sObject:
    """The spec of a Job without its template; the spec and status of a pod with our own container alone."""
    spec, status = manifest.get("spec"), manifest.get("status")
    if not isinstance(spec, dict):
        return {}
    if "spec" in (spec.get("template") or {}):  # a pod's; a batch's template is read
        return {"spec": {name: value for name, value in spec.items() if name != "template"}}
    if "containers" not in spec:
        return {}
    containers = [{"name": CONTAINER, "resources": _memory_limit(each)} for each in _ours(spec["containers"])]
    kept: K8sObject = {"spec": {"containers": containers}}
    if isinstance(status, dict):
        about = {name: status[name] for name in ("phase", "reason", "message") if name in status}
        about["conditions"] = (status.get("conditions") or [])[:MOST_CONDITIONS]
        kept["status"] = about | {"containerStatuses": _ours(status.get("containerStatuses"))}
    return kept


def _memory_limit(container: K8sObject) -> K8sObject:
    limits = (container.get("resources") or {}).get("limits") or {}
    return {"limits": {name: limits[name] for name in ("memory",) if name in limits}}


def _ours(containers: list[K8sObject] | None) -> list[K8sObject]:
    return [each for each in containers or () if each.get("name") == CONTAINER][:1]
