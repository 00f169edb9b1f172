"""What the chart's admission policies refuse and what they let through, by the word of a real API server.

All requests are dry runs under another's name, so that rights, policies and validation answer as they would to the real
one. Runs on a fake node too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from given import UID, a_personalization, a_profile
from kube import RESTRICTED, CommandFailedError, apply, kubectl, wait_for
from likeness_api.accept import Refusal, accept, accept_erase
from likeness_operator.erasure.job import build_erase_job
from likeness_operator.erasure.owner import personalization_owner
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.job import build_job
from shop import SYSTEM, install_chart

NAMESPACE = "shop-admission"
OPERATOR = f"system:serviceaccount:{SYSTEM}:likeness-operator"
TENANT = f"system:serviceaccount:{NAMESPACE}:tenant"
ADMIN = "somebody-with-all-rights"
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
REPLICA_SETS = "system:serviceaccount:kube-system:replicaset-controller"
STANDING, TENANTS = "standing-tune", "standing"
"""Jobs that are there: one of the operator's, one of the tenant's."""
OURS = {"app.kubernetes.io/managed-by": "likeness"}
PLAIN = {
    "restartPolicy": "Never",
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "tuner",
            "image": "none:1",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
Change = Callable[[K8sObject], object]


def tuning_job(spec: K8sObject | None = None, **profile: Any) -> K8sObject:
    """As the operator builds it, with all that it can have in it."""
    made = a_profile(**profile)
    owner = a_personalization({"credentialsSecretRef": {"name": "keys"}} | (spec or {}))
    assert owner.spec is not None
    order = accept(owner.name, owner.namespace, owner.spec, made.spec)
    assert not isinstance(order, Refusal), order
    return here(build_job(owner, made.name, made.spec, order, "http://likeness-operator:8081/progress"))


def erasing_job() -> K8sObject:
    made, owner = a_profile(), a_personalization({"deletionPolicy": "Delete", "credentialsSecretRef": {"name": "keys"}})
    assert owner.spec is not None
    order = accept_erase(owner.name, owner.namespace, owner.spec, made.spec)
    assert not isinstance(order, Refusal), order
    return here(build_erase_job(personalization_owner(owner), made.name, made.spec, order))


def here(manifest: K8sObject) -> K8sObject:
    placed = manifest | {"metadata": manifest["metadata"] | {"namespace": NAMESPACE}}
    copied: K8sObject = json.loads(json.dumps(placed))
    return copied


def pod_of(job: K8sObject) -> K8sObject:
    pod: K8sObject = job["spec"]["template"]["spec"]
    return pod


def tuner_of(job: K8sObject) -> K8sObject:
    tuner: K8sObject = pod_of(job)["containers"][0]
    return tuner


def somebodys_job(labels: K8sObject | None = None, pod_labels: K8sObject | None = None, name: str = "own") -> K8sObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or {}},
        "spec": {"suspend": True, "template": {"metadata": {"labels": pod_labels or {}}, "spec": PLAIN}},
    }


def pod(labels: K8sObject | None = None, owner: str = "") -> K8sObject:
    owners = [{"apiVersion": "batch/v1", "kind": owner, "name": "x", "uid": UID, "controller": True}] if owner else []
    metadata = {"name": "pod", "namespace": NAMESPACE, "labels": labels or {}, "ownerReferences": owners}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": PLAIN}


def personalization(**metadata: Any) -> K8sObject:
    return {
        "apiVersion": "likeness.dev/v1alpha1",
        "kind": "Personalization",
        "metadata": {"name": "large", "namespace": NAMESPACE} | metadata,
        "spec": {"profile": "none", "subject": {"images": [{"uri": "s3://a/b.jpg"}]}, "output": "s3://artifacts/x"},
    }


def create(manifest: K8sObject, user: str) -> str:
    """The API server's answer to a dry run in `user`'s name; raises what it refuses.

    The operator and the tenant have their own rights, the others all that there are.
    """
    whoever = [] if user in (OPERATOR, TENANT) else ["--as-group=system:masters"]
    return kubectl("create", "--dry-run=server", f"--as={user}", *whoever, "-f", "-", stdin=json.dumps(manifest))


def refused(manifest: K8sObject, user: str, policy: str, words: str) -> None:
    with pytest.raises(CommandFailedError) as error:
        create(manifest, user)
    message = str(error.value)
    assert f"ValidatingAdmissionPolicy 'likeness-{policy}'" in message
    assert words in message


def in_force(manifest: K8sObject, user: str) -> bool:
    """A policy holds a moment after it is stored."""
    try:
        create(manifest, user)
    except CommandFailedError as error:
        return "denied request" in str(error)
    return False


@pytest.fixture(scope="module")
def namespace(release: str) -> Iterator[str]:
    """Restricted, with a tenant who has `edit`, and two Jobs that stay: one of the operator's, one of the tenant's.

    The operator's has another name than the one that the operator would look for, so that it is left alone.
    """
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    account = {"kind": "ServiceAccount", "name": "tenant", "namespace": NAMESPACE}
    edit = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": RESTRICTED}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant", "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tenant", "namespace": NAMESPACE},
            "roleRef": edit,
            "subjects": [account],
        },
    )
    wait_for("the policies", lambda: in_force(somebodys_job(OURS), TENANT), seconds=30)
    apply(personalization(name="waits"))
    uid = kubectl("-n", NAMESPACE, "get", "pz", "waits", "-o", "jsonpath={.metadata.uid}")
    standing = tuning_job()
    standing["metadata"]["name"] = STANDING
    standing["metadata"]["labels"]["likeness.dev/personalization"] = "waits"
    standing["metadata"]["ownerReferences"][0] |= {"name": "waits", "uid": uid}
    standing["spec"]["suspend"] = True
    kubectl("create", f"--as={OPERATOR}", "-f", "-", stdin=json.dumps(standing))
    kubectl("create", f"--as={TENANT}", "-f", "-", stdin=json.dumps(somebodys_job(name=TENANTS)))
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_no_expression_has_a_fault_that_the_api_server_could_see(release: str) -> None:
    def checked() -> list[K8sObject]:
        selector = "app.kubernetes.io/instance=likeness"
        text = kubectl("get", "validatingadmissionpolicies", "-l", selector, "-o", "json")
        policies: list[K8sObject] = json.loads(text)["items"]
        return policies if all("typeChecking" in policy.get("status", {}) for policy in policies) else []

    policies = wait_for("the type checks", checked, seconds=30)
    assert len(policies) == 5
    assert [policy["metadata"]["name"] for policy in policies if policy["status"]["typeChecking"]] == []


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(tuning_job(), id="tunes"),
        pytest.param(erasing_job(), id="erases"),
        pytest.param(tuning_job({"serviceAccountName": "tuner"}, queueName="gpus"), id="queued"),
        pytest.param(
            tuning_job(model={"uri": "file:///models/sd15", "volume": {"persistentVolumeClaim": {"claimName": "m"}}}),
            id="claim",
        ),
        pytest.param(
            tuning_job(model={"uri": "s3://models/sd15", "volume": {"emptyDir": {"sizeLimit": "8Gi"}}}), id="cache"
        ),
    ],
)
def test_the_operator_creates_its_jobs(namespace: str, job: K8sObject) -> None:
    assert "created" in create(job, OPERATOR)


def projected(*sources: K8sObject) -> Change:
    return lambda job: pod_of(job)["volumes"].append({"name": "more", "projected": {"sources": list(sources)}})


def volume(**source: Any) -> Change:
    return lambda job: pod_of(job)["volumes"].append({"name": "more", **source})


def field(name: str, value: object) -> Change:
    return lambda job: pod_of(job).update({name: value})


def of_container(name: str, value: object) -> Change:
    return lambda job: tuner_of(job).update({name: value})


def secured(**changes: object) -> Change:
    return lambda job: tuner_of(job)["securityContext"].update(changes)


def another_container(job: K8sObject) -> None:
    more = tuner_of(job) | {"name": "more", "securityContext": {"privileged": True}, "volumeMounts": []}
    pod_of(job)["initContainers"] = [more]


def secret_key(key: str) -> K8sObject:
    return {"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": key}}}


KUBE_TOKEN = {"serviceAccountToken": {"path": "token", "audience": "https://kubernetes.default.svc"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(secured(privileged=True, allowPrivilegeEscalation=True), "privileged", id="privileged"),
        pytest.param(another_container, "privileged", id="privileged-init-container"),
        pytest.param(secured(capabilities={"add": ["SYS_ADMIN"]}), "capabilities", id="capability"),
        pytest.param(field("hostNetwork", True), "hostNetwork", id="host-network"),
        pytest.param(field("hostPID", True), "hostPID", id="host-pid"),
        pytest.param(field("hostIPC", True), "hostIPC", id="host-ipc"),
        pytest.param(of_container("ports", [{"containerPort": 80, "hostPort": 80}]), "hostPort", id="host-port"),
        pytest.param(volume(hostPath={"path": "/"}), "spec.volumes", id="host-path"),
        pytest.param(volume(secret={"secretName": "another"}), "spec.volumes", id="secret-volume"),
        pytest.param(volume(nfs={"server": "a", "path": "/"}), "spec.volumes", id="nfs"),
        pytest.param(volume(csi={"driver": "secrets-store.csi.k8s.io"}), "spec.volumes", id="csi"),
        pytest.param(projected({"secret": {"name": "another"}}), "spec.volumes", id="projected-secret"),
        pytest.param(projected(KUBE_TOKEN), "spec.volumes", id="token-of-the-api-server"),
        pytest.param(projected({"serviceAccountToken": {"path": "t"}}), "spec.volumes", id="token-for-nobody-named"),
        pytest.param(field("automountServiceAccountToken", True), "automount", id="automounted-token"),
        pytest.param(lambda job: pod_of(job).pop("automountServiceAccountToken"), "automount", id="token-by-default"),
        pytest.param(of_container("envFrom", [{"secretRef": {"name": "another"}}]), "envFrom", id="env-from"),
        pytest.param(lambda job: tuner_of(job)["env"].append(secret_key("password")), "env", id="another-key"),
        pytest.param(lambda job: job["metadata"].pop("ownerReferences"), "ownerReferences", id="nobodys"),
        pytest.param(
            lambda job: job["metadata"]["ownerReferences"][0].update(kind="ConfigMap", apiVersion="v1"),
            "ownerReferences",
            id="a-config-maps",
        ),
        pytest.param(
            lambda job: job["metadata"]["labels"].update({"likeness.dev/personalization": "another"}),
            "ownerReferences",
            id="of-another-name",
        ),
        pytest.param(
            lambda job: job["metadata"]["labels"].pop("app.kubernetes.io/managed-by"), "metadata.labels", id="plain"
        ),
    ],
)  # fmt: skip
def test_the_operators_account_creates_nothing_else(namespace: str, change: Change, words: str) -> None:
    job = tuning_job()
    change(job)
    refused(job, OPERATOR, "created-jobs", words)


def test_nor_anything_where_kubernetes_itself_runs(namespace: str) -> None:
    job = tuning_job()
    job["metadata"]["namespace"] = "kube-system"
    refused(job, OPERATOR, "created-jobs", "Kubernetes itself")


def test_the_operator_leaves_others_jobs_alone(namespace: str) -> None:
    def delete(name: str) -> str:
        return kubectl("-n", NAMESPACE, "delete", "job", name, "--dry-run=server", f"--as={OPERATOR}")

    def patch(name: str) -> str:
        spec = '{"spec": {"activeDeadlineSeconds": 7}}'
        return kubectl("-n", NAMESPACE, "patch", "job", name, "--dry-run=server", f"--as={OPERATOR}", "-p", spec)

    for verb in (delete, patch):
        assert STANDING in verb(STANDING)
        with pytest.raises(CommandFailedError, match="changes and deletes only Jobs labelled"):
            verb(TENANTS)


@pytest.mark.parametrize("user", [TENANT, ADMIN, JOB_CONTROLLER])
@pytest.mark.parametrize(
    "job",
    [
        pytest.param(somebodys_job(OURS), id="job"),
        pytest.param(somebodys_job(pod_labels=OURS), id="its-pods"),
        pytest.param(tuning_job(), id="the-operators-own"),
    ],
)
def test_nobody_else_creates_a_job_that_passes_for_the_operators(namespace: str, user: str, job: K8sObject) -> None:
    refused(job, user, "labelled-jobs", "by nobody")


@pytest.mark.parametrize(
    ("user", "owner"), [(TENANT, ""), (TENANT, "Job"), (ADMIN, "Job"), (JOB_CONTROLLER, ""), (REPLICA_SETS, "Job")]
)
def test_nobody_but_the_job_controller_creates_a_pod_that_passes_for_the_operators(
    namespace: str, user: str, owner: str
) -> None:
    refused(pod(OURS, owner), user, "labelled-pods", "by nobody")


def test_pods_of_jobs_and_what_is_nobodys_business_go_through(namespace: str) -> None:
    assert "created" in create(pod(OURS, "Job"), JOB_CONTROLLER)
    assert "created" in create(pod(), TENANT)
    assert "created" in create(somebodys_job({"app.kubernetes.io/managed-by": "tenant"}), TENANT)


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"metadata": {"labels": {"likeness.dev/personalization": "another"}}}, id="another-name"),
        pytest.param({"metadata": {"labels": {"likeness.dev/erases": "another"}}}, id="another-uid"),
        pytest.param({"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}, id="unlabelled"),
        pytest.param(
            {
                "metadata": {
                    "ownerReferences": [
                        {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": UID, "blockOwnerDeletion": False}
                    ]
                }
            },
            id="owned",
        ),
    ],
)
def test_whose_a_job_is_stays(namespace: str, patch: K8sObject) -> None:
    with pytest.raises(CommandFailedError, match="cannot be changed"):
        merge(STANDING, patch, TENANT)


def test_nobody_makes_a_job_the_operators_by_a_label(namespace: str) -> None:
    with pytest.raises(CommandFailedError, match="cannot be changed"):
        merge(TENANTS, {"metadata": {"labels": OURS}}, TENANT)
    with pytest.raises(CommandFailedError, match="cannot be changed"):
        merge(TENANTS, {"spec": {"template": {"metadata": {"labels": OURS}}}}, TENANT)


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"spec": {"suspend": False}}, id="resumed"),
        pytest.param({"spec": {"template": {"spec": {"nodeSelector": {"pool": "a"}}}}}, id="placed-by-kueue"),
        pytest.param({"metadata": {"annotations": {"note": "x"}, "labels": {"team": "ml"}}}, id="noted"),
        pytest.param({"metadata": {"finalizers": ["example.com/hold"]}}, id="held"),
    ],
)
def test_what_kueue_and_people_do_to_a_job_goes_through(namespace: str, patch: K8sObject) -> None:
    assert "patched" in merge(STANDING, patch, TENANT)


def merge(job: str, patch: K8sObject, user: str) -> str:
    command = ("patch", "job", job, "--type=merge", "-p", json.dumps(patch), "--dry-run=server", f"--as={user}")
    return kubectl("-n", NAMESPACE, *command)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        pytest.param({"annotations": {"a": "x" * 250_000}}, "250001 characters", id="one-annotation"),
        pytest.param({"annotations": {f"a{i}": "x" * 999 for i in range(40)}}, "at most 32768", id="annotations"),
        pytest.param({"labels": {f"l{i}": "x" for i in range(65)}}, "65 of them, at most 64", id="labels"),
        pytest.param({"finalizers": [f"a.dev/{i}" for i in range(17)]}, "17 of them, at most 16", id="finalizers"),
        pytest.param(
            {
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": f"{i}"} for i in range(9)
                ]
            },
            "9 of them, at most 8",
            id="owners",
        ),
    ],
)
def test_the_metadata_of_a_personalization_is_bounded(namespace: str, metadata: K8sObject, words: str) -> None:
    refused(personalization(**metadata), TENANT, "metadata", words)


def test_a_personalization_within_the_bounds_is_taken(namespace: str) -> None:
    assert "created" in create(personalization(), TENANT)
    most = {"annotations": {"a": "x" * 32_767}, "labels": {f"l{i}": "x" for i in range(64)}}
    assert "created" in create(personalization(**most), TENANT)


IMAGES = ("admissionPolicy.images={docker.io/likeness/runtime,likeness/runtime}",)
ACCOUNTS = ("admissionPolicy.serviceAccounts={default,tuner}",)


@pytest.fixture(scope="module")
def lists(namespace: str) -> Iterator[None]:
    """The chart with lists of images and accounts, after a while without policies in which a large object was made."""
    install_chart("admissionPolicy.enabled=false")
    wait_for("no policy", lambda: not in_force(somebodys_job(OURS), TENANT), seconds=30)
    apply(personalization(annotations={"a": "x" * 100_000}))
    install_chart(*IMAGES, *ACCOUNTS)
    wait_for("the lists", lambda: in_force(tuning_job(runtime={"image": "other:1"}), OPERATOR), seconds=30)
    yield
    install_chart()
    wait_for("no lists", lambda: not in_force(tuning_job(runtime={"image": "other:1"}), OPERATOR), seconds=30)


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("image", ["likeness/runtime:1", "docker.io/likeness/runtime@sha256:" + "0" * 64])
def test_images_of_the_list_run(image: str) -> None:
    assert "created" in create(tuning_job(runtime={"image": image}), OPERATOR)


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("image", ["likeness/runtime-of-mine:1", "evil.example/likeness/runtime:1", "likeness:1"])
def test_others_do_not(image: str) -> None:
    refused(tuning_job(runtime={"image": image}), OPERATOR, "created-jobs", "docker.io/likeness/runtime")


@pytest.mark.usefixtures("lists")
def test_nor_does_a_model_in_another_image() -> None:
    job = tuning_job(model={"uri": "file:///models/sd15", "volume": {"image": {"reference": "evil.example/model:1"}}})
    plain = somebodys_job()
    pod_of(plain)["volumes"] = [{"name": "model", "image": {"reference": "evil.example/model:1"}}]
    if "evil" not in kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(plain)):
        pytest.skip("this API server leaves image volumes out (feature gate ImageVolume)")
    refused(job, OPERATOR, "created-jobs", "docker.io/likeness/runtime")


@pytest.mark.usefixtures("lists")
def test_a_foreign_service_account_is_refused() -> None:
    assert "created" in create(tuning_job({"serviceAccountName": "tuner"}), OPERATOR)
    refused(tuning_job({"serviceAccountName": "billing"}), OPERATOR, "created-jobs", "billing is none of")


@pytest.mark.usefixtures("lists")
def test_what_was_large_before_can_still_be_looked_after() -> None:
    finalizer = json.dumps({"metadata": {"finalizers": ["likeness.dev/erase"]}})
    more = json.dumps({"metadata": {"annotations": {"b": "x"}}})
    patch = ("-n", NAMESPACE, "patch", "pz", "large", "--type=merge", "--dry-run=server", "-p")
    assert "patched" in kubectl(*patch, finalizer, f"--as={OPERATOR}")
    with pytest.raises(CommandFailedError, match="100003 characters"):
        kubectl(*patch, more, f"--as={TENANT}")
