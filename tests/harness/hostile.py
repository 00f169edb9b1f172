"""Termination messages as an enemy would write them, who knows what a good one looks like."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from given import NAME, NAMESPACE, SHA, SPEC

LONG = 3000
HOME = f"{SPEC['output']}/{NAMESPACE}/{NAME}/"
GOOD = json.dumps(
    {
        "reason": "Tuned",
        "message": "tuned in 12 steps",
        "token": f"<{NAME}>",
        "nearestWord": "teapot",
        "manifest": {"uri": f"{HOME}{SHA}/manifest.json", "sha256": SHA},
        "artifacts": [{"name": "a.safetensors", "format": "lora", "sha256": SHA, "bytes": 7}],
        "previews": ["previews/input.png"],
        "metrics": [{"name": "lossAfter", "value": "0.1"}],
        "subject": [{"sha256": SHA, "caption": "a {token}", "captionSource": "Spec"}],
        "steps": 12,
    }
)
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "a\\..\\b",
    "s3://other/secret",
    "x\x00y",
    "x\ny",
    "\x1b[31mred",
    "\u202egnp.exe",
    "é" * 200,
    "x" * LONG,
    "😀" * 800,
    "<script>alert(1)</script>",
    "$(reboot)",
    "{{ .Values }}",
    "<other>",
    "null",
)
NUMBERS = (-1, 0, 1, 1001, 2**31, 2**53, 2**63, 2**64, 10**400, 1.5, -0.0, 1e308)
OTHERS: tuple[Any, ...] = (None, True, [], {}, [[]], {"a": {}}, ["x"] * 100)
ADDRESSES = (
    "s3://other-tenant/shop/red-teapot/{digest}/manifest.json",
    "s3://artifacts/shop/other/red-teapot/{digest}/manifest.json",
    "s3://artifacts/shop/shop/blue-teapot/{digest}/manifest.json",
    "s3://artifacts/shop/shop/red-teapot/{digest}/../../blue-teapot/{digest}/manifest.json",
    "s3://artifacts/shop/shop/red-teapot/manifest.json",
    "s3://artifacts/shop/shop/red-teapot/{digest}/manifest.json?versionId=1",
    "s3://artifacts/shop/shop/red-teapot/{digest}/manifest.json\n",
    "s3://artifacts/shop/shop/red-teapot/{short}/manifest.json",
    "s3://artifacts/shop/shop/red-teapot/{upper}/manifest.json",
    "S3://artifacts/shop/shop/red-teapot/{digest}/manifest.json",
    "https://evil.example/{digest}/manifest.json",
    "file:///etc/{digest}/manifest.json",
    "s3://artifacts/shop/shop/red-teapot/{digest}/manifest.jsonx",
    "s3://artifacts/shop/shop/red-teapotx/{digest}/manifest.json",
)
RAW = (
    "",
    "{",
    "[]",
    "null",
    "Killed",
    "[" * 2000,
    '{"a":' * 700,
    '{"reason":"Tuned","reason":"Tuned"}',
    '{"reason":"Tuned","message":"\\ud800"}',
    '{"reason":"Tuned","message":"","steps":1e999}',
    '{"reason":"Tuned","message":"","steps":NaN}',
    "\x00\x01\x02",
    "\ufffd" * 500,
    "x" * 4096,
)


def hostile_messages(good: str, count: int, seed: int = 0) -> Iterator[str]:
    """`count` messages, each with one to three faults in the good one, or none of its form at all."""
    draw = random.Random(seed)  # noqa: S311
    yield from RAW[:count]
    for _ in range(count - len(RAW)):
        document = json.loads(good)
        for _ in range(draw.randint(1, 3)):
            _spoil(document, draw)
        text = json.dumps(document)
        yield text[: draw.randrange(len(text))] if draw.random() < 0.05 else text


def _spoil(document: dict[str, Any], draw: random.Random) -> None:
    kind = draw.randrange(6)
    if kind == 0:
        digest = f"{draw.getrandbits(256):064x}"
        address = draw.choice(ADDRESSES).format(digest=digest, short=digest[:63], upper=digest.upper())
        document["manifest"] = {"uri": address, "sha256": digest}
    elif kind == 1:
        artifact = {"name": draw.choice(TEXTS), "format": draw.choice(TEXTS), "sha256": "0" * 64, "bytes": 1}
        if draw.random() < 0.5:
            artifact["bytes"] = draw.choice(NUMBERS)
        document["artifacts"] = [copy.deepcopy(artifact) for _ in range(draw.choice((1, 2, 17, 500)))]
    elif kind == 2:
        document["previews"] = [draw.choice(TEXTS) for _ in range(draw.choice((1, 3, 10, 300)))]
    elif kind == 3:
        document["metrics"] = [
            {"name": draw.choice(TEXTS), "value": draw.choice((*TEXTS, "1" * 500, "1e999", "NaN", "0x1"))}
            for _ in range(draw.choice((1, 33, 400)))
        ]
    elif kind == 4:
        document["subject"] = [
            {"sha256": "0" * 64, "caption": draw.choice(TEXTS), "captionSource": draw.choice(TEXTS)}
            for _ in range(draw.choice((1, 2, 9, 100)))
        ]
    else:
        field = draw.choice([*document, "more"])
        document[field] = draw.choice((*TEXTS, *NUMBERS, *OTHERS))


def believed(status: dict[str, Any]) -> list[str]:
    """What a status says that was not ordered, judged without the code that is tested."""
    addresses = [status.get("manifest", {}).get("uri", "")]
    addresses += [artifact["uri"] for artifact in status.get("artifacts", [])] + status.get("previews", [])
    wrong = [uri for uri in addresses if uri and not uri.startswith(HOME)]
    wrong += [uri for uri in addresses if "/../" in uri or "//" in uri.removeprefix("s3://") or "\\" in uri]
    wrong += [uri for uri in addresses if any(ord(character) < 32 for character in uri)]
    if status.get("token") != f"<{NAME}>":
        wrong.append(f"token {status.get('token')}")
    return wrong
