"""From measurements to what is claimed: means, paired differences with confidence intervals, tables, curves."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np

from likeness_lab.bench.chart import Series, write_chart
from likeness_lab.bench.condition import DRAWINGS, BenchCondition
from likeness_lab.bench.method import Record
from likeness_lab.bench.showcase import showcase

RESAMPLES = 10_000
REFERENCE = ("ours", 12, "recognised")
"""What every other condition is compared with, drawn in the same way."""
NOT_DRAWN = ("floor", "ceiling")
"""They are the same in both drawings and stand in both tables."""


@dataclass(frozen=True)
class SummaryRow:
    """One condition over its subjects."""

    condition: BenchCondition
    kind: str
    subjects: int
    identity: float
    likeness_to_input: float
    fidelity: float
    harmonic: float
    rows: int
    seconds: float
    """Median."""
    paired_error: float | None
    artifact_bytes: int
    peak_bytes: int | None
    """The largest of any subject."""
    cosine: float | None
    """Mean cosine of v* with its nearest word."""


@dataclass(frozen=True)
class Difference:
    """The reference minus another condition of the same drawing, of each subject's harmonic mean; 95 % interval by the
    paired bootstrap.
    """

    condition: BenchCondition
    kind: str
    subjects: int
    harmonic: float
    low: float
    high: float
    fidelity: float
    """Mean difference of the editability half."""
    times_faster: float | None
    """The other's median seconds over the reference's."""


def rows(records: list[Record]) -> list[SummaryRow]:
    """One for each condition and kind, in the order of first measurement."""
    return [_row(*key, group) for key, group in _grouped(records).items()]


def differences(records: list[Record]) -> list[Difference]:
    """Against every other condition, on the subjects that both have."""
    grouped = _grouped(records)
    found = []
    for (condition, kind), group in grouped.items():
        references = [
            reference
            for reference in (BenchCondition(*REFERENCE, drawing) for drawing in DRAWINGS)
            if reference != condition and (condition.arm in NOT_DRAWN or reference.drawing == condition.drawing)
        ]
        for reference in references:
            other = {record.subject: record for record in group}
            pairs = [
                (record, other[record.subject])
                for record in grouped.get((reference, kind), [])
                if record.subject in other
            ]
            if pairs:
                condition_there = BenchCondition(condition.arm, condition.steps, condition.telling, reference.drawing)
                found.append(_difference(condition_there, kind, pairs))
    return found


def interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean; resampling subjects keeps pairs together."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def write_summary(records: list[Record], folder: Path, setting: dict[str, object]) -> str:
    """results.json, results.md, curves.png and, where the pictures are there, showcase.png; returns the tables."""
    table, compared = rows(records), differences(records)
    facts = {"setting": setting, "rows": [asdict(row) for row in table], "differences": [asdict(d) for d in compared]}
    (folder / "results.json").write_text(json.dumps(facts, indent=2) + "\n")
    text = markdown(table, compared, records)
    (folder / "results.md").write_text(text)
    curves = curves_of(table)
    if curves:
        write_chart(curves, folder / "curves.png", across="seconds of one CPU thread", up="harmonic mean")
    picture = showcase(records, folder)
    if picture:
        picture.save(folder / "showcase.png")
    return text


def curves_of(table: list[SummaryRow]) -> list[Series]:
    """Harmonic mean over seconds of what was captioned and drawn like the reference, at several numbers of steps."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in table:
        if (row.condition.telling, row.condition.drawing) == (REFERENCE[2], DRAWINGS[0]):
            points[f"{row.condition.arm} ({row.kind})"].append((row.seconds, row.harmonic))
    return [Series(name, sorted(own)) for name, own in points.items() if len(own) > 1]


