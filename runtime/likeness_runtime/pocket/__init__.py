"""The pocket world: a text-to-image model small enough to be trained and run on two CPU cores.

`MODEL_PATH` is an ordinary diffusers folder (StableDiffusionPipeline layout, plus `image_encoder/`) that ships with
the package. The distribution `likeness-tuner-lab` builds it: docs/pocket.md.
"""

from pathlib import Path

MODEL_PATH: Path = Path(__file__).parent / "weights"
"""Folder of the shipped model."""

IMAGE_SIZE_PX: int = 64
"""Side of every picture of the pocket world."""
