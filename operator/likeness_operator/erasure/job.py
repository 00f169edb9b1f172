"""Builds the Job that erases what was published for an object: objects in, manifest out."""

from __future__ import annotations

from likeness_api.order import EncodedOrder
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_operator.erasure.owner import Owner
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.merge_patch import merge_patch
from likeness_operator.personalization.job import job_name, pod_failure_policy, pod_spec, without_containers

RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
"""To erase takes neither a model nor a GPU. Limits as well: a namespace's quota may ask for them."""
DEADLINE_SECONDS = 1800
"""For all attempts of one Job."""
TTL_SECONDS = 600
"""After it failed; then the next one is made."""


def erase_job_name(name: str, uid: str) -> str:
    """The name of the Job that erases for an object of that name and uid: fixed, of at most 57 characters."""
    return f"{job_name(name, uid)}-erase"


def build_erase_job(owner: Owner, profile_name: str, profile: TuningProfileSpec, order: EncodedOrder) -> K8sObject:
    """It runs where and as whom the tuning ran, for there the image is and the bucket can be reached.

    Without an owner reference: a deletion in the foreground would take it away before it is done. Outside of Kueue: it
    needs no GPU, and what is to be erased should not wait for those who tune.
    """
    labels = {
        label.NAME: label.PRODUCT,
        label.MANAGED_BY: label.PRODUCT,
        label.COMPONENT: label.ERASER,
        owner.owner_label: owner.name,
        label.PROFILE: profile_name,
        label.ERASES: owner.uid,
    }
    spec = pod_spec(owner.identity, profile, order, [owner.command], RESOURCES, with_models=False)
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": erase_job_name(owner.name, owner.uid), "namespace": owner.namespace, "labels": labels},
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 6,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": pod_failure_policy(),
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "template": merge_patch(template, without_containers(profile.runtime.pod_template or {})),
        },
    }
