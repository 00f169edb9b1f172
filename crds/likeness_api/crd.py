"""The CustomResourceDefinitions, derived from the pydantic types so that the two cannot drift.

`make generate` writes them to crds/ and into the chart; CI checks that nothing differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from likeness_api import GROUP, VERSION
from likeness_api.field import Model
from likeness_api.personalization import PersonalizationSpec, PersonalizationStatus
from likeness_api.personalization_batch import PersonalizationBatchSpec, PersonalizationBatchStatus
from likeness_api.tuning_profile import TuningProfileSpec

Schema = dict[str, Any]

KEPT_KEYWORDS = (
    "type", "description", "enum", "format", "pattern", "default", "required",
    "minimum", "maximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip


def structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """A structural schema of a pydantic JSON schema: references inlined, `X | None` turned into optional X."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        return structural({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    if "x-kubernetes-int-or-string" in schema:
        schema = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if "anyOf" in schema:
        (only,) = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        outer = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return structural({**only, **outer}, definitions)
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    result = {key: schema[key] for key in KEPT_KEYWORDS if key in schema}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())  # docstrings are wrapped
    if isinstance(result.get("default"), dict | list):
        del result[
            "default"
        ]  # the types fill these in; a default object in the CRD would only be noise in `kubectl get -o yaml`
    if "properties" in schema:
        result["properties"] = {name: structural(value, definitions) for name, value in schema["properties"].items()}
    if "items" in schema:
        result["items"] = structural(schema["items"], definitions)
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    return result


def schema_of(model: type[Model], description: str) -> Schema:
    schema = model.model_json_schema(by_alias=True)
    return structural(schema, schema.get("$defs", {})) | {"description": description}


def rule(expression: str, message: str) -> dict[str, str]:
    return {"rule": expression, "message": message}


