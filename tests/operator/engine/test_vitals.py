from __future__ import annotations

from likeness_operator.engine.key import Key
from likeness_operator.engine.vitals import LONGEST_SILENCE_SECONDS, LONGEST_STALL_SECONDS, LONGEST_WAIT_SECONDS, Vitals
from likeness_operator.engine.watch_cache import WatchCache
from likeness_operator.engine.work_queue import WorkQueue
from likeness_operator.personalization.lifecycle import PERSONALIZATION

KEY = Key("Personalization", "shop", "a")


class Scene:
    """An operator's vitals at a moment that the test sets; what waits in the queue does so since moment 0."""

    def __init__(self, watching: bool = True) -> None:
        self.moment = 0.0
        self.queue = WorkQueue(clock=lambda: self.moment)
        self.cache = WatchCache(self.queue, lambda: self.moment, {"Personalization": PERSONALIZATION})
        self.vitals = Vitals(self.queue, self.cache, lambda: self.moment, lambda: watching)


def test_one_that_watches_and_has_nothing_to_do_is_well_for_ever() -> None:
    scene = Scene()
    scene.moment = 10**6
    assert scene.vitals.why_not_ready() is None
    assert scene.vitals.why_not_alive() is None


def test_one_that_does_not_keep_up_is_not_ready_but_alive() -> None:
    scene = Scene()
    scene.queue.add(KEY)
    scene.moment = LONGEST_STALL_SECONDS + 10
    scene.vitals.reconciled()
    assert f"none was reconciled for {scene.moment:.0f} s" in (scene.vitals.why_not_ready() or "")
    assert scene.vitals.why_not_alive() is None


def test_one_that_ends_no_reconciliation_while_some_wait_is_not_alive() -> None:
    scene = Scene()
    scene.queue.add(KEY)
    scene.moment = LONGEST_WAIT_SECONDS + 1
    assert scene.vitals.why_not_alive() is None
    scene.moment = LONGEST_STALL_SECONDS + 1
    assert "no reconciliation has ended" in (scene.vitals.why_not_alive() or "")


def test_one_whose_watch_does_not_tell_of_its_own_writes_is_not_alive() -> None:
    scene = Scene()
    metadata = {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
    scene.cache.saw_object("Personalization", {"metadata": metadata, "spec": {}}, "ADDED")
    scene.cache.wrote(KEY, "8")
    scene.moment = LONGEST_STALL_SECONDS + 1
    scene.vitals.reconciled()
    assert "has not reported a write" in (scene.vitals.why_not_alive() or "")
    assert scene.vitals.why_not_ready() is not None


def test_a_standby_is_ready_while_it_sees_the_lease() -> None:
    scene = Scene(watching=False)
    assert "not yet watching" in (scene.vitals.why_not_ready() or "")
    scene.vitals.standing_by()
    assert scene.vitals.why_not_ready() is None
    scene.moment = LONGEST_SILENCE_SECONDS + 1
    assert scene.vitals.why_not_ready() is not None
    assert scene.vitals.why_not_alive() is None
