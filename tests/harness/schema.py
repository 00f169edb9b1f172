"""What the API server would say about a value by a structural schema, as far as our CRDs use one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "number": (int, float),
}
MOST_INTEGER = 2**63 - 1


def complaints(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """One sentence for each fault; empty where the value is taken as it is."""
    if "type" not in schema:
        return []
    if not isinstance(value, TYPES[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool)):
        return [f"{where} is {type(value).__name__}; expected {schema['type']}"]
    found = [f"{where}: {rule}" for rule in _broken(value, schema)]
    if isinstance(value, dict):
        found += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name)
            found += [f"{where}.{name} is unknown"] if known is None else complaints(inner, known, f"{where}.{name}")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += complaints(inner, schema.get("items", {}), f"{where}[{index}]")
        keys = schema.get("x-kubernetes-list-map-keys")
        if keys and len({tuple(each[key] for key in keys) for each in value}) < len(value):
            found.append(f"{where} has a key twice")
    return found


def _broken(value: Any, schema: dict[str, Any]) -> list[str]:
    rules: dict[str, Callable[[Any], bool]] = {
        "enum": lambda allowed: value in allowed,
        "pattern": lambda pattern: re.search(pattern, value) is not None,
        "maxLength": lambda most: len(value) <= most,
        "minLength": lambda least: len(value) >= least,
        "maxItems": lambda most: len(value) <= most,
        "minItems": lambda least: len(value) >= least,
        "maximum": lambda most: value <= most,
        "minimum": lambda least: value >= least,
        "format": lambda kind: kind != "date-time" or _is_date_time(value),
    }
    failed = [name for name, holds in rules.items() if name in schema and not holds(schema[name])]
    broken = [f"{name} {schema[name]}: {value!r:.80}" for name in failed]
    if schema["type"] == "integer" and not -MOST_INTEGER - 1 <= value <= MOST_INTEGER:
        broken.append(f"{value!r:.80} is no int64")
    return broken


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
