"""The safetensors header metadata that UIs show and sort by: kohya's `ss_*`, modelspec 1.0.1, our own `likeness.*`.

No clock is read: the same order gives the same bytes, so kohya's start and finish times and modelspec's date are left
out (the stored object has one). `ss_new_sd_model_hash` is left out too: it is the hash of a single-file checkpoint,
which a diffusers folder is not, and a wrong one is worse than none.
Sources: kohya-ss/sd-scripts train_network.py; https://github.com/Stability-AI/ModelSpec
"""

from __future__ import annotations

import base64
import hashlib
import io
import json

from PIL import Image
from torch import Tensor

from likeness_runtime.export.subject import TunedSubject
from likeness_runtime.export.tensors import tensor_bytes
from likeness_runtime.version import CODE_VERSION

THUMBNAIL_SIDE_PX = 256


def header(subject: TunedSubject, tensors: dict[str, Tensor], kind: str) -> dict[str, str]:
    """`kind` is modelspec's: `lora` or `textual-inversion`."""
    tensors_hash = hashlib.sha256(tensor_bytes(tensors)).hexdigest()
    return (
        _modelspec(subject, kind, tensors_hash)
        | _training(subject)
        | {
            "sshs_model_hash": tensors_hash,
            "trained_words": subject.token,
            "likeness.version": CODE_VERSION,
            "likeness.digest": subject.digest,
            "likeness.base_model_digest": subject.base.digest,
            "likeness.nearest_word": subject.nearest_word,
        }
    )


def _training(subject: TunedSubject) -> dict[str, str]:
    tuning, base = subject.tuning, subject.base
    return {
        "ss_output_name": subject.name,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(tuning.rank),
        "ss_network_alpha": str(tuning.rank),
        "ss_base_model_version": base.names.kohya_base_version,
        "ss_v2": str(base.names.kohya_v2),
        "ss_sd_model_name": base.name,
        "ss_resolution": f"({base.resolution_px}, {base.resolution_px})",
        "ss_steps": str(tuning.steps),
        "ss_learning_rate": tuning.learning_rate,
        "ss_seed": str(tuning.seed),
        "ss_num_train_images": str(len(subject.images)),
        "ss_tag_frequency": json.dumps({subject.name: {subject.token: 1, subject.nearest_word: 1}}),
    }


def _modelspec(subject: TunedSubject, kind: str, tensors_hash: str) -> dict[str, str]:
    shown = subject.previews[0].image if subject.previews else subject.input
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{subject.base.names.modelspec_architecture}/{kind}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": subject.name,
        "modelspec.description": f"{subject.token}, a {subject.nearest_word}, for {subject.base.name}",
        "modelspec.author": "likeness",
        "modelspec.hash_sha256": f"0x{tensors_hash}",
        "modelspec.trigger_phrase": subject.token,
        "modelspec.resolution": f"{subject.base.resolution_px}x{subject.base.resolution_px}",
        "modelspec.prediction_type": subject.base.names.modelspec_prediction_type,
        "modelspec.tags": "subject, personalization",
        "modelspec.thumbnail": _data_uri(shown),
    }


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.resize((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.LANCZOS).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