def markdown(table: list[SummaryRow], compared: list[Difference], records: list[Record]) -> str:
    """One table for each kind of subject and each drawing, every condition beside its difference to the reference."""
    lines: list[str] = []
    by_condition = {(each.condition, each.kind): each for each in compared}
    for kind in dict.fromkeys(row.kind for row in table):
        for drawing in DRAWINGS:
            lines += [f"## {kind}, {HEADINGS[drawing]}", "", *HEAD]
            for row in table:
                condition = row.condition
                if row.kind == kind and (condition.drawing == drawing or condition.arm in NOT_DRAWN):
                    there = BenchCondition(condition.arm, condition.steps, condition.telling, drawing)
                    lines.append(_line(row, by_condition.get((there, kind))))
            lines.append("")
    lines += ["## Told and recognised", "", "| subject | caption | nearest word | cosine |", "|---|---|---|---|"]
    lines += [
        f"| {record.subject} | {record.caption or 'nothing'} | {record.word} | {record.cosine:.3f} |"
        for record in records
        if record.condition == BenchCondition(*REFERENCE, DRAWINGS[0]) and record.cosine is not None
    ]
    return "\n".join(lines) + "\n"


HEADINGS = {
    "untouched": "drawn with guidance away from the untouched model, as our loader draws",
    "stock": "drawn with stock guidance, as published files in a stock pipeline are",
}
HEAD = (
    "| arm | steps | told | n | identity | like input | fidelity | harmonic | rows | seconds | paired error"
    " | ours at 12 minus it | 95 % interval |",
    "|" + "---|" * 13,
)


def _line(row: SummaryRow, compared: Difference | None) -> str:
    condition = row.condition
    gain = "" if compared is None else f"{compared.harmonic:+.3f}"
    between = "" if compared is None else f"{compared.low:+.3f} … {compared.high:+.3f}"
    error = "" if row.paired_error is None else f"{row.paired_error:.3f}"
    return (
        f"| {condition.arm} | {condition.steps} | {condition.telling} | {row.subjects} | {row.identity:.3f}"
        f" | {row.likeness_to_input:.3f} | {row.fidelity:.3f} | {row.harmonic:.3f} | {row.rows} | {row.seconds:.2f}"
        f" | {error} | {gain} | {between} |"
    )


def _grouped(records: list[Record]) -> dict[tuple[BenchCondition, str], list[Record]]:
    grouped: dict[tuple[BenchCondition, str], list[Record]] = defaultdict(list)
    for record in records:
        grouped[record.condition, record.kind].append(record)
    return grouped


def _row(condition: BenchCondition, kind: str, group: list[Record]) -> SummaryRow:
    cosines = [record.cosine for record in group if record.cosine is not None]
    errors = [record.paired_error for record in group if record.paired_error is not None]
    return SummaryRow(
        condition=condition,
        kind=kind,
        subjects=len(group),
        identity=mean(record.score.identity for record in group),
        likeness_to_input=mean(record.score.likeness_to_input for record in group),
        fidelity=mean(record.score.fidelity for record in group),
        harmonic=mean(record.score.harmonic for record in group),
        rows=group[0].rows,
        seconds=median(record.seconds for record in group),
        paired_error=mean(errors) if errors else None,
        artifact_bytes=group[0].artifact_bytes,
        peak_bytes=max((record.peak_bytes for record in group if record.peak_bytes), default=None),
        cosine=mean(cosines) if cosines else None,
    )


def _difference(condition: BenchCondition, kind: str, pairs: list[tuple[Record, Record]]) -> Difference:
    gains = [ours.score.harmonic - theirs.score.harmonic for ours, theirs in pairs]
    low, high = interval(gains)
    own = median(ours.seconds for ours, _ in pairs)
    theirs_seconds = median(theirs.seconds for _, theirs in pairs)
    return Difference(
        condition=condition,
        kind=kind,
        subjects=len(pairs),
        harmonic=mean(gains),
        low=low,
        high=high,
        fidelity=mean(ours.score.fidelity - theirs.score.fidelity for ours, theirs in pairs),
        times_faster=theirs_seconds / own if own and theirs_seconds else None,
    )
