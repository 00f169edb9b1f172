"""The numbers of a tuning run: what a user may ask for, what a profile defaults and limits, what a run gets."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from likeness_api.field import LearningRate, Model, UnitInterval

MAX_IMAGES = 8
MAX_PREVIEWS = 8
MAX_BATCH_SIZE = 64

Steps = Annotated[
    int, Field(ge=0, le=1000, description="Optimizer steps after the prediction; 0 keeps the prediction.")
]
BatchSize = Annotated[
    int, Field(ge=1, le=MAX_BATCH_SIZE, description="Noise and timestep draws of the subject's images per step.")
]
RowsPerPass = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_BATCH_SIZE,
        description="The most of a step's draws that pass through the model at once; the others follow, and their"
        " gradients add up to the same step. Where it is not said, as many as fit into the device's memory.",
    ),
]
Rank = Annotated[int, Field(ge=1, le=128, description="Rank r of the LoRA matrices A (r, d_in) and B (d_out, r).")]
Alpha = Annotated[
    UnitInterval,
    Field(description="Blend of the dual path, a decimal from 0 (vanilla path only) to 1 (personalized path only)."),
]
LoraRate = Annotated[
    LearningRate,
    Field(
        description="Learning rate of the LoRA matrices B, a decimal such as 0.005; A's is a sixteenth of it. It falls"
        " linearly and is zero after the last step."
    ),
]
EmbeddingRate = Annotated[
    LearningRate, Field(description="Learning rate of the word embedding, a decimal; it falls like LoRA's.")
]
Resolution = Annotated[
    int, Field(ge=32, le=2048, multiple_of=8, description="Side in pixels that images are squared to.")
]
Seed = Annotated[
    int,
    Field(
        ge=0,
        le=2**31 - 1,
        description="Seed of every random draw; same seed, same files with as many threads of the same CPU.",
    ),
]


class Tuning(Model):
    """What a Personalization may ask for and a profile may default; what neither says comes from `ResolvedTuning`."""

    steps: Steps | None = None
    batch_size: BatchSize | None = None
    rank: Rank | None = None
    alpha: Alpha | None = None
    learning_rate: LoraRate | None = None
    embedding_learning_rate: EmbeddingRate | None = None
    resolution: Resolution | None = None
    seed: Seed | None = None


class ResolvedTuning(Model):
    """What a run gets: every number settled. The defaults are the product's own.

    A word's rate of 0.001 keeps 12 steps of Adam within the vocabulary's own scale (the pocket model's rows have an
    rms of 0.025), so that the nearest word keeps its meaning; the offsets take the larger part.
    """

    steps: Steps = 12
    batch_size: BatchSize = 16
    rank: Rank = 4
    alpha: Alpha = "1"
    learning_rate: LoraRate = "0.02"
    embedding_learning_rate: EmbeddingRate = "0.001"
    resolution: Annotated[
        Resolution | None, Field(description="Side in pixels; where nobody says one, the model's own.")
    ] = None
    seed: Seed = 0


class TuningLimits(Model):
    """The most that a Personalization of a profile may ask for; more is refused, never silently cut."""

    steps: Steps = 100
    batch_size: BatchSize = 16
    rank: Rank = 64
    resolution: Resolution = 1024
    images: Annotated[int, Field(ge=1, le=MAX_IMAGES)] = MAX_IMAGES
    previews: Annotated[int, Field(ge=0, le=MAX_PREVIEWS)] = MAX_PREVIEWS


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
