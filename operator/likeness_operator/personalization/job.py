"""Builds the Job that tunes one subject: objects in, manifest out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from likeness_api import API_VERSION
from likeness_api.order import ORDER_VARIABLE, EncodedOrder, Order
from likeness_api.personalization import CredentialsSecretRef
from likeness_api.progress_report import PROGRESS_AUDIENCE, PROGRESS_TOKEN_FOLDER, PROGRESS_URL_VARIABLE
from likeness_api.reason import FINAL_EXIT_CODES
from likeness_api.result import TERMINATION_MESSAGE_PATH
from likeness_api.tuning_profile import ModelSource, ModelVolume, Resources, TuningProfileSpec
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.event import ObjectReference
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.merge_patch import merge_patch
from likeness_operator.personalization.facts import Personalization
from likeness_operator.personalization.job_notes import job_notes

SHORTEST_TTL_SECONDS = 60
"""A Job that goes at once could take its result along before the operator has read it."""
GRACE_SECONDS = 30
"""From SIGTERM to SIGKILL; the runtime stops after the step it is in."""
PROGRESS = "progress"
"""The volume with the token for reports."""
TOKEN_SECONDS = 3600
"""The kubelet renews it in time."""
NO_NODE_IDENTITY = "AWS_EC2_METADATA_DISABLED"
"""Keeps botocore from asking the node for its cloud role, which was given to the node and not to the namespace."""
SECRET_KEYS = {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True}
"""What a credentials Secret may put into the pod, and whether it may be left out. No other key gets in."""


@dataclass(frozen=True)
class PodIdentity:
    """As whom a pod reaches the object store: at most one of the two."""

    service_account_name: str | None
    credentials: CredentialsSecretRef | None


def job_name(name: str, uid: str) -> str:
    """The name of the Job that tunes for a Personalization of that name and uid: fixed, so there is no second one;
    at most 51 characters.
    """
    return f"{name[:40].rstrip('-')}-{hashlib.sha256(uid.encode()).hexdigest()[:10]}"


def ttl_seconds(wanted: int) -> int:
    """Seconds that a finished Job is kept: as many as wanted, and long enough for its result to be read."""
    return max(wanted, SHORTEST_TTL_SECONDS)


def build_job(
    owner: Personalization,
    profile_name: str,
    profile: TuningProfileSpec,
    order: Order,
    progress_url: str | None = None,
) -> K8sObject:
    """The Job of an accepted Personalization. Its pods report to `progress_url`, or to nobody."""
    assert owner.spec is not None
    labels = {
        label.NAME: label.PRODUCT,
        label.MANAGED_BY: label.PRODUCT,
        label.COMPONENT: label.TUNER,
        label.PERSONALIZATION_NAME: owner.name,
        label.PROFILE: profile_name,
    }
    queue = {label.QUEUE: profile.queue_name} if profile.queue_name else {}
    identity = PodIdentity(owner.spec.service_account_name, owner.spec.credentials_secret_ref)
    spec = pod_spec(identity, profile, order, ["tune"], resources(profile.runtime.resources))
    template = {"metadata": {"labels": labels}, "spec": spec}
    template = merge_patch(template, profile.runtime.pod_template or {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(owner.name, owner.uid),
            "namespace": owner.namespace,
            "labels": labels | queue,
            "annotations": job_notes(order, owner.uid),
            "ownerReferences": [owner_reference(owner.reference)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "suspend": bool(queue),  # Kueue starts what it admits
            "backoffLimit": profile.backoff_limit,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": pod_failure_policy(),
            "activeDeadlineSeconds": owner.spec.active_deadline_seconds,
            "ttlSecondsAfterFinished": ttl_seconds(owner.spec.ttl_seconds_after_finished),
            "template": reporting(template, PROGRESS_URL_VARIABLE, progress_url) if progress_url else template,
        },
    }


def owner_reference(owner: ObjectReference) -> K8sObject:
    """No blockOwnerDeletion: it would need `update` on our finalizers where OpenShift's admission plugin is on."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def pod_failure_policy() -> K8sObject:
    """In order: an eviction does not count against backoffLimit, a final exit code ends the Job, the rest counts."""
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": label.CONTAINER,
                    "operator": "In",
                    "values": [int(code) for code in FINAL_EXIT_CODES],
                },
            },
        ]
    }


