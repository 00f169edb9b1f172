"""From measurements to what is claimed: means, paired differences with confidence intervals, a table, curves."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np

from likeness_runtime.bench.chart import Series, chart
from likeness_runtime.bench.method import ALPHA_ARM, Record

RESAMPLES = 10_000
COLUMNS = (
    *("arm", "steps", "kind", "subjects", "identity", "like input", "fidelity", "harmonic"),
    *("seconds", "bytes", "peak MB", "cosine"),
)
REFERENCE_ARM, REFERENCE_STEPS = "ours", 12


@dataclass(frozen=True)
class Row:
    """One arm at one number of steps, over its subjects."""

    arm: str
    steps: int
    kind: str
    subjects: int
    identity: float
    likeness_to_input: float
    fidelity: float
    harmonic: float
    seconds: float
    """Median."""
    artifact_bytes: int
    peak_bytes: int | None
    """The largest of any subject."""
    cosine: float | None
    """Mean cosine of v* with its nearest word."""


@dataclass(frozen=True)
class Difference:
    """Ours at 12 steps minus another, of each subject's harmonic mean; 95 % interval by the paired bootstrap."""

    arm: str
    steps: int
    kind: str
    subjects: int
    harmonic: float
    low: float
    high: float
    fidelity: float
    """Mean difference of the editability half."""
    times_faster: float | None
    """The other's median seconds over ours."""


def rows(records: list[Record]) -> list[Row]:
    """One for each arm, number of steps and kind, in the order of first measurement."""
    return [_row(*key, group) for key, group in _grouped(records).items()]


def differences(records: list[Record]) -> list[Difference]:
    """Against every other arm, on the subjects that both have."""
    grouped = _grouped(records)
    found = []
    for (arm, steps, kind), group in grouped.items():
        reference = grouped.get((REFERENCE_ARM, REFERENCE_STEPS, kind))
        if reference is None or (arm, steps) == (REFERENCE_ARM, REFERENCE_STEPS):
            continue
        other = {record.subject: record for record in group}
        pairs = [(record, other[record.subject]) for record in reference if record.subject in other]
        if pairs:
            found.append(_difference(arm, steps, kind, pairs))
    return found


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean; resampling subjects keeps pairs together."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def write(records: list[Record], folder: Path, setting: dict[str, object]) -> str:
    """results.json, results.md, curves.png and alpha.png; returns the table."""
    table, compared = rows(records), differences(records)
    facts = {"setting": setting, "rows": [asdict(row) for row in table], "differences": [asdict(d) for d in compared]}
    (folder / "results.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = markdown(table, compared, records)
    (folder / "results.md").write_text(text)
    curves = curves_of(table)
    if curves:
        chart(curves, across="optimizer steps", up="harmonic mean").save(folder / "curves.png")
    blends = blends_of(table)
    if blends:
        chart(blends, across="alpha, of tuning and drawing", up="share").save(folder / "alpha.png")
    return text


def curves_of(table: list[Row]) -> list[Series]:
    """Harmonic mean over steps, of arms that were measured at several numbers of steps."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in table:
        points[f"{row.arm} ({row.kind})"].append((row.steps, row.harmonic))
    return [Series(name, sorted(own)) for name, own in points.items() if len(own) > 1]


def blends_of(table: list[Row]) -> list[Series]:
    """Both halves of the score and their mean over the dual path's alpha."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in table:
        if row.arm.startswith(ALPHA_ARM):
            alpha = float(row.arm.removeprefix(ALPHA_ARM))
            for half in ("identity", "fidelity", "harmonic"):
                points[f"{half} ({row.kind})"].append((alpha, getattr(row, half)))
    return [Series(name, sorted(own)) for name, own in points.items() if len(own) > 1]


def markdown(table: list[Row], compared: list[Difference], records: list[Record]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += [
        f"| {row.arm} | {row.steps} | {row.kind} | {row.subjects} | {row.identity:.3f} | {row.likeness_to_input:.3f}"
        f" | {row.fidelity:.3f} | {row.harmonic:.3f} | {row.seconds:.2f} | {row.artifact_bytes}"
        f" | {'' if row.peak_bytes is None else f'{row.peak_bytes / 1e6:.0f}'}"
        f" | {'' if row.cosine is None else f'{row.cosine:.3f}'} |"
        for row in table
    ]
    lines += ["", f"{REFERENCE_ARM} at {REFERENCE_STEPS} steps minus:", "", "| arm | steps | kind | subjects |"]
    lines[-1] += " harmonic | 95 % interval | fidelity | times faster |"
    lines.append("|---|---|---|---|---|---|---|---|")
    lines += [
        f"| {each.arm} | {each.steps} | {each.kind} | {each.subjects} | {each.harmonic:+.3f}"
        f" | {each.low:+.3f} … {each.high:+.3f} | {each.fidelity:+.3f}"
        f" | {'' if each.times_faster is None else f'{each.times_faster:.1f}'} |"
        for each in compared
    ]
    words = [
        f"| {record.subject} | {record.word} | {record.cosine:.3f} |"
        for record in records
        if (record.arm, record.steps) == (REFERENCE_ARM, REFERENCE_STEPS) and record.cosine is not None
    ]
    lines += ["", "What word was chosen:", "", "| subject | nearest word | cosine |", "|---|---|---|", *words]
    return "\n".join(lines) + "\n"


def _grouped(records: list[Record]) -> dict[tuple[str, int, str], list[Record]]:
    grouped: dict[tuple[str, int, str], list[Record]] = defaultdict(list)
    for record in records:
        grouped[record.arm, record.steps, record.kind].append(record)
    return grouped


def _row(arm: str, steps: int, kind: str, group: list[Record]) -> Row:
    cosines = [record.cosine for record in group if record.cosine is not None]
    return Row(
        arm=arm,
        steps=steps,
        kind=kind,
        subjects=len(group),
        identity=mean(record.score.identity for record in group),
        likeness_to_input=mean(record.score.likeness_to_input for record in group),
        fidelity=mean(record.score.fidelity for record in group),
        harmonic=mean(record.score.harmonic for record in group),
        seconds=median(record.seconds for record in group),
        artifact_bytes=group[0].artifact_bytes,
        peak_bytes=max((record.peak_bytes for record in group if record.peak_bytes), default=None),
        cosine=mean(cosines) if cosines else None,
    )


def _difference(arm: str, steps: int, kind: str, pairs: list[tuple[Record, Record]]) -> Difference:
    gains = [ours.score.harmonic - theirs.score.harmonic for ours, theirs in pairs]
    low, high = interval(gains)
    own = median(ours.seconds for ours, _ in pairs)
    theirs_seconds = median(theirs.seconds for _, theirs in pairs)
    return Difference(
        arm=arm,
        steps=steps,
        kind=kind,
        subjects=len(pairs),
        harmonic=mean(gains),
        low=low,
        high=high,
        fidelity=mean(ours.score.fidelity - theirs.score.fidelity for ours, theirs in pairs),
        times_faster=theirs_seconds / own if own and theirs_seconds else None,
    )
