"""Stage 2: the CLIP pair, a text and an image tower that agree on which caption belongs to which picture.

The text projection stays the identity, so the pooled output of the exported CLIPTextModel *is* the text embedding. A
head that recognises every seen glyph helps the image tower to see shapes for which captions have no name; it is
thrown away.

Dimension letters: b batch, n tokens, d width.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from likeness_runtime.pocket import IMAGE_SIZE_PX
from likeness_runtime.pocket.caption import draw_caption
from likeness_runtime.pocket.glyphs import ARTS, GlyphSet, Pixels
from likeness_runtime.pocket.pixels import pixels_of
from likeness_runtime.pocket.scene import Scene, draw_background, place, render
from likeness_runtime.pocket.tokenizer import MAX_TOKENS
from likeness_runtime.pocket.training import Plan, open_run, train

PLAN = Plan(minutes=8, batch=64, learning_rate=1e-3, weight_decay=0.05, ema_decay=0.99, warmup_steps=60)

WIDTH: int = 192
"""Width of both towers and of their common space."""

NAMED_SHARE: float = 0.8
"""Share of the pictures that show a named glyph."""

NOTO_SHARE: float = 0.25
"""Share of the pictures in flat art."""

IDENTITY_WEIGHT: float = 0.5
"""Weight of the glyph recognition beside the contrastive loss."""


class PairWithIdentity(nn.Module):
    """The CLIP pair and the head that is thrown away."""

    def __init__(self, vocabulary: int, end_token: int, glyph_count: int) -> None:
        super().__init__()
        self.pair = CLIPModel(configuration(vocabulary, end_token))
        nn.init.eye_(self.pair.text_projection.weight)
        self.pair.text_projection.requires_grad_(False)
        self.identity = nn.Linear(WIDTH, glyph_count)


def build(glyphs: GlyphSet, tokenizer: CLIPTokenizer) -> PairWithIdentity:
    """A new, untrained pair for this vocabulary."""
    return PairWithIdentity(len(tokenizer), tokenizer.eos_token_id, len(glyphs.glyphs))


def configuration(vocabulary: int, end_token: int) -> CLIPConfig:
    """Four text layers of width 192; five image layers of width 192 on patches of 8 px."""
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=end_token - 1,
        eos_token_id=end_token,
        pad_token_id=end_token,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=5,
        num_attention_heads=6,
        image_size=IMAGE_SIZE_PX,
        patch_size=8,
    )
    return CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH)


@dataclass(frozen=True)
class Example:
    """One rendered scene and what is known about it."""

    scene: Scene
    caption: str
    picture: Pixels


def draw_example(glyphs: GlyphSet, random: np.random.Generator) -> Example:
    """A scene as the CLIP pair and the UNet see them: mostly named glyphs, mostly 3-D art."""
    named = random.random() < NAMED_SHARE
    row = int(random.choice(_rows(glyphs, named)))
    art = ARTS[int(random.random() < NOTO_SHARE)]
    scene = place(random, row, art, draw_background(random))
    caption = draw_caption(random, scene, glyphs.glyphs[row])
    return Example(scene, caption, render(scene, glyphs.pictures[art][row]))


def _rows(glyphs: GlyphSet, named: bool) -> list[int]:
    return [row for row, glyph in enumerate(glyphs.glyphs) if not glyph.held_out and bool(glyph.name) == named]


def train_clip(
    glyphs: GlyphSet, tokenizer: CLIPTokenizer, folder: Path, plan: Plan, device: torch.device
) -> PairWithIdentity:
    """Train or resume the pair and return its averaged weights; `folder` keeps checkpoint and log."""
    torch.manual_seed(plan.seed)
    network = build(glyphs, tokenizer).to(device)
    run = open_run("clip", network, plan, folder)

    def loss_of(draw: int, count: int) -> Tensor:
        random = np.random.default_rng((plan.seed, draw))
        examples = [draw_example(glyphs, random) for _ in range(count)]
        pixels = pixels_of([example.picture for example in examples], device)
        tokens = tokenizer([example.caption for example in examples], padding=True, return_tensors="pt").to(device)
        rows = torch.tensor([example.scene.row for example in examples], device=device)
        with torch.autocast(device.type, torch.bfloat16):
            text = network.pair.text_model(input_ids=tokens.input_ids).pooler_output
            seen = network.pair.vision_model(pixel_values=pixels).pooler_output
            image = network.pair.visual_projection(seen)
            identity = network.identity(seen)
        contrast = contrastive_loss(image.float(), text.float(), network.pair.logit_scale)
        return contrast + IDENTITY_WEIGHT * nn.functional.cross_entropy(identity.float(), rows)

    train(run, loss_of)
    return run.average


def contrastive_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """The symmetric InfoNCE loss of CLIP (Radford et al., 2021, figure 3); both (b, d)."""
    image, text = nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1)
    logits = image @ text.T * logit_scale.clamp(max=math.log(100)).exp()  # (b, b)
    truth = torch.arange(len(logits), device=logits.device)
    return 0.5 * (nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth))
