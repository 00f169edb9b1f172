"""What is done for one subject before a model is loaded: its pictures, its digest, whether it is published already."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from likeness_api.order import Order, RunOrder
from likeness_api.published import ordered_in
from likeness_api.reason import Reason
from likeness_api.result import Result
from likeness_runtime.image.source_picture import SourcePicture, fetch_pictures
from likeness_runtime.order.allowed import check_allowed
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.latest import write_latest
from likeness_runtime.order.manifest import digest_of, folder_of, result_of
from likeness_runtime.order.publish import Place, Standing, standing
from likeness_runtime.storage.model_folder import locate
from likeness_runtime.storage.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocatedModels:
    """The folders of a run's models, and their digests."""

    model: tuple[Path, str]
    encoder: tuple[Path, str] | None


@dataclass(frozen=True)
class PreparedSubject:
    """A subject that waits to be tuned."""

    order: Order
    pictures: list[SourcePicture]
    models: LocatedModels
    digest: str
    """Of all that the published files depend on."""
    place: Place
    """Where they will be published."""
    started: float
    """By the monotonic clock, in seconds."""
    mended: str | None = None
    """What is wrong with what was published there before, so that it is published again."""


def locate_models(run: RunOrder, stores: Stores) -> LocatedModels:
    """Finds, fetches and digests the run's model and encoder. Raises `RunError`."""
    encoder = locate(run.encoder, stores, "encoder") if run.encoder else None
    return LocatedModels(locate(run.model, stores), encoder)


def prepare(order: Order, context: RunContext, located: Callable[[], LocatedModels]) -> PreparedSubject | Result:
    """The subject with its pictures, or its result where the same order is already published.

    `located` is called once the pictures are there. Raises `RunError`, and whatever `context.check` does.
    """
    started = time.monotonic()
    check_allowed(order)
    pictures = fetch_pictures(order.subject.images, context.stores)
    context.check()
    models = located()
    digest = digest_of(
        order, [each.sha256 for each in pictures], models.model[1], models.encoder[1] if models.encoder else None
    )
    folder = folder_of(order, digest)
    place = Place(context.stores.of(folder), folder, ordered_in(order.subject))
    found = standing(place)
    if isinstance(found, Standing):
        write_latest(place, found.sha256, context.revision)
        message = f"the same order is already published in {folder}"
        return result_of(found.manifest, found.data, folder, Reason.ALREADY_PUBLISHED, message)
    if found is not None:
        log.warning("%s: %s; it is published again.", folder, found)
    return PreparedSubject(order, pictures, models, digest, place, started, found)


def groups_of(prepared: list[PreparedSubject], size: int) -> list[list[PreparedSubject]]:
    """The subjects of one run in groups of at most `size`, in their order; a group shares its forward passes.

    Whatever has to be equal for that (model, encoder, steps, batch, rank, alpha, rates, resolution) is the run's own
    and the same for all; the number of pictures and the seed may differ.
    """
    return [prepared[first : first + size] for first in range(0, len(prepared), size)]
