from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from given import NAME, NAMESPACE, PROFILE, SPEC, UID, a_job, a_personalization, a_profile
from likeness_api.accept import Refusal, accept
from likeness_api.order import Order
from likeness_api.progress_report import PROGRESS_AUDIENCE, PROGRESS_TOKEN_FOLDER, PROGRESS_URL_VARIABLE
from likeness_operator.kubernetes import label
from likeness_operator.kubernetes.cut import cut
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.personalization.job import NO_NODE_IDENTITY, build_job, job_name
from likeness_operator.personalization.profile import Profile

S3_MODEL = {"uri": "s3://models/sd15", "volume": {"emptyDir": {"sizeLimit": "8Gi"}}}
ENCODER = {"uri": "file:///encoder", "volume": {"mountPath": "/encoder", "image": {"reference": "likeness/encoder:1"}}}


URL = "http://likeness-operator.system.svc:8081/progress"


def built(
    spec: K8sObject | None = None, profile: Profile | None = None, *, progress_url: str | None = None
) -> K8sObject:
    owner, chosen = a_personalization(spec), profile or a_profile()
    assert owner.spec is not None
    order = accept(owner.name, owner.namespace, owner.spec, chosen.spec)
    assert not isinstance(order, Refusal), order
    return build_job(owner, chosen.name, chosen.spec, order, progress_url)


def test_what_is_written_into_its_metadata_is_read_again() -> None:
    written = built()["metadata"]
    read = cut(built())["metadata"]
    assert read["annotations"] == written["annotations"]
    assert read["labels"].items() <= written["labels"].items()
    assert {label.PERSONALIZATION_NAME, label.PROFILE} <= read["labels"].keys()


def pod_of(job: K8sObject) -> K8sObject:
    pod: K8sObject = job["spec"]["template"]["spec"]
    return pod


def tuner_of(job: K8sObject) -> K8sObject:
    (container,) = pod_of(job)["containers"]
    tuner: K8sObject = container
    return tuner


def environment(job: K8sObject) -> dict[str, object]:
    variables = tuner_of(job)["env"]
    assert len({variable["name"] for variable in variables}) == len(variables)
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True), st.uuids())
def test_names_are_labels_and_follow_from_the_uid_alone(name: str, uid: object) -> None:
    made = job_name(name, str(uid))
    assert len(made) <= 63
    assert made == job_name(name, str(uid))
    assert made[0].isalnum()
    assert made[-1].isalnum()


def test_two_resources_of_one_name_have_two_jobs() -> None:
    assert job_name("a", "uid-1") != job_name("a", "uid-2")


def test_equal_inputs_build_equal_jobs() -> None:
    assert json.dumps(built()) == json.dumps(built())


