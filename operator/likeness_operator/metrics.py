"""The metrics for Prometheus. Names and labels are part of the API: dashboards and alerts are built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()

RECONCILES = Counter(
    "likeness_reconciles", "Reconciliations of a Personalization, by how they ended.", ["outcome"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "likeness_reconcile_seconds", "How long a reconciliation of a Personalization took.", registry=REGISTRY
)
QUEUE_DEPTH = Gauge("likeness_queue_depth", "Personalizations that wait to be reconciled.", registry=REGISTRY)
UNFINISHED = Gauge("likeness_unfinished", "Personalizations that have not ended.", registry=REGISTRY)
JOBS_CREATED = Counter("likeness_jobs_created", "Jobs that were created.", registry=REGISTRY)
FINISHED = Counter(
    "likeness_personalizations_finished", "Personalizations that ended, by reason.", ["reason"], registry=REGISTRY
)
BATCHES_FINISHED = Counter("likeness_batches_finished", "Batches that ended, by reason.", ["reason"], registry=REGISTRY)
BATCHES_WORKING = Gauge("likeness_batches_working", "Batches whose subjects are worked on.", registry=REGISTRY)
BATCHES_BEHIND = Gauge("likeness_batches_behind", "Of these, the ones that are late by their pace.", registry=REGISTRY)
BATCH_WORKERS = Gauge("likeness_batch_workers", "Workers of batches that have a shard in hand.", registry=REGISTRY)
BATCH_SUBJECTS_PER_HOUR = Gauge(
    "likeness_batch_subjects_per_hour", "Subjects of all batches that are done in an hour at the present pace.",
    registry=REGISTRY,
)  # fmt: skip
LEADER = Gauge("likeness_leader", "1 on the operator that acts, 0 on the others.", registry=REGISTRY)
QUEUE_AGE_SECONDS = Gauge(
    "likeness_queue_age_seconds", "How long the one has waited that waits longest to be reconciled.", registry=REGISTRY
)
WATCH_LAG_SECONDS = Gauge(
    "likeness_watch_lag_seconds", "For how long the watch has not reported a write of our own.", registry=REGISTRY
)
NAMESPACES_LEFT_OUT = Gauge(
    "likeness_namespaces_left_out",
    "Namespaces with more unfinished Personalizations than their share, of which some wait to be taken up.",
    registry=REGISTRY,
)
LEASES_LOST = Counter("likeness_leases_lost", "Times that the Lease could not be kept.", registry=REGISTRY)
ATTEMPTS = Counter(
    "likeness_attempts", "Ended attempts of Personalizations that ended, by reason.", ["reason"], registry=REGISTRY
)
SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)
SECONDS_TO_JOB = Histogram(
    "likeness_seconds_to_job", "From a Personalization's creation to its first Job.", registry=REGISTRY, buckets=SECONDS
)
SECONDS_TO_RESULT = Histogram(
    "likeness_seconds_to_result",
    "From a Personalization's creation to `Succeeded`.",
    registry=REGISTRY,
    buckets=SECONDS,
)
TUNE_SECONDS = Histogram(
    "likeness_tune_seconds", "From the start of the first pod to `Succeeded`.", registry=REGISTRY, buckets=SECONDS
)


class WaitingCollector(Collector):
    """Counts those that wait when it is collected, so that no reason stays that nobody has any longer."""

    def __init__(self) -> None:
        self._count: Callable[[], Mapping[str, int]] = dict

    def set_function(self, count: Callable[[], Mapping[str, int]]) -> None:
        """`count` gives how many there are for each reason."""
        self._count = count

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("likeness_waiting", "Personalizations that wait, by reason.", labels=["reason"])
        for reason, number in self._count().items():
            family.add_metric([reason], number)
        yield family


WAITING = WaitingCollector()
REGISTRY.register(WAITING)
