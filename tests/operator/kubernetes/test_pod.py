from __future__ import annotations

from given import NAMESPACE, TUNED, a_pod
from likeness_operator.kubernetes.pod import NEVER, read_pod
from likeness_operator.personalization.attempt import verdict

MOMENT = "2026-11-23T12:00:00Z"
METADATA = {"name": "x", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1", "creationTimestamp": MOMENT}


def test_what_nobody_said_is_no_trouble() -> None:
    pod = read_pod({"metadata": {"name": "p", "uid": "u", "resourceVersion": "1"}, "spec": {}})
    assert (pod.phase, pod.exit_code, pod.unschedulable, pod.finished) == ("Pending", None, None, False)


def test_a_tuner_that_ended_still_runs_until_the_phase_says_so() -> None:
    state = {"terminated": {"exitCode": 0, "startedAt": MOMENT, "finishedAt": MOMENT}}
    status = {"phase": "Running", "containerStatuses": [{"name": "tuner", "state": state}]}
    pod = read_pod({"metadata": METADATA, "spec": {"containers": []}, "status": status})
    assert (pod.running, pod.finished, pod.exit_code) == (True, False, 0)


def test_a_pod_that_the_kubelet_would_not_have_has_the_kubelets_words() -> None:
    said = "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu"
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": said}
    pod = read_pod({"metadata": METADATA, "spec": {}, "status": status})
    assert (pod.end_reason, pod.message) == ("UnexpectedAdmissionError", said)
    assert verdict(pod).message.endswith(f"before its container started: UnexpectedAdmissionError: {said}")


def test_a_container_that_never_started_has_no_start() -> None:
    """The kubelet says 1970."""
    state = {"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": NEVER, "finishedAt": MOMENT}}
    status = {"phase": "Failed", "containerStatuses": [{"name": "tuner", "state": state}]}
    assert read_pod({"metadata": METADATA, "spec": {}, "status": status}).started_at is None


def test_only_the_tuner_counts_among_containers() -> None:
    pod = a_pod(exit_code=0, message=TUNED)
    assert (pod.exit_code, pod.memory_limit) == (0, "2Gi")
