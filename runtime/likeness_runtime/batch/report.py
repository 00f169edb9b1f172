"""report.html: one page over a batch's results. It opens from a folder and from a bucket, and loads nothing but the
published pictures.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from likeness_api.personalization_batch import Counts, FailureSample
from likeness_runtime.batch.batch_folder import REPORT_NAME, BatchFolder
from likeness_runtime.batch.result_line import Outcome, ResultLine

MOST_ROWS = 20_000
"""Subjects in the gallery: a page of some ten megabytes still opens at once."""
MOST_BARS = 120
MESSAGE_SHOWN = 200


@dataclass(frozen=True)
class ReportFacts:
    """What the page says above the gallery."""

    title: str
    revision: int
    counts: Counts
    failures: list[FailureSample]
    seconds: float
    """That this run worked."""


def write_report(folder: BatchFolder, facts: ReportFacts, results: Path) -> None:
    """Puts the page over the file `results` into the batch's folder. Raises `RunError`."""
    with results.open("rb") as lines:
        page = report_page(facts, (ResultLine.decode(line) for line in lines))
    folder.write(REPORT_NAME, page, "text/html; charset=utf-8")


def report_page(facts: ReportFacts, lines: Iterable[ResultLine]) -> bytes:
    """The page as UTF-8. All that strangers wrote is in it as JSON, which the page's script makes text of."""
    rows: list[dict[str, Any]] = []
    times: list[datetime] = []
    total = 0
    for line in lines:
        total += 1
        if line.end_time is not None:
            times.append(datetime.fromisoformat(line.end_time))
        if len(rows) < MOST_ROWS:
            rows.append(_row(line))
    counts = facts.counts
    data = {
        "title": facts.title,
        "when": f"Revision {facts.revision}; {_duration(facts.seconds)} of work in the last run.",
        "totals": [
            ["lines", counts.total],
            ["succeeded", counts.succeeded],
            ["unchanged", counts.skipped],
            ["failed", counts.failed],
            ["not yet", counts.pending],
        ],
        "failures": [
            {"reason": each.reason, "count": each.count, "id": each.id, "message": each.message[:MESSAGE_SHOWN]}
            for each in facts.failures
        ],
        "throughput": throughput(times),
        "reasons": sorted({row["reason"] for row in rows}),
        "metrics": sorted({name for row in rows for name in row["metrics"]}),
        "cut": f"The first {MOST_ROWS:,} of {total:,} subjects; results.jsonl has all." if total > MOST_ROWS else "",
        "rows": rows,
    }
    style, script = _part("report.css"), _part("report.js")
    page = _part("report.html")
    filled = {
        "title": escape(facts.title),
        "styleHash": _source_hash(style),
        "scriptHash": _source_hash(script),
        "style": style,
        "script": script,
        "data": _inert(data),
    }
    for name, text in filled.items():
        page = page.replace("{{" + name + "}}", text)
    return page.encode()


def throughput(times: list[datetime]) -> dict[str, Any]:
    """How many subjects were done in each of at most 120 equal spans of time."""
    if not times:
        return {"counts": [], "sentence": "Nothing was worked on."}
    first, last = min(times), max(times)
    span = max((last - first).total_seconds(), 1.0)
    bars = min(MOST_BARS, max(1, len(times) // 4))
    counts = [0] * bars
    for time in times:
        counts[min(bars - 1, int((time - first).total_seconds() / span * bars))] += 1
    sentence = f"{len(times):,} subjects from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    return {"counts": counts, "sentence": f"{sentence}, a bar is {_duration(span / bars)}."}


def _row(line: ResultLine) -> dict[str, Any]:
    skipped = line.outcome is Outcome.SKIPPED
    return {
        "line": line.line,
        "id": line.id,
        "outcome": line.outcome,
        "reason": "Unchanged" if skipped else line.reason,
        "message": line.message[:MESSAGE_SHOWN],
        "folder": "/".join((line.folder or "").rstrip("/").split("/")[-2:]) + "/",
        "pictures": line.previews,
        "metrics": line.metrics,
    }


def _inert(data: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return (
        json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    )


def _source_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _part(name: str) -> str:
    return files("likeness_runtime.batch").joinpath(name).read_text(encoding="utf-8")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
