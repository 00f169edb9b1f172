"""`likeness pretrain`: an encoder for a base model, from pictures of anything. Started by hand, or by torchrun."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness_api.reason import EXIT_CODE_OF
from likeness_runtime.extension import IMAGE_SET_GROUP, load_extension
from likeness_runtime.failure import RunError
from likeness_runtime.pretrain.contexts_command import contexts_of
from likeness_runtime.storage.model_folder import POCKET_URI

if TYPE_CHECKING:
    from likeness_runtime.denoiser.model import DiffusionModel
    from likeness_runtime.method.contexts import Contexts
    from likeness_runtime.method.encoder_folder import TrainedEncoder
    from likeness_runtime.pretrain.image_set import ImageSet
    from likeness_runtime.storage.stores import Stores

CACHE_HOME = Path.home() / ".cache" / "likeness"
BUILTIN_SCHEME = "builtin://"

log = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "pretrain", help="pre-train an encoder for a base model; resumes where it was cut off"
    )
    parser.add_argument("--model", default=POCKET_URI, help="base model, file://, s3:// or (default) %(default)s")
    parser.add_argument(
        "--images",
        default=POCKET_URI,
        help="folder or webdataset shards, file:// or s3://, or (default) rendered scenes, which the lab brings",
    )
    parser.add_argument("--tower", type=Path, help="CLIP image tower's folder (default: the base model's own)")
    parser.add_argument("--work", type=Path, default=CACHE_HOME / "encoder", help="checkpoint and log (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished encoder")
    parser.add_argument(
        "--start",
        type=Path,
        help="start from this encoder's weights where they fit, for instance of another base model or rank",
    )
    parser.add_argument("--steps", type=int, required=True, help="steps of the whole plan, over all its runs")
    parser.add_argument("--batch", type=int, default=16, help="examples of each process and step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="largest learning rate (%(default)s)")
    parser.add_argument("--rank", type=int, default=4, help="rank of the predicted LoRA (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="width of the encoder (%(default)s)")
    parser.add_argument("--layers", type=int, default=3, help="layers of the hypernetwork (%(default)s)")
    parser.add_argument("--contrastive", type=float, default=0.01, help="weight of the contrastive term (%(default)s)")
    parser.add_argument(
        "--embedding-share",
        type=float,
        default=0.3,
        help="share of the steps that learn the embedding alone (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and draws (%(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="run the denoiser in bfloat16")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third slower")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="(%(default)s)")
    parser.add_argument("--endpoint", help="S3 endpoint for s3:// addresses")
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    try:
        _pretrain(arguments)
    except RunError as failed:
        sys.stderr.write(f"likeness pretrain: {failed.message}\n")
        return int(EXIT_CODE_OF[failed.reason])
    return 0


def _pretrain(arguments: argparse.Namespace) -> None:
    import torch

    from likeness_runtime.method.contrastive import Strength
    from likeness_runtime.method.encoder_folder import save_encoder
    from likeness_runtime.pretrain.parallel import joined
    from likeness_runtime.pretrain.pretrain import EncoderPlan, pretrain

    with joined(arguments.device) as processes:
        plan = EncoderPlan(
            steps=arguments.steps,
            batch=arguments.batch * processes.size,
            learning_rate=arguments.learning_rate,
            embedding_share=arguments.embedding_share,
            strength=Strength(contrastive=arguments.contrastive),
            seed=arguments.seed,
            bfloat16=arguments.bfloat16,
        )
        torch.manual_seed(arguments.seed)  # every process starts from the same weights
        stores = _stores(arguments)
        model, folder = _model(arguments, stores, processes.local_rank)
        images = _images(arguments, stores)
        if arguments.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
        fresh = _start(arguments, model, folder)
        log.info("Started: an encoder with %d numbers.", sum(each.numel() for each in fresh.encoder.parameters()))
        trained = pretrain(model, fresh, images, plan, arguments.work, processes=processes)
        if processes.rank == 0:
            facts = {
                "steps": arguments.steps,
                "examples": arguments.steps * plan.batch,
                "images": arguments.images,
            }
            trained = replace(trained, contexts=_contexts(arguments))
            save_encoder(arguments.out, trained, model, facts, with_image_tower=arguments.tower is not None)
            log.info("Ended: the encoder is in %s.", arguments.out)


def _contexts(arguments: argparse.Namespace) -> Contexts | None:
    """The phrases that we ship, where the image tower is one of a CLIP pair that is at hand."""
    if arguments.tower is None and arguments.model != POCKET_URI:
        return None
    try:
        return contexts_of(arguments.tower)
    except RunError as failed:
        log.warning("The encoder recognises nothing beside a subject: %s.", failed.message)
        return None


def _stores(arguments: argparse.Namespace) -> Stores:
    import time

    from likeness_api.order import OrderStorage
    from likeness_runtime.storage.stores import Stores

    endpoint = arguments.endpoint
    settings = OrderStorage(endpoint=endpoint, path_style=bool(endpoint), source_prefixes=[], output_prefixes=[])
    return Stores(settings, time.sleep)


def _model(arguments: argparse.Namespace, stores: Stores, local_rank: int) -> tuple[DiffusionModel, Path]:
    """The base model and its folder."""
    import torch

    from likeness_api.order import OrderModel
    from likeness_runtime.denoiser.model import load_diffusion_model
    from likeness_runtime.storage.model_folder import locate

    folder, digest = locate(OrderModel(uri=arguments.model), stores)
    device = torch.device("cuda", local_rank) if arguments.device == "cuda" else torch.device("cpu")
    return load_diffusion_model(folder, digest, device), folder


def _images(arguments: argparse.Namespace, stores: Stores) -> ImageSet:
    from likeness_runtime.pretrain.image_set import open_images

    if arguments.images.startswith(BUILTIN_SCHEME):
        name, option = arguments.images.removeprefix(BUILTIN_SCHEME), f"--images {arguments.images}"
        found: ImageSet = load_extension(IMAGE_SET_GROUP, name, needed_for=option)(CACHE_HOME)
        return found
    return open_images(arguments.images, stores, CACHE_HOME / "images")


def _start(arguments: argparse.Namespace, model: DiffusionModel, folder: Path) -> TrainedEncoder:
    """An encoder that knows nothing yet, or what another one knew."""
    from likeness_runtime.method.encoder import Encoder, shape_for
    from likeness_runtime.method.encoder_folder import (
        IMAGE_ENCODER,
        TrainedEncoder,
        image_tower_of,
        normalisation_of,
        take_over,
    )

    tower = image_tower_of(arguments.tower, model)
    shape = shape_for(model, tower, rank=arguments.rank, width=arguments.width, layers=arguments.layers, heads=4)
    normalisation = normalisation_of(arguments.tower or folder / IMAGE_ENCODER)
    encoder = Encoder(shape)
    if arguments.start:
        taken, of_all = take_over(encoder, arguments.start)
        log.info("Began with %d of %d tensors of %s.", taken, of_all, arguments.start)
    return TrainedEncoder(encoder.to(model.device), tower, normalisation, [])
