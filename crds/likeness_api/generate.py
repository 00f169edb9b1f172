"""Writes the CRDs: `python -m likeness_api.generate FOLDER ...`, for `make generate`. Only this needs PyYAML."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from likeness_api.crd import KINDS, manifest

NOTE = "# Generated from crds/likeness_api by `make generate`. Do not edit.\n"


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        text = yaml.safe_dump(manifest(kind), sort_keys=False, width=120, allow_unicode=True)
        (folder / f"{kind.plural}.yaml").write_text(NOTE + text)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(Path(argument))
