"""Stage 2: the CLIP pair, a text and an image tower that agree on which caption belongs to which picture.

The text projection stays the identity, so the pooled output of the exported CLIPTextModel *is* the text embedding. Two
heads, thrown away in the end, ask for what the contrast teaches late or never: one recognises every seen glyph, named
or not, in the picture, one the background's pattern in picture and caption. (To patches of 8 px stripes and checks look
alike, and what the image tower cannot see the text tower forgets; the denoiser needs the word.)

Letters: k pictures, n tokens, d width.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from likeness_lab.pocket.caption import MEDIA, caption, draw_caption
from likeness_lab.pocket.glyphs import ARTS, GlyphSet, Pixels
from likeness_lab.pocket.pixels import pixels_of
from likeness_lab.pocket.scene import COLOURS, PATTERNS, Background, Scene, draw_background, place, render
from likeness_lab.pocket.stage import mixed_precision, open_stage
from likeness_lab.pocket.tokenizer import MAX_CAPTION_TOKENS
from likeness_runtime.pocket import IMAGE_SIZE_PX
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train

CLIP_PLAN = TrainingPlan(minutes=8, batch=64, learning_rate=1e-3, weight_decay=0.05, ema_decay=0.99, warmup_steps=60)

WIDTH: int = 192
"""Width of both towers and of their common space."""

NAMED_SHARE: float = 0.8
"""Share of the pictures that show a named glyph."""

FAMILY_SHARE: float = 0.5
"""Share of a batch that comes in families: one scene in all patterns of two colours. Among unlike scenes glyph and
colours alone tell which caption belongs where, and "striped" and "dotted" end up the same word to the denoiser."""

CLIP_NOTO_SHARE: float = 0.15
"""Share of the pictures in flat art."""

IDENTITY_WEIGHT: float = 0.5
"""Weight of the glyph recognition beside the contrastive loss."""

PATTERN_WEIGHT: float = 0.5
"""Weight of the pattern recognition beside the contrastive loss."""


class PairWithIdentity(nn.Module):
    """The CLIP pair and the two heads that are thrown away."""

    def __init__(self, vocabulary: int, end_token: int, glyph_count: int) -> None:
        super().__init__()
        self.pair = CLIPModel(configuration(vocabulary, end_token))
        nn.init.eye_(self.pair.text_projection.weight)
        self.pair.text_projection.requires_grad_(False)
        self.identity = nn.Linear(WIDTH, glyph_count)
        self.pattern = nn.Linear(WIDTH, len(PATTERNS))


def new_pair(glyphs: GlyphSet, tokenizer: CLIPTokenizer) -> PairWithIdentity:
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
        max_position_embeddings=MAX_CAPTION_TOKENS,
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
class CaptionedScene:
    """One rendered scene and what is known about it."""

    scene: Scene
    caption: str
    picture: Pixels


def draw_example(glyphs: GlyphSet, named: list[int], random: np.random.Generator) -> CaptionedScene:
    """A scene as the CLIP pair and the UNet see them: mostly glyphs out of the rows `named`, mostly 3-D art."""
    scene = _draw_scene(glyphs, named, random)
    return _example(glyphs, scene, draw_caption(random, scene, glyphs.glyphs[scene.row]))


def draw_family(glyphs: GlyphSet, named: list[int], random: np.random.Generator) -> list[CaptionedScene]:
    """One scene once in each pattern of two colours, each caption in full; nothing but the pattern tells them apart."""
    scene = _draw_scene(glyphs, named, random)
    glyph = glyphs.glyphs[scene.row]
    first, second = (str(colour) for colour in random.choice(list(COLOURS), size=2, replace=False))
    medium = str(random.choice(MEDIA[scene.art]))
    family = [replace(scene, background=Background(pattern, first, second)) for pattern in PATTERNS[1:]]
    return [_example(glyphs, one, caption(one, glyph.name or glyph.group, medium)) for one in family]


def draw_examples(glyphs: GlyphSet, named: list[int], random: np.random.Generator, count: int) -> list[CaptionedScene]:
    """`count` examples, `FAMILY_SHARE` of them in families."""
    families = range(family_members(count) // len(PATTERNS[1:]))
    examples = [example for _ in families for example in draw_family(glyphs, named, random)]
    return examples + [draw_example(glyphs, named, random) for _ in range(count - len(examples))]


def family_members(count: int) -> int:
    """How many examples of a batch of `count` come in families; they come first."""
    return int(count * FAMILY_SHARE) // len(PATTERNS[1:]) * len(PATTERNS[1:])


def _draw_scene(glyphs: GlyphSet, named: list[int], random: np.random.Generator) -> Scene:
    rows = named if random.random() < NAMED_SHARE else glyphs.unnamed()
    art = ARTS[int(random.random() < CLIP_NOTO_SHARE)]
    return place(random, int(random.choice(rows)), art, draw_background(random))


def _example(glyphs: GlyphSet, scene: Scene, words: str) -> CaptionedScene:
    return CaptionedScene(scene, words, render(scene, glyphs.pictures[scene.art][scene.row]))


def train_clip(
    glyphs: GlyphSet,
    tokenizer: CLIPTokenizer,
    *,
    folder: Path,
    plan: TrainingPlan,
    device: torch.device,
    start: Path | None = None,
) -> PairWithIdentity:
    """Train or resume the pair and return its averaged weights; `folder` keeps checkpoint and log.

    A new run begins with the towers of the finished model in `start`, or with random ones.
    """
    torch.manual_seed(plan.seed)
    network = new_pair(glyphs, tokenizer)
    if start is not None:
        take_towers(network.pair, start)
    run = open_stage("clip", network.to(device), plan, folder)
    named = glyphs.named()

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.number))
        examples = draw_examples(glyphs, named, random, draw.count)
        pixels = pixels_of([example.picture for example in examples], device)
        tokens = tokenizer([example.caption for example in examples], padding=True, return_tensors="pt").to(device)
        rows = torch.tensor([example.scene.row for example in examples], device=device)
        patterns = torch.tensor(
            [PATTERNS.index(example.scene.background.pattern) for example in examples], device=device
        )
        with mixed_precision(device):
            text = network.pair.text_model(input_ids=tokens.input_ids).pooler_output
            seen = network.pair.vision_model(pixel_values=pixels).pooler_output
            image = network.pair.visual_projection(seen)
            identity = network.identity(seen)
            members = family_members(draw.count)  # whose captions are sure to tell the pattern
            pattern = network.pattern(torch.cat([image, text[:members]]))
        contrast = clip_loss(image.float(), text.float(), network.pair.logit_scale)
        recognised = IDENTITY_WEIGHT * nn.functional.cross_entropy(identity.float(), rows)
        recognised = recognised + PATTERN_WEIGHT * nn.functional.cross_entropy(
            pattern.float(), torch.cat([patterns, patterns[:members]])
        )
        return contrast + recognised

    train(run, loss_of)
    return run.average


def take_towers(pair: CLIPModel, model: Path) -> None:
    """Give `pair` the towers of the finished model in the folder `model`; the logit scale stays as it is."""
    text = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32)
    image = CLIPVisionModelWithProjection.from_pretrained(model / "image_encoder", dtype=torch.float32)
    pair.text_model.load_state_dict(text.state_dict())
    pair.vision_model.load_state_dict(image.vision_model.state_dict())
    pair.visual_projection.load_state_dict(image.visual_projection.state_dict())


def clip_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """The symmetric InfoNCE loss of CLIP (Radford et al., 2021, figure 3); both (k, d)."""
    image, text = nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1)
    logits = image @ text.T * logit_scale.clamp(max=math.log(100)).exp()  # (k, k)
    truth = torch.arange(len(logits), device=logits.device)
    return 0.5 * (nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth))
