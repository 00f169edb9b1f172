from __future__ import annotations

import pytest

from likeness_api.progress_report import ProgressReport


def test_a_report_goes_over_the_wire_and_back() -> None:
    report = ProgressReport(personalization="red-teapot", step=3, total_steps=12)
    assert ProgressReport.decode(report.model_dump_json(by_alias=True).encode()) == report


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "document"),
        (b"[]", "document"),
        (b"\xff", "document"),
        (b'{"personalization": "x", "step": 3, "totalSteps": 2}', "step is 3; expected at most totalSteps, 2"),
        (b'{"personalization": "x", "step": -1, "totalSteps": 2}', "step"),
        (b'{"personalization": "x", "step": 0, "totalSteps": 0}', "totalSteps"),
        (b'{"personalization": "x", "step": 0, "totalSteps": 1e99}', "totalSteps"),
        (b'{"personalization": "../x", "step": 0, "totalSteps": 1}', "personalization"),
        (b'{"personalization": "x", "step": 0, "totalSteps": 1, "phase": "Succeeded"}', "phase"),
    ],
)
def test_whatever_else_comes_is_refused_in_one_sentence(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match="report: ") as refusal:
        ProgressReport.decode(text)
    assert words in str(refusal.value)
