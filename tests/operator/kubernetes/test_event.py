from __future__ import annotations

from given import NOW, UID, a_personalization
from likeness_operator.kubernetes.event import EventContent, build_event
from likeness_operator.kubernetes.k8s_object import K8sObject


def an_event(reason: str = "AccessDenied", note: str = "no", about_namespace: bool = False) -> K8sObject:
    about = EventContent("Warning", reason, "Finish", note, about_namespace=about_namespace)
    return build_event(a_personalization().reference, about, "pod-1", NOW)


def test_an_event_is_about_its_object() -> None:
    event = an_event()
    assert (event["regarding"]["kind"], event["regarding"]["uid"]) == ("Personalization", UID)
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "AccessDenied", "no")
    assert event["eventTime"] == "2026-11-23T12:00:00.000000Z"


def test_the_same_end_makes_the_same_event() -> None:
    one, two = (an_event(note=note) for note in "xy")
    assert one["metadata"] == two["metadata"]


def test_a_note_is_cut_between_letters() -> None:
    note = an_event(note="é" * 2000)["note"]
    assert len(note.encode()) <= 1024
    assert set(note) == {"é"}


def test_the_event_of_a_namespace_that_goes_is_elsewhere() -> None:
    event = an_event("NamespaceTerminating", about_namespace=True)
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}
    assert event["related"]["uid"] == UID
