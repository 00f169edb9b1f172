"""The numbers of a tuning run: what a user may ask for, what a profile defaults and limits, what a run gets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from likeness_api.field import LearningRate, Model, UnitInterval

MAX_IMAGES = 8
MAX_PREVIEWS = 8
MAX_BATCH_SIZE = 64

Steps = Annotated[int, Field(ge=0, le=1000)]
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]
RowsPerPass = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]
Rank = Annotated[int, Field(ge=1, le=128)]
Resolution = Annotated[int, Field(ge=32, le=2048, multiple_of=8)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Tuning(Model):
    """What a Personalization may ask for and a profile may default; what neither says comes from `ResolvedTuning`."""

    steps: Steps | None = None
    """How many optimizer steps follow the prediction; 0 keeps the prediction as it is."""
    batch_size: BatchSize | None = None
    """How many draws of noise and timestep of the subject's images make up one step."""
    rank: Rank | None = None
    """Rank r of the LoRA matrices A (r, d_in) and B (d_out, r)."""
    alpha: UnitInterval | None = None
    """Blend of the dual path, a decimal in quotes from "0" (vanilla path only) to "1" (personalized path only)."""
    learning_rate: LearningRate | None = None
    """Learning rate of the LoRA matrices B, a decimal in quotes such as "0.005"; A's is a sixteenth of it. It falls
    linearly and is zero after the last step.
    """
    embedding_learning_rate: LearningRate | None = None
    """Learning rate of the word embedding, a decimal in quotes such as "0.001"; it falls linearly and is zero after
    the last step.
    """
    resolution: Resolution | None = None
    """Side in pixels of the square that each image is made; the model's own where neither the Personalization nor its
    TuningProfile says one.
    """
    seed: Seed | None = None
    """Seed of every random draw: the same seed gives the same files with as many threads of the same CPU."""


class ResolvedTuning(Model):
    """What a run gets: every number settled. The defaults are the product's own.

    A word's rate of 0.001 keeps 12 steps of Adam within the vocabulary's own scale (the pocket model's rows have an
    rms of 0.025), so that the nearest word keeps its meaning; the offsets take the larger part.
    """

    steps: Steps = 12
    batch_size: BatchSize = 16
    rank: Rank = 4
    alpha: UnitInterval = "1"
    learning_rate: LearningRate = "0.02"
    embedding_learning_rate: LearningRate = "0.001"
    resolution: Resolution | None = None
    """Side in pixels; None takes the model's own."""
    seed: Seed = 0


class TuningLimits(Model):
    """The most that a Personalization of a profile may ask for; more is refused, never silently cut."""

    steps: Steps = 100
    """The most optimizer steps that a Personalization may ask for."""
    batch_size: BatchSize = 16
    """The largest batchSize that a Personalization may ask for."""
    rank: Rank = 64
    """The highest LoRA rank that a Personalization may ask for."""
    resolution: Resolution = 1024
    """The largest side in pixels that a Personalization may ask for; the model's own resolution is always allowed."""
    images: Annotated[int, Field(ge=1, le=MAX_IMAGES)] = MAX_IMAGES
    """The most images that a Personalization's subject may have."""
    previews: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] = MAX_PREVIEWS
    """The most previews that a Personalization may ask for; 0 allows none."""


def resolve(wanted: Tuning, defaults: Tuning) -> ResolvedTuning:
    """The user's numbers, then the profile's, then the product's."""
    return ResolvedTuning.model_validate(defaults.model_dump(exclude_none=True) | wanted.model_dump(exclude_none=True))


def over_the_limits(tuning: ResolvedTuning, limits: TuningLimits) -> str | None:
    """A sentence naming the first number that is over its limit, or None."""
    for field in ("steps", "batch_size", "rank", "resolution"):
        asked, most = getattr(tuning, field), getattr(limits, field)
        if asked is not None and asked > most:
            name = ResolvedTuning.model_fields[field].alias
            return f"spec.tuning.{name} is {asked}; the profile's limit is {most}"
    return None