def pod_spec(
    identity: PodIdentity,
    profile: TuningProfileSpec,
    order: EncodedOrder,
    command: list[str],
    resources: K8sObject,
    *,
    with_models: bool = True,
) -> K8sObject:
    """Where and as whom the profile and the user want it to run."""
    runtime = profile.runtime
    sources = [source for source in (profile.model, profile.encoder) if source] if with_models else []
    volumes, mounts = _volumes(sources)
    optional = {
        "serviceAccountName": identity.service_account_name,
        "imagePullSecrets": [{"name": name} for name in runtime.image_pull_secrets],
        "nodeSelector": runtime.node_selector,
        "tolerations": runtime.tolerations,
        "affinity": runtime.affinity,
        "runtimeClassName": runtime.runtime_class_name,
        "priorityClassName": runtime.priority_class_name,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        "containers": [
            {
                "name": label.CONTAINER,
                "image": runtime.image,
                "imagePullPolicy": runtime.image_pull_policy,
                "args": command,
                "env": _environment(profile, order, identity.credentials),
                "resources": resources,
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108 - inside the pod
                "terminationMessagePath": TERMINATION_MESSAGE_PATH,
                "terminationMessagePolicy": "File",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    } | {field: value for field, value in optional.items() if value}


def reporting(template: K8sObject, variable: str, url: str) -> K8sObject:
    """Where to report to (in that environment variable), and a token that only the operator takes. Last, so that no
    profile need know of it.
    """
    spec = template["spec"]
    token = {"audience": PROGRESS_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    volume = {"name": PROGRESS, "projected": {"sources": [{"serviceAccountToken": token}]}}
    mount = {"name": PROGRESS, "mountPath": PROGRESS_TOKEN_FOLDER, "readOnly": True}

    def with_token(container: K8sObject) -> K8sObject:
        others = [each for each in container.get("env", []) if each["name"] != variable]
        return container | {
            "env": [*others, {"name": variable, "value": url}],
            "volumeMounts": [*container.get("volumeMounts", []), mount],
        }

    containers = [with_token(each) if each.get("name") == label.CONTAINER else each for each in spec["containers"]]
    return template | {"spec": spec | {"containers": containers, "volumes": [*spec.get("volumes", []), volume]}}


def resources(wanted: Resources) -> K8sObject:
    """A limit is a request too, as Kubernetes has it once there is a pod; Kueue counts requests before there is one."""
    return wanted.model_copy(update={"requests": wanted.limits | wanted.requests}).to_json()


def _environment(
    profile: TuningProfileSpec, order: EncodedOrder, credentials: CredentialsSecretRef | None
) -> list[dict[str, object]]:
    """The profile's variables may change HOME, but neither the order nor whose credentials are used."""
    # The kubelet replaces $(NAME) in values; a doubled $ is its escape, so a prompt arrives as it was written.
    texts = {"HOME": "/tmp"} | {variable.name: variable.value for variable in profile.runtime.env}  # noqa: S108
    if not profile.storage.node_identity:
        texts[NO_NODE_IDENTITY] = "true"
    texts[ORDER_VARIABLE] = order.encode().replace("$", "$$")
    secrets = SECRET_KEYS if credentials else {}
    variables: list[dict[str, object]] = [
        {"name": name, "value": value} for name, value in texts.items() if name not in secrets
    ]
    for key, optional in secrets.items():
        assert credentials is not None
        reference = {"name": credentials.name, "key": key, "optional": optional}
        variables.append({"name": key, "valueFrom": {"secretKeyRef": reference}})
    return variables


def _volumes(sources: list[ModelSource]) -> tuple[list[K8sObject], list[K8sObject]]:
    """Pod volumes and their mounts. Model and encoder may share one volume; it is then mounted once."""
    volumes: list[K8sObject] = []
    mounts: list[K8sObject] = []
    seen: list[ModelVolume] = []
    for source in sources:
        if source.volume is None or source.volume in seen:
            continue
        name = f"model-{len(seen)}"
        seen.append(source.volume)
        cached = any(other.volume == source.volume and other.uri.startswith("s3://") for other in sources)
        volumes.append({"name": name, **_volume_source(source.volume)})
        mounts.append({"name": name, "mountPath": source.volume.mount_path, "readOnly": not cached})
    return volumes, mounts


def _volume_source(volume: ModelVolume) -> K8sObject:
    if volume.persistent_volume_claim:
        return {"persistentVolumeClaim": volume.persistent_volume_claim.to_json()}
    if volume.image:
        return {"image": volume.image.to_json()}
    return {"emptyDir": volume.empty_dir.to_json() if volume.empty_dir else {}}


def without_containers(pod_template: K8sObject) -> K8sObject:
    """A profile's pod template without containers: a list is replaced as a whole, and those are made for tuning."""
    spec = {field: value for field, value in pod_template.get("spec", {}).items() if field != "containers"}
    return pod_template | {"spec": spec}
