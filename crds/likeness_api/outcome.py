"""The pure step from a Result to the fields of a status; shared by the operator and `likeness run`."""

from __future__ import annotations

from likeness_api.personalization import Artifact, Failure, PersonalizationStatus, Progress
from likeness_api.result import Result


def published(status: PersonalizationStatus, result: Result) -> PersonalizationStatus:
    """`status` with all that a good result holds; the conditions and the times are the caller's."""
    folder = result.folder() if result.manifest else ""
    return status.model_copy(
        update={
            "token": result.token,
            "nearest_word": result.nearest_word,
            "subject": result.subject,
            "manifest": result.manifest,
            "artifacts": [
                Artifact(
                    name=artifact.name,
                    format=artifact.format,
                    uri=folder + artifact.name,
                    sha256=artifact.sha256,
                    bytes=artifact.bytes,
                )
                for artifact in result.artifacts
            ],
            "previews": [folder + name for name in result.previews],
            "metrics": result.metrics,
            "progress": status.progress if result.steps is None else _finished(result.steps),
            "failure": None,
            "waiting": None,
        }
    )


def failed(status: PersonalizationStatus, result: Result, *, attempt: int) -> PersonalizationStatus:
    """`status` with the reason why the run failed. `attempt` counts from 1."""
    failure = Failure(reason=result.reason, message=result.message, exit_code=int(result.exit_code), attempt=attempt)
    return status.model_copy(update={"failure": failure, "waiting": None})


def _finished(steps: int) -> Progress:
    return Progress(step=steps, total_steps=steps, percent=100, eta_seconds=0)
