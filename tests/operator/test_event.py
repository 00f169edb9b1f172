from __future__ import annotations

from given import NOW, UID, a_personalization
from likeness_api.personalization import Failure
from likeness_operator.event import failure_event


def test_an_event_is_about_its_personalization() -> None:
    event = failure_event(a_personalization(), Failure(reason="AccessDenied", message="no"), "pod-1", NOW)
    assert event["regarding"]["uid"] == UID
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "AccessDenied", "no")
    assert event["eventTime"] == "2026-11-23T12:00:00.000000Z"


def test_the_same_end_makes_the_same_event() -> None:
    one, two = (failure_event(a_personalization(), Failure(reason="A", message=m), "i", NOW) for m in "xy")
    assert one["metadata"] == two["metadata"]


def test_a_note_is_cut_between_letters() -> None:
    note = failure_event(a_personalization(), Failure(reason="A", message="é" * 2000), "i", NOW)["note"]
    assert len(note.encode()) <= 1024
    assert set(note) == {"é"}
