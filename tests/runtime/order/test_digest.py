"""What an order's digest covers: everything but where things lie and what computes them."""

import json
from typing import Any

import pytest

from likeness_api.order import Order
from likeness_api.personalization import SubjectImage
from likeness_runtime.order.manifest import NOT_IN_DIGEST, digest_of
from tiny_models import altered

FULL: dict[str, Any] = {
    "run": {
        "tuning": {
            "steps": 3, "batchSize": 3, "rank": 3, "alpha": "0.3", "learningRate": "0.3",
            "embeddingLearningRate": "0.3", "resolution": 64, "seed": 3,
        },
        "model": {"uri": "s3://models/a", "digest": "0" * 64, "cache": "/cache"},
        "encoder": {"uri": "s3://models/b", "digest": "0" * 64, "cache": "/cache"},
        "storage": {"endpoint": "http://s3", "sourcePrefixes": ["s3://art"], "outputPrefixes": ["s3://out"]},
        "device": "cpu",
        "rowsPerPass": 2,
    },
    "subject": {
        "namespace": "shop",
        "name": "teapot",
        "id": "TEAPOT",
        "token": "<teapot>",
        "images": [{"uri": "s3://art/a.png", "caption": "a {token} on a table"}],
        "output": "s3://out/x",
        "previews": [{"prompt": "a <teapot>", "seed": 1}],
        "seed": 5,
    },
}  # fmt: skip
CONTENT_COUNTS = {
    ("subject", "images", 0, "uri"),
    *(("run", kind, field) for kind in ("model", "encoder") for field in ("uri", "digest", "cache")),
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


def test_the_order_above_says_every_field_that_there_is() -> None:
    whole = WHOLE.model_dump(by_alias=True)
    assert set(FULL) == set(whole) - {"kind", "version"}
    for part in ("run", "subject"):
        assert set(FULL[part]) == set(whole[part])
    for part in ("tuning", "model"):
        assert set(FULL["run"][part]) == set(whole["run"][part])
    assert set(FULL["subject"]["images"][0]) == set(whole["subject"]["images"][0])


@pytest.mark.parametrize("path", leaves(FULL), ids=lambda path: ".".join(str(part) for part in path))
def test_a_field_counts_unless_it_says_where_or_on_what(path: tuple[Any, ...]) -> None:
    """The subject's own seed stands in the place of the run's."""
    snake = {"rowsPerPass": "rows_per_pass"}.get(path[1], path[1])
    counts = snake not in NOT_IN_DIGEST[path[0]] and path not in CONTENT_COUNTS
    counts = counts or path == ("subject", "seed")
    counts = counts and path != ("run", "tuning", "seed")
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
    bare = altered(WHOLE, images=[SubjectImage(uri="s3://art/a.png")])
    assert digest(bare) != digest(WHOLE)


def test_where_the_subject_brings_no_seed_the_run_s_counts() -> None:
    lent = altered(WHOLE, seed=None, tuning=WHOLE.run.tuning.model_copy(update={"seed": 5}))
    assert digest(lent) == digest(WHOLE)
    assert digest(altered(lent, tuning=WHOLE.run.tuning)) != digest(WHOLE)


BEFORE: list[tuple[dict[str, Any], str | None, str]] = [
    (
        {
            "namespace": "shop", "name": "red-teapot", "token": "<red-teapot>",
            "images": [{"uri": "s3://catalogue/shop/teapot.jpg"}], "output": "s3://artifacts/shop",
            "model": {"uri": "builtin://pocket"},
            "storage": {"sourcePrefixes": ["s3://catalogue/shop"], "outputPrefixes": ["s3://artifacts/shop"]},
        },
        None,
        "6592c43c0bf00aa1e24063dd2c99a0f5fae7265d2f4f2ce5b38df20e80b29cfe",
    ),
    (
        {
            "namespace": "shop", "name": "pot", "token": "<pot>",
            "images": [
                {"uri": "s3://catalogue/a.png", "caption": "a {token} on a table"}, {"uri": "s3://catalogue/b.png"}
            ],
            "output": "s3://artifacts/shop",
            "previews": [{"prompt": "a <pot> on a beach", "seed": 3}, {"prompt": "a <pot>"}],
            "tuning": {
                "steps": 20, "batchSize": 8, "rank": 8, "alpha": "0.6", "learningRate": "0.01",
                "embeddingLearningRate": "0.002", "resolution": 512, "seed": 7,
            },
            "model": {"uri": "s3://models/sd15", "digest": "1" * 64, "cache": "/models/cache"},
            "storage": {
                "endpoint": "http://s3:8333", "pathStyle": True,
                "sourcePrefixes": ["s3://catalogue"], "outputPrefixes": ["s3://artifacts"],
            },
            "device": "cuda",
            "rowsPerPass": 4,
        },
        None,
        "a972ca071ef6f4d8d43cf6f88eab7644610c23cfeffdf71fc8b0db21bdaa9977",
    ),
    (
        {
            "namespace": "default", "name": "hamster", "token": "<hamster>",
            "images": [{"uri": "file:///pictures/hamster.png"}], "output": "file:///artifacts",
            "previews": [{"prompt": "a photo of a <hamster> on a blue background"}],
            "tuning": {"seed": 2147483647},
            "model": {"uri": "builtin://pocket"}, "encoder": {"uri": "builtin://pocket"},
            "storage": {"sourcePrefixes": ["file://"], "outputPrefixes": ["file://"]},
        },
        "c" * 64,
        "07f0ebbcb2695f6fabb972cb954335a3664ec0ca7e8fb520efad708ad6a5760c",
    ),
]  # fmt: skip
"""Orders of version 1, an encoder's digest, and the order's digest by the code that wrote version 1 (method
dual-path/2, version 0.1.0): its `digest_of(order, ["a" * 64, "b" * 64][: number of pictures], "d" * 64, encoder)`.
"""


@pytest.mark.parametrize(("document", "encoder", "expected"), BEFORE, ids=["small", "captions", "encoder"])
def test_an_order_of_version_1_keeps_its_digest(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], encoder: str | None, expected: str
) -> None:
    """Else what is published already would be tuned and published again. A new version or method may change it."""
    monkeypatch.setattr("likeness_runtime.order.manifest.CODE_VERSION", "0.1.0")
    monkeypatch.setattr("likeness_runtime.order.manifest.METHOD", "dual-path/2")
    order = Order.decode(json.dumps({"kind": "Order", "version": 1, **document}))
    pictures = ["a" * 64, "b" * 64][: len(document["images"])]
    assert digest_of(order, pictures, "d" * 64, encoder) == expected
