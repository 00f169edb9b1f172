"""Recognises glyphs: a small residual network trained apart from the model it judges, on true renders alone.

It never sees what the model draws, shares no weights, seed or architecture with it, and knows every seen glyph in both
arts as one class. `recognise` names glyphs; `embed` gives the features by which `identity.py` compares any two
pictures, held-out glyphs included. Images are float tensors (k, 3, 64, 64) in [0, 1].

Letters: k pictures, c channels, h height, w width, d embedding width.
"""

import json
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from likeness_lab.pocket.glyphs import ARTS, GlyphSet
from likeness_lab.pocket.pixels import images_of
from likeness_lab.pocket.scene import draw_background, place, render
from likeness_lab.pocket.stage import channels_last, mixed_precision, open_stage
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train

WEIGHTS_PATH: Path = Path(__file__).parent / "weights" / "glyph.safetensors"
"""The shipped judge, fp16; its header names the classes."""

JUDGE_PLAN = TrainingPlan(
    minutes=17, batch=64, learning_rate=2e-3, weight_decay=0.02, ema_decay=0.995, warmup_steps=100, seed=20_001
)

JUDGE_NOTO_SHARE: float = 0.4
"""Share of the pictures in flat art."""

WIDTHS: tuple[int, ...] = (32, 64, 96, 160)
"""Channels at 32, 16, 8 and 4 px."""

EMBEDDING_WIDTH: int = 128
"""Width of the features two pictures are compared by."""

SHARPNESS: float = 16.0
"""Scale of the cosine between features and classes before the softmax."""


class Residual(nn.Module):
    """Halves the side: two 3x3 convolutions beside a 1x1 one on the pooled input."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inside, outside, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


class GlyphNetwork(nn.Module):
    """64 px pictures to unit features (k, d), and cosines with one direction per class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(Residual(*pair) for pair in pairwise(WIDTHS)))
        self.head = nn.Linear(WIDTHS[-1] * 4, EMBEDDING_WIDTH)
        self.classes = nn.Parameter(torch.randn(classes, EMBEDDING_WIDTH))

    def embed(self, images: Tensor) -> Tensor:
        """Unit features (k, d) of images (k, 3, 64, 64) in [0, 1]; the last 4x4 map is averaged over its quarters."""
        features = self.blocks(self.stem(images * 2 - 1))  # (k, c, 4, 4)
        pooled = nn.functional.adaptive_avg_pool2d(features, 2).flatten(1)
        return nn.functional.normalize(self.head(pooled), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images) @ nn.functional.normalize(self.classes, dim=-1).T


def train_judge(glyphs: GlyphSet, folder: Path, plan: TrainingPlan, device: torch.device) -> GlyphNetwork:
    """Train or resume the judge on every seen glyph; `folder` keeps checkpoint and log."""
    torch.manual_seed(plan.seed)
    rows = glyphs.seen()
    network = channels_last(GlyphNetwork(len(rows)), device)
    run = open_stage("judge", network, plan, folder)

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.number))
        classes = random.integers(len(rows), size=draw.count)
        images = spoiled(random, draw_images(glyphs, random, [rows[number] for number in classes])).to(device)
        with mixed_precision(device):
            cosines = network(images.contiguous(memory_format=torch.channels_last))
        return nn.functional.cross_entropy(SHARPNESS * cosines.float(), torch.from_numpy(classes).to(device))

    train(run, loss_of)
    return run.average.eval()


def draw_images(glyphs: GlyphSet, random: np.random.Generator, rows: list[int]) -> Tensor:
    """True renders of `rows` in random scenes, either art: (k, 3, 64, 64) in [0, 1]."""
    pictures = []
    for row in rows:
        art = ARTS[int(random.random() < JUDGE_NOTO_SHARE)]
        scene = place(random, row, art, draw_background(random))
        pictures.append(render(scene, glyphs.pictures[art][row]))
    return images_of(pictures)


def spoiled(random: np.random.Generator, images: Tensor) -> Tensor:
    """Half of the images softened by a 3x3 mean, all with a little noise: a judge must not hang on single pixels."""
    soft = nn.functional.avg_pool2d(nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    chosen = torch.from_numpy(random.random((len(images), 1, 1, 1)) < 0.5)
    noise = torch.from_numpy(random.standard_normal(images.shape, dtype=np.float32)) * 0.02
    return (torch.where(chosen, soft, images) + noise).clamp(0, 1)


def write_judge(network: GlyphNetwork, glyphs: GlyphSet, path: Path) -> None:
    """Write the judge in fp16 with the code points of its classes."""
    code_points = [glyphs.glyphs[row].code_point for row in glyphs.seen()]
    tensors = {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()
        for name, tensor in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"code_points": json.dumps(code_points)})
    path.chmod(0o644)  # written readable for the owner alone


@lru_cache(maxsize=2)
def open_glyph_judge(path: Path = WEIGHTS_PATH) -> tuple[GlyphNetwork, tuple[str, ...]]:
    """The judge in float32 on the CPU and the code point of each of its classes."""
    with safe_open(path, framework="pt") as file:
        code_points = tuple(json.loads(file.metadata()["code_points"]))
    network = GlyphNetwork(len(code_points))
    network.load_state_dict(load_file(path))
    return network.float().eval().requires_grad_(False), code_points


def recognise(images: Tensor, best: int = 5) -> list[list[str]]:
    """The code points of the `best` likeliest glyphs of each image, likeliest first."""
    network, code_points = open_glyph_judge()
    ranked = network(images.float().cpu()).topk(best, dim=-1).indices.tolist()
    return [[code_points[number] for number in row] for row in ranked]


def embed_by_glyph(images: Tensor) -> Tensor:
    """Unit features (k, 128) by which pictures of the same subject lie close together."""
    network, _ = open_glyph_judge()
    return network.embed(images.float().cpu())
