from __future__ import annotations

from prometheus_client import CollectorRegistry

from likeness_operator.metrics import WaitingCollector


def test_a_reason_that_nobody_has_any_longer_is_not_told() -> None:
    registry, waiting = CollectorRegistry(), WaitingCollector()
    registry.register(waiting)
    counts = {"Unschedulable": 2}
    waiting.set_function(lambda: counts)
    assert registry.get_sample_value("likeness_waiting", {"reason": "Unschedulable"}) == 2
    counts = {"Queued": 1}
    assert registry.get_sample_value("likeness_waiting", {"reason": "Unschedulable"}) is None
    assert registry.get_sample_value("likeness_waiting", {"reason": "Queued"}) == 1
