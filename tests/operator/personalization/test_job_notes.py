from __future__ import annotations

from typing import Any

import pytest

from given import a_job, a_profile
from likeness_operator.personalization.job_notes import JobNotes, read_job_notes

ENCODER = {"uri": "file:///encoder"}


def test_what_is_written_down_is_read_back() -> None:
    notes = read_job_notes(a_job())
    assert (notes.token, notes.token_warning) == ("<red-teapot>", None)
    assert notes.encoder_use is not None
    assert (notes.encoder_use.used, notes.encoder_use.reason) == (False, "NoEncoder")
    assert notes.encoder_use.message.startswith("no encoder is named for model file:///models/sd15, so")


def test_an_encoder_and_an_odd_prompt_are_read_back() -> None:
    spec = {"previews": [{"prompt": "a teapot"}]}
    notes = read_job_notes(a_job(spec=spec, profile=a_profile(encoder=ENCODER)))
    assert notes.encoder_use is not None
    assert (notes.encoder_use.used, notes.encoder_use.reason) == (True, "EncoderNamed")
    assert notes.token_warning is not None
    assert notes.token_warning.startswith("spec.previews[0].prompt")


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param(None, id="none: a Job of an operator from before"),
        pytest.param({}, id="empty"),
        pytest.param({"likeness.dev/token": "no token", "likeness.dev/encoder-use": "who knows"}, id="edited"),
    ],
)
def test_what_cannot_be_read_is_left_out(annotations: dict[str, Any] | None) -> None:
    assert read_job_notes(a_job(annotations=annotations)) == JobNotes(None, None, None)
