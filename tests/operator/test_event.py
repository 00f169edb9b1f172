from __future__ import annotations

from given import NOW, UID, a_personalization
from likeness_api.personalization import Failure
from likeness_api.reason import Reason
from likeness_operator.decision import Release
from likeness_operator.event import failure_event, tombstone


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


def test_a_tombstone_says_what_went() -> None:
    event = tombstone(a_personalization(), Release(Reason.ERASED, "erased 9 objects"), "i", NOW)
    assert (event["type"], event["reason"], event["note"]) == ("Normal", "Erased", "erased 9 objects")
    assert event["regarding"]["uid"] == UID


def test_a_namespace_that_goes_leaves_its_tombstone_elsewhere() -> None:
    event = tombstone(a_personalization(), Release(Reason.NAMESPACE_TERMINATING, "not erased"), "i", NOW)
    assert (event["type"], event["metadata"]["namespace"]) == ("Warning", "default")
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}
    assert event["related"]["uid"] == UID
