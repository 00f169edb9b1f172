"""What the pods of a batch's three kinds of Jobs get, and what these are called."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from tests.operator.batch.batch_given import (
    BATCH,
    BATCH_SPEC,
    BATCH_UID,
    a_batch,
    a_batch_job,
    a_worker,
    built,
)

from given import NAMESPACE, PROFILE, a_profile
from likeness_api.batch_order import BatchOrder
from likeness_api.progress_report import PROGRESS_AUDIENCE, PROGRESS_TOKEN_FOLDER
from likeness_api.shard_report import SHARDS_URL_VARIABLE
from likeness_operator.batch.job import JobPlace, Role, batch_job_name, made_by_us, place_of
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.cut import cut
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.profile import Profile

GPU = {"limits": {"nvidia.com/gpu": 1, "memory": "16Gi"}}
PLACES = [JobPlace(role, 0) for role in Role]
PLANNER, WORKER, COLLECTOR = PLACES
each_place = pytest.mark.parametrize("place", PLACES, ids=[place.role for place in PLACES])
each_bookkeeper = pytest.mark.parametrize("place", [PLANNER, COLLECTOR], ids=["planner", "collector"])
LIMITED = {"priorityClassNames": ["overnight"]}


def pod_spec(job: K8sObject) -> K8sObject:
    spec: K8sObject = job["spec"]["template"]["spec"]
    return spec


def container(job: K8sObject) -> K8sObject:
    (only,) = pod_spec(job)["containers"]
    found: K8sObject = only
    return found


def environment(job: K8sObject) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(job)["env"]}


def with_gpu(**more: object) -> Profile:
    return a_profile(runtime={"image": "likeness/runtime:1", "resources": GPU, **more})


@each_place
def test_the_watches_find_a_job_and_its_pods_by_their_labels(place: JobPlace) -> None:
    job = built(place)
    expected = {
        label.NAME: "likeness",
        label.MANAGED_BY: "likeness",
        label.COMPONENT: place.role,
        label.BATCH_NAME: BATCH,
        label.PROFILE: "sd15",
    }
    assert job["metadata"]["labels"] == expected
    assert job["spec"]["template"]["metadata"]["labels"] == expected
    assert label.BATCH_NAME in cut(job)["metadata"]["labels"]


@each_place
def test_a_job_belongs_to_its_batch(place: JobPlace) -> None:
    job = built(place)
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("PersonalizationBatch", BATCH, BATCH_UID)
    assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, False)
    assert job["metadata"]["namespace"] == NAMESPACE


@each_place
def test_a_pod_is_told_what_it_is_there_for_and_the_order(place: JobPlace) -> None:
    job = built(place)
    assert container(job)["args"] == [{"planner": "plan", "worker": "work", "collector": "collect"}[place.role]]
    order = BatchOrder.decode(environment(job)["LIKENESS_ORDER"].replace("$$", "$"))
    assert (order.namespace, order.name, order.spec) == (NAMESPACE, BATCH, a_batch().spec)


def test_a_collector_may_be_told_that_not_all_is_done() -> None:
    assert container(built(replace(COLLECTOR, unfinished=True)))["args"] == ["collect", "--unfinished"]


@each_place
def test_equal_inputs_build_equal_jobs(place: JobPlace) -> None:
    assert json.dumps(built(place)) == json.dumps(built(place))


def test_a_worker_gets_what_the_profile_says() -> None:
    resources = container(built(WORKER, profile=with_gpu()))["resources"]
    assert resources == {"limits": GPU["limits"], "requests": GPU["limits"]}


@each_bookkeeper
def test_who_keeps_the_books_takes_no_gpu_and_has_limits_for_a_quota(place: JobPlace) -> None:
    resources = container(built(place, profile=with_gpu()))["resources"]
    assert set(resources["limits"]) == set(resources["requests"]) == {"cpu", "memory"}


@each_bookkeeper
def test_what_the_profile_patches_into_containers_is_for_workers_alone(place: JobPlace) -> None:
    patch = {
        "metadata": {"annotations": {"team": "shop"}},
        "spec": {"hostNetwork": False, "containers": [{"name": "tuner", "resources": GPU}]},
    }
    profile = with_gpu(podTemplate=patch)
    assert "nvidia.com/gpu" not in json.dumps(built(place, profile=profile))
    assert pod_spec(built(place, profile=profile))["hostNetwork"] is False
    assert built(place, profile=profile)["spec"]["template"]["metadata"]["annotations"] == {"team": "shop"}
    assert container(built(WORKER, profile=profile))["resources"] == GPU


def test_a_worker_has_time_to_finish_what_it_has_in_hand() -> None:
    assert [pod_spec(built(place))["terminationGracePeriodSeconds"] for place in PLACES] == [30, 60, 30]


@each_place
def test_the_priority_class_is_the_batchs_own_or_else_the_profiles(place: JobPlace) -> None:
    profile = a_profile(runtime={"image": "i", "priorityClassName": "usual"}, limits=LIMITED)
    asked = built(place, a_batch({"priorityClassName": "overnight"}), profile)
    assert pod_spec(asked)["priorityClassName"] == "overnight"
    assert pod_spec(built(place, profile=profile))["priorityClassName"] == "usual"
    assert "priorityClassName" not in pod_spec(built(place))


def test_workers_alone_wait_in_kueues_queue() -> None:
    jobs = [built(place, profile=a_profile(queueName="gpus")) for place in PLACES]
    assert [job["metadata"]["labels"].get(label.QUEUE) for job in jobs] == [None, "gpus", None]
    assert [job["spec"]["suspend"] for job in jobs] == [False, True, False]
    assert not any(label.QUEUE in job["spec"]["template"]["metadata"]["labels"] for job in jobs)


def test_without_a_queue_nothing_is_suspended() -> None:
    assert [built(place)["spec"]["suspend"] for place in PLACES] == [False, False, False]


def test_a_worker_is_replaced_by_the_operator_and_not_by_its_job() -> None:
    spec = built(WORKER)["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 900)
    assert not {"podFailurePolicy", "activeDeadlineSeconds"} & set(spec)


@each_bookkeeper
def test_who_keeps_the_books_is_tried_again_by_its_job(place: JobPlace) -> None:
    spec = built(place, profile=a_profile(backoffLimit=2))["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (2, 21_600)
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]


@each_bookkeeper
def test_a_result_cannot_go_before_it_was_read(place: JobPlace) -> None:
    ttls = [built(place, a_batch({"ttlSecondsAfterFinished": ttl}))["spec"] for ttl in (0, 3600)]
    assert [spec["ttlSecondsAfterFinished"] for spec in ttls] == [60, 3600]


def test_workers_alone_report_and_have_a_token_for_it() -> None:
    job = built(WORKER)
    assert environment(job)[SHARDS_URL_VARIABLE] == "http://likeness-operator.system.svc:8081/shards"
    (source,) = [volume for volume in pod_spec(job)["volumes"] if "projected" in volume]
    (token,) = [each["serviceAccountToken"] for each in source["projected"]["sources"]]
    assert token["audience"] == PROGRESS_AUDIENCE
    assert PROGRESS_TOKEN_FOLDER in [mount["mountPath"] for mount in container(job)["volumeMounts"]]
    for place in (PLANNER, COLLECTOR):
        assert SHARDS_URL_VARIABLE not in environment(built(place))
        assert "serviceAccountToken" not in json.dumps(built(place))


def test_a_collector_needs_no_model() -> None:
    volume = {"uri": "file:///models/sd15", "volume": {"persistentVolumeClaim": {"claimName": "models"}}}
    jobs = [json.dumps(built(place, profile=a_profile(model=volume))) for place in PLACES]
    assert ["persistentVolumeClaim" in json.dumps(json.loads(job)["spec"]["template"]["spec"]["volumes"])
            for job in jobs] == [True, True, False]  # fmt: skip


@each_place
def test_pods_reach_the_object_store_as_the_template_says(place: JobPlace) -> None:
    by_account = a_batch({"template": BATCH_SPEC["template"] | {"serviceAccountName": "writer"}})
    assert pod_spec(built(place, by_account))["serviceAccountName"] == "writer"
    by_secret = a_batch({"template": BATCH_SPEC["template"] | {"credentialsSecretRef": {"name": "keys"}}})
    assert "AWS_ACCESS_KEY_ID" in environment(built(place, by_secret))
    assert "AWS_ACCESS_KEY_ID" not in environment(built(place))


@each_place
def test_a_pod_has_neither_rights_nor_a_token_of_the_api_servers(place: JobPlace) -> None:
    assert pod_spec(built(place))["automountServiceAccountToken"] is False
    assert container(built(place))["securityContext"]["readOnlyRootFilesystem"] is True


names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@hypothesis_given(names, st.uuids(), st.sampled_from(list(Role)), st.integers(0, 999_999_999), st.integers(1, 10**9))
def test_a_jobs_name_is_a_label_and_says_its_place(
    name: str, uid: object, role: Role, number: int, revision: int
) -> None:
    batch = a_batch({"revision": revision}, name=name, uid=str(uid))
    made = batch_job_name(batch, JobPlace(role, number))
    assert len(made) <= 63
    assert made[0].isalnum()
    assert made[-1].isalnum()
    assert "--" not in made.removeprefix(name[:40].rstrip("-"))
    assert place_of(batch, replace(a_worker(0), name=made)) == JobPlace(role, number)


@pytest.mark.parametrize("name", ["x" * 63, "x" * 39 + "-" + "y" * 23])
def test_the_longest_names_make_labels(name: str) -> None:
    longest = batch_job_name(a_batch(name=name), JobPlace(Role.WORKER, 999_999_999))
    assert len(longest) <= 63
    assert "--" not in longest


def test_a_jobs_name_is_fixed() -> None:
    assert batch_job_name(a_batch(), WORKER) == batch_job_name(a_batch({"workers": {"max": 9}}, generation=5), WORKER)


def test_no_two_places_revisions_or_namesakes_share_a_name() -> None:
    batches = [a_batch(), a_batch({"revision": 2}), a_batch(uid="another")]
    made = {batch_job_name(batch, place) for batch in batches for place in (*PLACES, JobPlace(Role.WORKER, 1))}
    assert len(made) == 12


@pytest.mark.parametrize("ending", ["", "w", "3", "w-1", "x3", "w3-x", "w1234567890", "p0\n", "W3"])
def test_other_names_are_of_no_place(ending: str) -> None:
    job = a_worker(3)
    assert place_of(a_batch(), job) == JobPlace(Role.WORKER, 3)
    assert place_of(a_batch(), replace(job, name=job.name.removesuffix("w3") + ending)) is None


def test_a_collector_that_is_early_is_told_from_the_last_by_its_name() -> None:
    early = replace(COLLECTOR, unfinished=True)
    assert place_of(a_batch(), a_batch_job(COLLECTOR, unfinished=True)) == early
    assert place_of(a_batch(), a_batch_job(COLLECTOR)) == COLLECTOR
    longest = replace(early, number=999_999_999)
    assert len(batch_job_name(a_batch(name="x" * 63), longest)) <= 63


def test_a_job_of_another_revision_is_of_no_place() -> None:
    assert place_of(a_batch({"revision": 2}), a_worker(3)) is None
    assert place_of(a_batch(uid="another"), a_worker(3)) is None


def test_what_the_operator_made_is_told_from_what_another_one_gave_our_name_and_owner() -> None:
    assert made_by_us(a_batch(), a_worker(3))
    assert not made_by_us(a_batch(), a_worker(3, annotations={}))
    assert not made_by_us(a_batch(), replace(a_worker(3), owner_uid="another"))
    assert not made_by_us(a_batch({"revision": 2}), a_batch_job(WORKER))


@each_place
def test_a_job_keeps_its_marks_when_it_is_cut_down(place: JobPlace) -> None:
    assert made_by_us(a_batch(), a_batch_job(place))
    assert a_batch_job(place).profile == "sd15"


def test_the_profile_in_the_order_is_without_where_its_pods_run() -> None:
    profile = with_gpu(nodeSelector={"gpu": "a100"})
    order = BatchOrder.decode(environment(built(PLANNER, profile=profile))["LIKENESS_ORDER"].replace("$$", "$"))
    assert order.profile.runtime.node_selector == {}
    assert order.profile.storage.to_json() == Profile("sd15", profile.spec).spec.storage.to_json()
    assert PROFILE["model"]["uri"] == order.profile.model.uri


def test_a_plan_alone_tunes_a_few_as_a_worker_would() -> None:
    profile = a_profile(queueName="gpus")
    job = built(PLANNER, a_batch({"mode": "Plan"}), profile)
    (pilot,) = job["spec"]["template"]["spec"]["containers"]
    (worker,) = built(JobPlace(Role.WORKER, 0), profile=profile)["spec"]["template"]["spec"]["containers"]
    assert pilot["args"] == ["plan", "--pilot"]
    assert pilot["resources"] == worker["resources"]
    assert (job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], job["spec"]["suspend"]) == ("gpus", True)
    assert "queue-name" not in json.dumps(built(PLANNER, profile=profile))
