"""The exporters' input: one tuned subject, with all facts that the files contain."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from likeness_api.personalization import LearnedImage
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.architectures.architecture import PublishedNames
from likeness_runtime.denoiser.lora import Offsets


@dataclass(frozen=True)
class Base:
    """The model that the subject was tuned on."""

    name: str
    """The last segment of its address: no path of a file system gets out."""
    digest: str
    names: PublishedNames
    """What the published formats call the model and the tensors learned on it."""
    prediction_type: str
    resolution_px: int


@dataclass(frozen=True)
class UsedEncoder:
    """The encoder that predicted where tuning started."""

    name: str
    """The last segment of its address."""
    digest: str


@dataclass(frozen=True)
class Picture:
    """A preview, and the prompt it was drawn for."""

    prompt: str
    image: Image.Image


@dataclass(frozen=True)
class TunedSubject:
    """One subject, its tensors rounded to what is published."""

    name: str
    token: str
    nearest_word: str
    embeddings: list[Tensor]
    """One (d,) float32 for each text encoder."""
    offsets: Offsets
    """With a subject axis of one, float16."""
    tuning: ResolvedTuning
    base: Base
    encoder: UsedEncoder | None
    """None where tuning started from a plain word."""
    images: list[LearnedImage]
    input: Image.Image
    """The first picture, squared."""
    previews: list[Picture]
    digest: str
    """Of all that the result depends on."""

    @property
    def word(self) -> str:
        """The token without its brackets: what a file can be called everywhere."""
        return self.token.strip("<>")

    @property
    def lora_file(self) -> str:
        return f"{self.name}.diffusers.safetensors"

    @property
    def kohya_file(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def embedding_file(self) -> str:
        """In a folder of its own, as UIs keep embeddings: the file's name is the trigger, and may equal the LoRA's."""
        return f"embeddings/{self.word}.safetensors"