def immutable(field: str) -> dict[str, str]:
    """Neither changed nor added nor removed: a rule on the field alone would not see it being removed."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} defines the result and cannot be changed; create a new resource instead",
    )


def changes_with_revision(field: str) -> dict[str, str]:
    """What defines the results of a revision is the same for all of its subjects."""
    same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return rule(
        f"self.revision != oldSelf.revision || ({same})",
        f"{field} defines the results of a revision; raise revision to change it",
    )


def one_volume(path: str) -> dict[str, str]:
    kinds = ("persistentVolumeClaim", "image", "emptyDir")
    count = " + ".join(f"(has({path}.volume.{kind}) ? 1 : 0)" for kind in kinds)
    return rule(
        f"!has({path}) || !has({path}.volume) || {count} == 1",
        f"{path.removeprefix('self.')}.volume needs exactly one of {', '.join(kinds)}",
    )


PERSONALIZATION_RULES = [
    *(immutable(field) for field in ("profile", "subject", "token", "output", "previews", "tuning")),
    *(immutable(field) for field in ("serviceAccountName", "credentialsSecretRef", "deletionPolicy")),
    rule("self.subject.images.all(i, i.uri.startsWith('s3://'))", "subject.images[].uri must be s3:// in a cluster"),
    rule(
        "self.subject.images.all(i, !has(i.caption) || i.caption.contains('{token}'))",
        "subject.images[].caption must hold {token} where the subject is, as in 'a photo of a {token} on a table'",
    ),
    rule("self.output.startsWith('s3://')", "output must be an s3:// prefix in a cluster"),
    rule(
        "!(has(self.serviceAccountName) && has(self.credentialsSecretRef))",
        "give serviceAccountName or credentialsSecretRef, not both: a Secret's keys would win over the service account",
    ),
]
BATCH_RULES = [
    *(changes_with_revision(field) for field in ("source", "template", "passes")),
    immutable("deletionPolicy"),
    rule("self.template.output.startsWith('s3://')", "template.output must be an s3:// prefix in a cluster"),
    rule(
        "!(has(self.template.serviceAccountName) && has(self.template.credentialsSecretRef))",
        "give serviceAccountName or credentialsSecretRef, not both: a Secret's keys would win over the service account",
    ),
    rule(
        "!has(self.template.tuning) || !has(self.template.tuning.steps)",
        "template.tuning.steps: the steps are in passes",
    ),
    rule("has(self.source.manifest) != has(self.source.prefix)", "source needs exactly one of manifest, prefix"),
]
PROFILE_RULES = [
    one_volume("self.model"),
    one_volume("self.encoder"),
    rule(
        "!self.model.uri.startsWith('s3://') || (has(self.model.volume) && (has(self.model.volume.emptyDir)"
        " || has(self.model.volume.persistentVolumeClaim)))",
        "an s3:// model needs a volume (emptyDir or persistentVolumeClaim) to be fetched to",
    ),
]


def column(name: str, path: str, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})


AGE = column("Age", ".metadata.creationTimestamp", "date")
# Conditions are kept in the order Failed, Succeeded, Suspended, Running, Waiting, Accepted: the first true one is the
# state.
STATE = column("State", '.status.conditions[?(@.status=="True")].type')
REASON = column("Reason", '.status.conditions[?(@.status=="True")].reason', priority=1)


@dataclass(frozen=True)
class Kind:
    """One of our resources, as the API server is told about it."""

    kind: str
    plural: str
    short: str
    scope: str
    description: str
    spec: type[Model]
    rules: list[dict[str, str]]
    columns: list[dict[str, Any]]
    status: type[Model] | None = None
    selectable: tuple[str, ...] = ()


KINDS = (
    Kind(
        "TuningProfile", "tuningprofiles", "tp", "Cluster",
        "Which model, which GPUs, which buckets, which limits; owned by the platform team.",
        TuningProfileSpec, PROFILE_RULES,
        [column("Model", ".spec.model.uri"), column("Image", ".spec.runtime.image", priority=1),
         column("Default", ".spec.default", "boolean"), AGE],
    ),
    Kind(
        "Personalization", "personalizations", "pz", "Namespaced",
        "One subject, from pictures in object storage, to be taught to the profile's text-to-image model.",
        PersonalizationSpec, PERSONALIZATION_RULES,
        [STATE, column("Step", ".status.progress.step", "integer"), column("Nearest word", ".status.nearestWord"), AGE,
         REASON, column("Profile", ".spec.profile", priority=1),
         column("Encoder", '.status.conditions[?(@.type=="EncoderUsed")].status', priority=1),
         column("Manifest", ".status.manifest.uri", priority=1)],
        PersonalizationStatus, (".spec.profile", ".status.unwatched"),
    ),
    Kind(
        "PersonalizationBatch", "personalizationbatches", "pzb", "Namespaced",
        "A catalogue of subjects, tuned shard by shard.",
        PersonalizationBatchSpec, BATCH_RULES,
        [STATE, column("Done", ".status.counts.succeeded", "integer"),
         column("Failed", ".status.counts.failed", "integer"),
         column("Rate", ".status.subjectsPerHour", "integer"), column("ETA", ".status.etaTime"), AGE, REASON,
         column("Total", ".status.counts.total", "integer", priority=1),
         column("Skipped", ".status.counts.skipped", "integer", priority=1),
         column("Workers", ".status.workers", "integer", priority=1),
         column("On track", '.status.conditions[?(@.type=="OnTrack")].status', priority=1)],
        PersonalizationBatchStatus,
    ),
)  # fmt: skip


def manifest(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind. Names are at most 63 characters, so that they fit into labels."""
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": schema_of(kind.spec, kind.description) | {"x-kubernetes-validations": kind.rules},
    }
    if kind.status:
        properties["status"] = schema_of(kind.status, "Written by the operator.")
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": kind.columns,
        "schema": {
            "openAPIV3Schema": {
                "description": kind.description,
                "type": "object",
                "required": ["spec"],
                "properties": properties,
                "x-kubernetes-validations": [
                    rule(
                        "self.metadata.name.size() <= 63",
                        "metadata.name is a label and a file name: at most 63 characters",
                    ),
                    rule("!self.metadata.name.contains('.')", "metadata.name is a label and a file name: no dots"),
                ],
            }
        },
    }
    if kind.status:
        version["subresources"] = {"status": {}}
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["likeness"],
            },
            "versions": [version],
        },
    }
