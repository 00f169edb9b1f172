from pathlib import Path
from typing import Any

import pytest
import yaml

from likeness_api.crd import KINDS, Kind, manifest

CRDS = Path(__file__).parents[2] / "crds"
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@kinds
def test_the_yaml_is_what_the_types_say(kind: Kind) -> None:
    assert yaml.safe_load((CRDS / f"{kind.plural}.yaml").read_text()) == manifest(kind)


@kinds
def test_every_string_and_list_of_a_spec_is_bounded(kind: Kind) -> None:
    spec = manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(unbounded(spec, "spec")) == []


def unbounded(schema: dict[str, Any], path: str) -> Any:
    """Paths of strings and lists without an upper bound: they would make CEL costs and objects unbounded."""
    kind = schema.get("type")
    if kind == "string" and not ({"maxLength", "enum", "format"} & schema.keys()):
        yield path
    if kind == "array" and "maxItems" not in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from unbounded(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from unbounded(schema[name], f"{path}.{name}")


@kinds
def test_no_float_in_a_spec(kind: Kind) -> None:
    assert "number" not in yaml.safe_dump(manifest(kind)["spec"]["versions"][0]["schema"])
