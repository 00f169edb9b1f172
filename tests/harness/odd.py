"""Specs from a CRD's schema and around it: fitting ones, then spoilt in a few places, as hypothesis strategies."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Place = tuple[str | int, ...]

NUMBERS = [0, -1, 1, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, 0.1, 1.0, -0.0, 1e308]
TEXTS = [
    "", " ", "a" * 64, "a" * 254, "é" * 1025, "x" * 70_000, "\x00", "\n", "a\nb", "\ud800", "\u202e", "\U0001d51f",
    "e\u0301", "red\n", "0", "true", "null", "9223372036854775808", "-1Gi", "1e400", "100m", "1e-3",
    "$(HOME)", "$$(LIKENESS_ORDER)", "{{ .Values }}", "{namespace}", "'; rm -rf / #", "<script>", "%2e%2e/",
    "../../etc",
    "s3://", "s3://catalogue", "s3://catalogue/../x", "s3://catalogue/./x", "s3://catalogue//x", "s3://CATALOGUE/x",
    "s3://catalogue/a?b", "s3://catalogue@evil/x", "s3://cataloguex/a", "file:///etc/passwd", "http://169.254.169.254/",
    "<a>", "<A>", "<a-", "kube-system", "default",
]  # fmt: skip
KEYS = ["", "__proto__", "metadata", "status", "Steps", "a.b/c", "x" * 300, "é", "$ref"]
ODD = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
    st.none(),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.sampled_from(TEXTS)), max_size=9),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from([None, 1, "x", {}, []]), max_size=3),
    st.just([[[[{}]]]]),
)
"""Any JSON value at all, with what has broken programs before."""
QUANTITIES = st.sampled_from(["1", "500m", "64Mi", "0", "1e3", 2, 0])


def fitting(schema: Schema) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each kind of schema
    """Values that the schema takes; its CEL rules may still refuse them."""
    if schema.get("x-kubernetes-int-or-string"):
        return QUANTITIES
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.sampled_from(["key", "operator", "value", "spec", "metadata"]), ODD, max_size=2)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            low, high, step = schema.get("minimum", 0), schema.get("maximum", 2**31), schema.get("multipleOf", 1)
            return st.one_of(st.integers(low // step, high // step), st.sampled_from([low // step, high // step])).map(
                lambda number: number * step
            )
        case "string":
            longest = schema.get("maxLength", 100)
            # Python's $ lets a newline pass, other than those of the API server and of pydantic.
            pattern = schema.get("pattern", r"^.{1,40}$").removesuffix("$") + r"\Z"
            text = st.from_regex(pattern)
            return text.map(lambda found: found[:longest])
        case "array":
            most = min(schema.get("maxItems", 4), 8)
            return st.lists(fitting(schema["items"]), min_size=schema.get("minItems", 0), max_size=most)
    if "additionalProperties" in schema:
        return st.dictionaries(st.text(max_size=8), fitting(schema["additionalProperties"]), max_size=3)
    required = set(schema.get("required", ()))
    parts = {name: fitting(part) for name, part in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


@st.composite
def spoilt(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document with up to three places changed: replaced, left out, doubled, or given an unknown neighbour."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2, 3]))):
        places = [place for place in _places(document) if place]
        if not places:
            break
        _spoil(draw, document, draw(st.sampled_from(places)))
    return document


def _places(document: Any, here: Place = ()) -> list[Place]:
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [here, *(place for key, value in items for place in _places(value, (*here, key)))]


def _spoil(draw: st.DrawFn, document: Any, place: Place) -> None:
    *above, final = place
    last: Any = final
    for key in above:
        document = document[key]
    how = draw(st.sampled_from(["replace", "replace", "leave out", "neighbour"]))
    if how == "replace":
        document[last] = copy.deepcopy(draw(ODD))
    elif how == "leave out":
        del document[last]
    elif isinstance(document, list):
        document.extend([copy.deepcopy(document[last])] * draw(st.sampled_from([1, 8])))
    else:
        document[draw(st.sampled_from(KEYS))] = copy.deepcopy(draw(ODD))