def test_the_job_belongs_to_its_personalization() -> None:
    (owner,) = built()["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (UID, True, False)
    assert a_job().owner_uid == UID


def test_the_order_survives_the_kubelets_variable_expansion() -> None:
    job = built({"previews": [{"prompt": "<red-teapot> for $(HOME), $5, $$"}]})
    text = environment(job)["LIKENESS_ORDER"]
    assert isinstance(text, str)
    assert "$(" not in text.replace("$$", "")
    order = Order.decode(text.replace("$$", "$"))
    assert order.subject.previews[0].prompt == "<red-teapot> for $(HOME), $5, $$"
    assert (order.subject.name, order.subject.namespace) == (NAME, NAMESPACE)


def test_an_eviction_does_not_count_and_a_final_exit_code_ends_the_job() -> None:
    spec = built()["spec"]
    evicted, final = spec["podFailurePolicy"]["rules"]
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (final["action"], final["onExitCodes"]["values"]) == ("FailJob", [10, 11, 12, 13, 14])
    assert spec["backoffLimit"] == 3
    assert spec["podReplacementPolicy"] == "Failed"


def test_a_result_cannot_go_before_it_was_read() -> None:
    assert built({"ttlSecondsAfterFinished": 0})["spec"]["ttlSecondsAfterFinished"] == 60
    assert built({"ttlSecondsAfterFinished": 3600})["spec"]["ttlSecondsAfterFinished"] == 3600


def test_the_pod_has_neither_rights_nor_a_token() -> None:
    pod, tuner = pod_of(built()), tuner_of(built())
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert tuner["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_credentials_are_named_and_only_the_three_aws_keys_get_in() -> None:
    variables = environment(built({"credentialsSecretRef": {"name": "s3"}}))
    secret = {key: value for key, value in variables.items() if key.startswith("AWS_") and key != NO_NODE_IDENTITY}
    assert secret == {
        "AWS_ACCESS_KEY_ID": {"secretKeyRef": {"name": "s3", "key": "AWS_ACCESS_KEY_ID", "optional": False}},
        "AWS_SECRET_ACCESS_KEY": {"secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY", "optional": False}},
        "AWS_SESSION_TOKEN": {"secretKeyRef": {"name": "s3", "key": "AWS_SESSION_TOKEN", "optional": True}},
    }
    assert [key for key in environment(built()) if key.startswith("AWS_")] == [NO_NODE_IDENTITY]


def test_the_nodes_cloud_role_is_used_where_the_profile_says_so_and_nowhere_else() -> None:
    undone = a_profile(runtime={"image": "i", "env": [{"name": NO_NODE_IDENTITY, "value": "false"}]})
    assert environment(built(profile=undone))[NO_NODE_IDENTITY] == "true"
    lent = a_profile(storage=PROFILE["storage"] | {"nodeIdentity": True})
    assert NO_NODE_IDENTITY not in environment(built(profile=lent))


def test_a_profiles_environment_cannot_replace_the_order_or_the_credentials() -> None:
    env = [{"name": name, "value": "x"} for name in ("LIKENESS_ORDER", "AWS_ACCESS_KEY_ID", "HOME", "OTHER")]
    profile = a_profile(runtime={"image": "i", "env": env})
    variables = environment(built({"credentialsSecretRef": {"name": "s3"}}, profile))
    assert variables["LIKENESS_ORDER"] != "x"
    assert variables["AWS_ACCESS_KEY_ID"] != "x"
    assert (variables["HOME"], variables["OTHER"]) == ("x", "x")


def test_a_fetched_model_has_a_volume_it_can_be_written_to() -> None:
    job = built(profile=a_profile(model=S3_MODEL))
    assert pod_of(job)["volumes"][1] == {"name": "model-0", "emptyDir": {"sizeLimit": "8Gi"}}
    assert tuner_of(job)["volumeMounts"][1] == {"name": "model-0", "mountPath": "/models", "readOnly": False}
    order = Order.decode(str(environment(job)["LIKENESS_ORDER"]))
    assert order.run.model.cache is not None
    assert order.run.model.cache.startswith("/models")


def test_a_mounted_model_is_read_only() -> None:
    job = built(profile=a_profile(encoder=ENCODER))
    assert pod_of(job)["volumes"][1]["image"] == {"reference": "likeness/encoder:1", "pullPolicy": "IfNotPresent"}
    assert tuner_of(job)["volumeMounts"][1]["readOnly"] is True


def test_model_and_encoder_on_one_volume_are_mounted_once() -> None:
    volume = {"persistentVolumeClaim": {"claimName": "models"}}
    source = {"uri": "file:///models/x", "volume": volume}
    job = built(profile=a_profile(model=source, encoder=source))
    assert len(pod_of(job)["volumes"]) == 2
    assert len(tuner_of(job)["volumeMounts"]) == 2


def test_the_profile_says_where_pods_run() -> None:
    runtime = {
        "image": "likeness/runtime:1",
        "imagePullSecrets": ["registry"],
        "nodeSelector": {"gpu": "h200"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "batch",
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    pod = pod_of(built({"serviceAccountName": "tuner"}, a_profile(runtime=runtime)))
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    for field in ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName"):
        assert pod[field] == runtime[field]
    assert pod["serviceAccountName"] == "tuner"
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}


def test_every_limit_is_a_request_so_that_kueue_counts_it() -> None:
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "8Gi", "nvidia.com/gpu": 1}}
    pod = pod_of(built(profile=a_profile(runtime={"image": "i", "resources": resources})))
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": 1},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": 1},
    }


def test_the_pod_template_patch_comes_last() -> None:
    patch = {"metadata": {"labels": {"team": "shop"}}, "spec": {"enableServiceLinks": None, "hostname": "x"}}
    template = built(profile=a_profile(runtime={"image": "i", "podTemplate": patch}))["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "shop"
    assert template["metadata"]["labels"]["likeness.dev/personalization"] == NAME
    assert template["spec"]["hostname"] == "x"
    assert "enableServiceLinks" not in template["spec"]


def test_kueue_gets_a_suspended_job_with_its_label() -> None:
    job = built(profile=a_profile(queueName="gpus"))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["spec"]["suspend"] is True
    assert built()["spec"]["suspend"] is False


def test_a_pod_is_told_where_to_report_to_and_gets_a_token_for_that_alone() -> None:
    pod = pod_of(built(progress_url=URL))
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "progress"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == PROGRESS_AUDIENCE
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "progress"]
    assert (mount["mountPath"], mount["readOnly"]) == (PROGRESS_TOKEN_FOLDER, True)
    assert environment(built(progress_url=URL))[PROGRESS_URL_VARIABLE] == URL
    assert pod["automountServiceAccountToken"] is False


def test_no_profile_can_send_the_token_elsewhere_or_loses_it_by_its_own_volumes() -> None:
    runtime = {
        "image": "i",
        "env": [{"name": PROGRESS_URL_VARIABLE, "value": "http://elsewhere/"}],
        "podTemplate": {"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}},
    }
    pod = pod_of(built(profile=a_profile(runtime=runtime), progress_url=URL))
    said = [each["value"] for each in pod["containers"][0]["env"] if each["name"] == PROGRESS_URL_VARIABLE]
    assert said == [URL]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp", "progress"]


def test_without_an_address_there_is_no_token() -> None:
    assert "progress" not in json.dumps(built())


def test_the_deadline_is_the_users() -> None:
    assert built(SPEC | {"activeDeadlineSeconds": 77})["spec"]["activeDeadlineSeconds"] == 77
