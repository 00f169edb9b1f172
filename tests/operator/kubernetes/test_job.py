from __future__ import annotations

from given import NAMESPACE, a_job
from likeness_operator.kubernetes.job import LONGEST_ANNOTATION, read_job

MOMENT = "2026-11-23T12:00:00Z"
METADATA = {"name": "x", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1", "creationTimestamp": MOMENT}


def test_a_foreign_job_is_read_too() -> None:
    job = read_job(
        {
            "metadata": METADATA,
            "spec": {"template": {"spec": {"containers": [{"name": "busybox"}]}}},
        }
    )
    assert (job.owner_uid, job.annotations, job.queued, job.outcome_decided) == (None, (), False, False)


def test_a_jobs_outcome_is_decided_before_it_finishes() -> None:
    assert a_job("FailureTarget").outcome_decided
    assert not a_job("FailureTarget").finished
    assert a_job("Failed").finished


def test_of_the_annotations_ours_alone_are_read_and_not_without_end() -> None:
    annotations = {"likeness.dev/token": "x" * 10_000, "somebody/else": "y"}
    job = read_job({"metadata": METADATA | {"annotations": annotations}, "spec": {}})
    assert job.annotations == (("likeness.dev/token", "x" * LONGEST_ANNOTATION),)
