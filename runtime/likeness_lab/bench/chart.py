"""Line charts of a report: a few series over their cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

WIDTH_PX, HEIGHT_PX = 900, 520
DPI = 100
LINEAR_TO = 1.0
"""Up to here the horizontal axis is linear, so that zero has a place; from here on it is logarithmic."""


@dataclass(frozen=True)
class Series:
    """A named line of (across, up) points."""

    name: str
    points: list[tuple[float, float]]


def write_chart(lines: list[Series], path: Path, *, across: str, up: str) -> None:
    """Writes a PNG of `WIDTH_PX` x `HEIGHT_PX`; `across` and `up` label the axes, and up goes from 0 to 1."""
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for line in lines:
        axes.plot(*zip(*line.points, strict=True), marker="o", label=line.name)
    axes.set_xscale("symlog", linthresh=LINEAR_TO)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR_TO, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=across, ylabel=up, ylim=(0.0, 1.0))
    axes.set_xlim(left=0.0)
    axes.grid(visible=True, color="#dddddd")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path)
