import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from likeness_api.crd import KINDS, Kind, manifest
from likeness_api.field import Model

CRDS = Path(__file__).parents[2] / "crds"
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@kinds
def test_the_yaml_is_what_the_types_say(kind: Kind) -> None:
    assert yaml.safe_load((CRDS / f"{kind.plural}.yaml").read_text()) == manifest(kind)


@kinds
def test_every_string_and_list_of_a_spec_is_bounded(kind: Kind) -> None:
    spec = manifest(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(unbounded(spec, "spec")) == []


def test_a_personalization_is_no_larger_than_the_operator_keeps_hundreds_of() -> None:
    """In UTF-8 each character takes up to four bytes: a hundred kilobytes."""
    personalization = next(kind for kind in KINDS if kind.kind == "Personalization")
    root = manifest(personalization)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert most_characters(root["properties"]["spec"]) <= 25_000


def most_characters(schema: dict[str, Any]) -> int:
    """Of all strings that an object of this schema can have, names of fields and what is not text left out."""
    match schema.get("type"):
        case "object":
            return sum(map(most_characters, schema.get("properties", {}).values()))
        case "array":
            return int(schema["maxItems"]) * most_characters(schema["items"])
        case "string":
            return int(schema.get("maxLength", 0))
    return 0


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
    assert "type: number" not in yaml.safe_dump(manifest(kind)["spec"]["versions"][0]["schema"])


@kinds
def test_every_field_has_a_description_of_its_own(kind: Kind) -> None:
    """So that `kubectl explain` answers: one or two sentences on one line, not those of the field's type."""
    root = yaml.safe_load((CRDS / f"{kind.plural}.yaml").read_text())["spec"]["versions"][0]["schema"]
    fields = {
        path: field.get("description", "")
        for part in ("spec", "status")
        for path, field in fields_of(root["openAPIV3Schema"]["properties"].get(part, {}), part)
    }
    assert len(fields) > 10
    assert [path for path, text in fields.items() if not re.fullmatch(r"[A-Z].{10,400}\.", text)] == []
    assert [path for path, text in fields.items() if text in docstrings(kind)] == []


@kinds
def test_a_spec_refuses_what_it_does_not_know_and_a_status_leaves_it_out(kind: Kind) -> None:
    assert {each.model_config["extra"] for each in models_of(kind.spec)} == {"forbid"}
    if kind.status:
        assert {each.model_config["extra"] for each in models_of(kind.status)} == {"ignore"}


def models_of(kind: Any) -> Iterator[type[Model]]:
    """The models that a field of this type may hold, and those of their fields."""
    if isinstance(kind, type) and issubclass(kind, Model):
        yield kind
        for field in kind.model_fields.values():
            yield from models_of(field.annotation)
    for argument in get_args(kind):
        yield from models_of(argument)


def fields_of(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below `path`, also those of a list's or a map's entries."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields_of(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from fields_of(schema[name], f"{path}[]")


def docstrings(kind: Kind) -> set[str]:
    """What the types say about themselves."""
    types = [each for each in (kind.spec, kind.status) if each]
    said = [each.model_json_schema()["$defs"].values() for each in types]
    return {" ".join(definition.get("description", "").split()) for group in said for definition in group}
