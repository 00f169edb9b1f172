"""What a tuning pod tells the operator while it tunes: an HTTP POST, with a token that is good for nothing else."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from likeness_api.field import DnsLabel, Model
from likeness_api.order import first_problem

PROGRESS_URL_VARIABLE = "LIKENESS_PROGRESS_URL"
"""The environment variable with the address to post to; where it is not set, nothing is reported."""
PROGRESS_TOKEN_FOLDER = "/var/run/secrets/likeness.dev/progress"  # noqa: S105 - a place, not a secret
"""Where the pod finds its service account token, in a file called `token` that the kubelet renews."""
PROGRESS_AUDIENCE = "progress.likeness.dev"
"""Whom that token is for. The API server does not take it."""
REPORT_SECONDS = 2.0
"""A pod reports no more often."""


class ProgressReport(Model):
    personalization: DnsLabel
    step: Annotated[int, Field(ge=0)]
    total_steps: Annotated[int, Field(ge=1, le=1_000_000)]

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.step > self.total_steps:
            raise ValueError(f"step is {self.step}; expected at most totalSteps, {self.total_steps}")
        return self

    @classmethod
    def decode(cls, text: bytes) -> ProgressReport:
        """Raises ValueError with one sentence that names the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"report: {first_problem(error)}") from None
