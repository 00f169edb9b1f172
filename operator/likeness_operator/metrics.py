"""What Prometheus is told. Names and labels are part of the API: dashboards and alerts are built on them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

RECONCILES = Counter(
    "likeness_reconciles", "Passes over a Personalization, by how they ended.", ["outcome"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "likeness_reconcile_seconds", "How long a pass over a Personalization took.", registry=REGISTRY
)
QUEUE_DEPTH = Gauge("likeness_queue_depth", "Personalizations that wait to be looked at.", registry=REGISTRY)
UNFINISHED = Gauge("likeness_unfinished", "Personalizations that have not ended.", registry=REGISTRY)
JOBS_CREATED = Counter("likeness_jobs_created", "Jobs that were created.", registry=REGISTRY)
FINISHED = Counter(
    "likeness_personalizations_finished", "Personalizations that ended, by reason.", ["reason"], registry=REGISTRY
)
LEADER = Gauge("likeness_leader", "1 on the operator that acts, 0 on the others.", registry=REGISTRY)
