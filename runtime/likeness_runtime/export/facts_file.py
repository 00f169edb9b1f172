"""personalization.json: what a dual-path pipeline needs beside the tensors, and how the result came about."""

from __future__ import annotations

import json
from importlib.metadata import version

from likeness_runtime.export.file import File
from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.pipeline import FACTS_FORMAT_VERSION
from likeness_runtime.version import CODE_VERSION

LIBRARIES = ("diffusers", "safetensors", "torch", "transformers")


def facts_file(subject: TunedSubject) -> File:
    facts = {
        "formatVersion": FACTS_FORMAT_VERSION,
        "token": subject.token,
        "nearestWord": subject.nearest_word,
        "alpha": subject.tuning.alpha,
        "lora": subject.lora_file,
        "embedding": subject.embedding_file,
        "baseModel": {
            "name": subject.base.name,
            "digest": subject.base.digest,
            "family": subject.base.names.family,
            "predictionType": subject.base.prediction_type,
        },
        "encoder": subject.encoder and {"name": subject.encoder.name, "digest": subject.encoder.digest},
        "tuning": subject.tuning.to_json() | {"resolution": subject.base.resolution_px},
        "images": [image.to_json() for image in subject.images],
        "versions": {"likeness": CODE_VERSION} | {library: version(library) for library in LIBRARIES},
    }
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    return File("personalization.json", "likeness", "application/json", text.encode())
