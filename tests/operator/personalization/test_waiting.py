from __future__ import annotations

import re
from pathlib import Path

import pytest

from given import a_job, a_pod
from likeness_api.personalization import Waiting
from likeness_api.reason import Reason
from likeness_operator.kubernetes.job import Job
from likeness_operator.kubernetes.pod import Pod
from likeness_operator.personalization.waiting import (
    CONFIGURATION_REASON,
    FAILED_CREATE,
    IMAGE_PULL_BACK_OFF,
    START_REASONS,
    UNSCHEDULABLE,
    why_waiting,
)

BACK_OFF = a_pod(waiting=("ImagePullBackOff", 'Back-off pulling image "x"'))
PULL_ERROR = a_pod(waiting=("ErrImagePull", "x: not found"))


@pytest.mark.parametrize(
    ("job", "pods", "reason", "word"),
    [
        pytest.param(a_job(), [a_pod(unschedulable="0/3 nodes")], "Unschedulable", "0/3 nodes", id="no node"),
        pytest.param(a_job(), [PULL_ERROR], "ImagePullBackOff", "not found", id="image"),
        pytest.param(
            a_job(),
            [a_pod(waiting=("CreateContainerConfigError", 'secret "s3" not found'))],
            "CreateContainerConfigError",
            'secret "s3"',
            id="secret",
        ),
        pytest.param(
            a_job(), [a_pod(waiting=("RunContainerError", "exec: no"))], "RunContainerError", "exec: no", id="command"
        ),
        pytest.param(a_job(), [a_pod(waiting=("ContainerCreating", ""))], "Starting", "red-teapot-x", id="starting"),
        pytest.param(a_job(), [], "NoPod", "no pod", id="no pod"),
        pytest.param(a_job(), [a_pod(exit_code=20)], "RetryBackOff", "RuntimeCrashed", id="between attempts"),
        pytest.param(
            a_job(), [a_pod(exit_code=20), a_pod(unschedulable="full")], "Unschedulable", "full", id="second attempt"
        ),
    ],
)
def test_waiting_has_a_reason_a_message_and_a_next_step(job: Job, pods: list[Pod], reason: str, word: str) -> None:
    waiting = why_waiting(job, pods, None)
    assert waiting.reason == reason
    assert word in waiting.message
    assert waiting.next_step


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: gpus, requested: ...', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "FailedCreate"),
    ],
)
def test_a_pod_that_nobody_may_create_is_told_in_the_servers_words(refusal: str, reason: str) -> None:
    waiting = why_waiting(a_job(), [], None, refusal)
    assert (waiting.reason, waiting.message) == (reason, refusal)
    assert waiting.next_step


def test_the_words_that_are_kubernetes_own_are_on_the_troubleshooting_page_and_none_of_ours() -> None:
    page = (Path(__file__).parents[3] / "docs/troubleshooting.md").read_text()
    passed_on = {UNSCHEDULABLE, FAILED_CREATE, IMAGE_PULL_BACK_OFF, CONFIGURATION_REASON, *START_REASONS}
    assert passed_on <= set(re.findall(r"`(\w+)`", page))
    assert passed_on & set(Reason) == set()


def test_the_next_try_with_another_pod_name_says_the_same() -> None:
    job = a_job()
    first, second = (
        why_waiting(job, [], None, f'pods "{job.name}-{suffix}" is forbidden') for suffix in ("7p97c", "rqxk2")
    )
    assert first == second


def test_a_pod_that_is_there_outweighs_an_old_refusal() -> None:
    assert why_waiting(a_job(), [BACK_OFF], None, "exceeded quota").reason == "ImagePullBackOff"


def test_the_kubelets_to_and_fro_over_an_image_changes_nothing() -> None:
    first = why_waiting(a_job(), [PULL_ERROR], None)
    assert why_waiting(a_job(), [BACK_OFF], first) == first
    assert why_waiting(a_job(), [PULL_ERROR], first) == first


def test_a_claim_that_is_not_there_is_no_matter_of_nodes() -> None:
    missing = a_pod(unschedulable='0/3 nodes are available: persistentvolumeclaim "models" not found')
    assert "model.volume" in why_waiting(a_job(), [missing], None).next_step
    assert "node" in why_waiting(a_job(), [a_pod(unschedulable="0/3 nodes")], None).next_step


def test_another_kind_of_waiting_is_told() -> None:
    before = Waiting(reason="Unschedulable", message="full", next_step="wait")
    assert why_waiting(a_job(), [BACK_OFF], before).reason == "ImagePullBackOff"


def test_a_wordy_server_is_cut_to_what_the_crd_takes() -> None:
    assert len(why_waiting(a_job(), [a_pod(unschedulable="x" * 5000)], None).message) == 2048
