"""Writes the CRDs: `python -m likeness_api.generate ROOT`, for `make generate`. Only this needs PyYAML."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from likeness_api.crd import KINDS, Kind, manifest

NOTE = "# Generated from crds/likeness_api by `make generate`. Do not edit.\n"


def write_crds(root: Path) -> None:
    """Into crds/, and into the chart, which installs them."""
    for folder in ("crds", "charts/likeness/files/crds"):
        write_kinds(root / folder, KINDS)


def write_kinds(folder: Path, kinds: tuple[Kind, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        text = yaml.safe_dump(manifest(kind), sort_keys=False, width=120, allow_unicode=True)
        (folder / f"{kind.plural}.yaml").write_text(NOTE + text)


if __name__ == "__main__":
    write_crds(Path(sys.argv[1]))
