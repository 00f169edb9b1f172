"""What an order's digest covers: everything but where things lie and what computes them."""

import json
from typing import Any

import pytest

from likeness_api.order import Order
from likeness_runtime.order.manifest import NOT_IN_DIGEST, digest_of

FULL: dict[str, Any] = {
    "namespace": "shop",
    "name": "teapot",
    "token": "<teapot>",
    "images": [{"uri": "s3://art/a.png", "caption": "a {token} on a table"}],
    "output": "s3://out/x",
    "previews": [{"prompt": "a <teapot>", "seed": 1}],
    "tuning": {
        "steps": 3, "batchSize": 3, "rank": 3, "alpha": "0.3", "learningRate": "0.3", "embeddingLearningRate": "0.3",
        "resolution": 64, "seed": 3,
    },
    "model": {"uri": "s3://models/a", "digest": "0" * 64, "cache": "/cache"},
    "encoder": {"uri": "s3://models/b", "digest": "0" * 64, "cache": "/cache"},
    "storage": {"endpoint": "http://s3", "sourcePrefixes": ["s3://art"], "outputPrefixes": ["s3://out"]},
    "device": "cpu",
    "rowsPerPass": 2,
}  # fmt: skip
CONTENT_COUNTS = {
    ("images", 0, "uri"),
    *((kind, field) for kind in ("model", "encoder") for field in ("uri", "digest", "cache")),
}
"""Addresses of what counts by its content, and what the content is checked against."""
OTHERS = {"0.3": "0.4", "cpu": "cuda", "http://s3": "http://s4", "<teapot>": "<kettle>", "0" * 64: "1" * 64}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, each in enumerate(value) for leaf in leaves(each, (*path, index))]
    return [path]


def changed(path: tuple[Any, ...]) -> Order:
    content = json.loads(json.dumps(FULL))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    before = inner[path[-1]]
    inner[path[-1]] = (
        before * 2
        if path[-1] == "resolution"
        else before + 1
        if isinstance(before, int)
        else OTHERS.get(before, f"{before}x")
    )
    return Order.model_validate(content)


def digest(order: Order, image: str = "i", model: str = "m", encoder: str | None = "e") -> str:
    return digest_of(order, [image], model, encoder)


WHOLE = Order.model_validate(FULL)


def test_the_order_below_says_every_field_that_there_is() -> None:
    assert set(FULL) == set(WHOLE.model_dump(by_alias=True)) - {"kind", "version"}
    for part in ("tuning", "model"):
        assert set(FULL[part]) == set(WHOLE.model_dump(by_alias=True)[part])
    assert set(FULL["images"][0]) == set(WHOLE.model_dump(by_alias=True)["images"][0])


@pytest.mark.parametrize("path", leaves(FULL), ids=lambda path: ".".join(str(part) for part in path))
def test_a_field_counts_unless_it_says_where_or_on_what(path: tuple[Any, ...]) -> None:
    snake = {"rowsPerPass": "rows_per_pass"}.get(path[0], path[0])
    counts = snake not in NOT_IN_DIGEST and path not in CONTENT_COUNTS
    assert (digest(changed(path)) != digest(WHOLE)) is counts


def test_contents_count() -> None:
    others = [
        digest(WHOLE, image="j"),
        digest(WHOLE, model="n"),
        digest(WHOLE, encoder="f"),
        digest(WHOLE, encoder=None),
    ]
    assert len({digest(WHOLE), *others}) == 5


def test_a_caption_that_is_taken_away_counts() -> None:
    bare = Order.model_validate(FULL | {"images": [{"uri": "s3://art/a.png"}]})
    assert digest(bare) != digest(WHOLE)
