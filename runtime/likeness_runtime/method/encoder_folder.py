"""An encoder on disk: a folder laid out like a pipeline's, so that it is found, fetched and digested like one.

model_index.json            names the components
encoder/config.json         shape, the picture's normalisation, the base model's digest, how it was trained
encoder/model.safetensors   weights, and `negatives.N`: the bank of other concepts' embeddings of text encoder N
encoder/contexts.safetensors  context phrases and their embeddings; may be left out, then pictures go uncaptioned
image_encoder/              the CLIP image tower; left out where the base model brings its own
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from likeness_api.reason import Reason
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.failure import RunError
from likeness_runtime.method.contexts import CONTEXTS, Contexts, read_contexts, write_contexts
from likeness_runtime.method.encoder import Encoder, Shape, shape_for
from likeness_runtime.storage.model_folder import INDEX

ENCODER_FORMAT_VERSION = 1
CLASS_NAME = "LikenessEncoder"
CONFIG, WEIGHTS, NEGATIVES = "encoder/config.json", "encoder/model.safetensors", "negatives."
IMAGE_ENCODER = "image_encoder"


@dataclass(frozen=True)
class Normalisation:
    """What an image tower's training subtracted and divided by, for red, green and blue in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""OpenAI's CLIP (arXiv:2103.00020) and OpenCLIP."""


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder with all that it needs to look at a picture."""

    encoder: Encoder
    image_tower: Any
    normalisation: Normalisation
    negatives: list[Tensor]
    """(m, d) for each text encoder; empty where the pre-training kept none."""
    contexts: Contexts | None = None
    """What its image tower can recognise beside a subject."""


def save_encoder(
    folder: Path,
    trained: TrainedEncoder,
    model: DiffusionModel,
    training: dict[str, Any],
    *,
    with_image_tower: bool,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes the folder. `training` describes, as JSON, how the weights were made."""
    (folder / "encoder").mkdir(parents=True, exist_ok=True)
    tensors = trained.encoder.state_dict() | {f"{NEGATIVES}{n}": bank for n, bank in enumerate(trained.negatives)}
    save_file(
        {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS
    )
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone, but a pod runs as anyone
    config = {
        "formatVersion": ENCODER_FORMAT_VERSION,
        "baseModelDigest": model.digest,
        "imageMean": list(trained.normalisation.mean),
        "imageStd": list(trained.normalisation.std),
        "shape": trained.encoder.description(),
        "training": training,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    components = {"encoder": ["likeness_runtime", "Encoder"]}
    if with_image_tower:
        components[IMAGE_ENCODER] = ["transformers", "CLIPVisionModelWithProjection"]
        trained.image_tower.to(dtype).save_pretrained(folder / IMAGE_ENCODER, safe_serialization=True)
    (folder / INDEX).write_text(json.dumps({"_class_name": CLASS_NAME} | components, indent=2) + "\n")
    if trained.contexts:
        write_contexts(trained.contexts, folder)


def load_encoder(folder: Path, model: DiffusionModel) -> TrainedEncoder:
    """Raises `RunError(EncoderMismatch)` where the folder holds no encoder, or one for another kind of model."""
    config = _config(folder)
    try:
        shape = Shape.from_description(config["shape"])
        normalisation = Normalisation(tuple(config["imageMean"]), tuple(config["imageStd"]))
        tensors = load_file(folder / WEIGHTS, device=str(model.device))
    except (KeyError, TypeError, OSError, SafetensorError) as error:
        raise _mismatch(folder, f"the encoder does not load ({error!r:.200})") from None
    own_tower = folder / IMAGE_ENCODER
    image_tower = image_tower_of(own_tower if own_tower.is_dir() else None, model)
    _check_fits(folder, shape, model, image_tower)
    negatives = [tensors.pop(name).float() for name in sorted(tensors) if name.startswith(NEGATIVES)]
    encoder = Encoder(shape).to(model.device)
    try:
        encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise _mismatch(folder, f"{WEIGHTS} does not fit {CONFIG} ({' '.join(str(error).split()):.200})") from None
    encoder.eval().requires_grad_(False)
    return TrainedEncoder(encoder, image_tower, normalisation, negatives, _contexts(folder, image_tower, model.device))


def take_over(encoder: Encoder, folder: Path) -> tuple[int, int]:
    """Copies those weights of the encoder in `folder` that have a namesake of the same shape in `encoder`.

    Returns how many tensors those were, and of how many. Raises `RunError(EncoderMismatch)` where there is none.
    """
    own = encoder.state_dict()
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise _mismatch(folder, f"{WEIGHTS} does not load ({error!r:.200})") from None
    fitting = {name: each for name, each in tensors.items() if name in own and own[name].shape == each.shape}
    if not fitting:
        raise _mismatch(folder, f"none of the {len(tensors)} tensors in {WEIGHTS} fits; expected another encoder's")
    encoder.load_state_dict(own | fitting)
    return len(fitting), len(own)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise _mismatch(folder, f"expected an encoder's folder, but {CONFIG} cannot be read ({error})") from None
    if not isinstance(config, dict) or config.get("formatVersion") != ENCODER_FORMAT_VERSION:
        raise _mismatch(
            folder, f"{CONFIG} says {config!r:.80}; expected an object with formatVersion {ENCODER_FORMAT_VERSION}"
        )
    return config


def image_tower_of(folder: Path | None, model: DiffusionModel) -> Any:
    """The CLIP image tower in `folder`, or else the one that the base model's pipeline brings."""
    if folder is None:
        tower: Any = getattr(model.pipeline, IMAGE_ENCODER, None)
        if tower is None:
            raise RunError(Reason.ENCODER_MISMATCH, f"neither the encoder nor the base model has {IMAGE_ENCODER}/")
    else:
        try:
            tower = CLIPVisionModelWithProjection.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32
            )
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                Reason.ENCODER_MISMATCH, f"image tower {folder.name}: it does not load ({reason:.200})"
            ) from None
    return tower.to(model.device, torch.float32).eval().requires_grad_(False)


def normalisation_of(folder: Path) -> Normalisation:
    """As the image tower's folder says; CLIP's own where it says nothing."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return CLIP
    config = json.loads(path.read_bytes())
    return Normalisation(tuple(config["image_mean"]), tuple(config["image_std"]))


def _check_fits(folder: Path, shape: Shape, model: DiffusionModel, image_tower: Any) -> None:
    own = {"rank": shape.rank, "width": shape.width, "layers": shape.layers, "heads": shape.heads}
    expected = shape_for(model, image_tower, **own)
    for field in ("image_widths", "denoiser_widths", "patch_widths", "text_widths", "projections"):
        came, wanted = getattr(shape, field), getattr(expected, field)
        if came != wanted:
            raise _mismatch(folder, f"shape.{field} is {came!r:.150}; the base model needs {wanted!r:.150}")


def _contexts(folder: Path, image_tower: Any, device: torch.device) -> Contexts | None:
    try:
        found = read_contexts(folder, device)
    except ValueError as error:
        raise _mismatch(folder, str(error)) from None
    if found is not None and found.embeddings.shape[1] != image_tower.config.projection_dim:
        came, wanted = found.embeddings.shape[1], image_tower.config.projection_dim
        raise _mismatch(folder, f"{CONTEXTS} has embeddings of width {came}; the image tower's have {wanted}")
    return found


def _mismatch(folder: Path, message: str) -> RunError:
    return RunError(Reason.ENCODER_MISMATCH, f"encoder {folder.name}: {message}")
