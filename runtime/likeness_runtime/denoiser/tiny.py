"""`likeness tiny-model`: a very small random pipeline in diffusers layout, for tests and for trying things out.

It draws nothing one would recognise, but loads, tunes and exports exactly like its big relatives.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

TinyKind = Literal["sd15", "sd21", "sdxl"]
TINY_KINDS: tuple[TinyKind, ...] = ("sd15", "sd21", "sdxl")

log = logging.getLogger(__name__)

TINY_WORDS = (
    "a an the of on in at with and photo picture drawing painting object thing subject animal food toy tool vehicle"
    " cat dog bird fish horse flower tree apple bread cake cup teapot vase clock chair car boat house mountain beach"
    " snow grass sand water wood metal red green blue yellow black white small large old new style background"
)
"""Whole words of the tiny vocabulary; anything else is spelt out in single characters."""
START, END = "<|startoftext|>", "<|endoftext|>"
TINY_MAX_TOKENS = 24
TEXT_WIDTH: dict[TinyKind, int] = {"sd15": 32, "sd21": 40, "sdxl": 32}
SECOND_TEXT_WIDTH = 48
POOLED_WIDTH = 24
TIME_ID_WIDTH = 8
SAMPLE_SIZE = 16
"""Latent side; with the VAE's factor of 4, pictures of 64 px."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("tiny-model", help="make a very small random model for tests")
    parser.add_argument("folder", type=Path, help="where to; created if it is not there")
    parser.add_argument("--kind", choices=TINY_KINDS, default="sd15", help="whose layout (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default: %(default)s)")
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    make(arguments.folder, arguments.kind, arguments.seed)
    log.info("Made a tiny %s model in %s.", arguments.kind, arguments.folder)
    return 0


def make(folder: Path, kind: TinyKind, seed: int = 0) -> None:
    """Writes the pipeline's folder. The same seed makes the same weights."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = clip_tokenizer()
        shared = {
            "vae": _vae(),
            "unet": _unet(kind),
            "tokenizer": tokenizer,
            "text_encoder": _text_encoder(tokenizer, TEXT_WIDTH[kind], projected=False),
            "scheduler": DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
                prediction_type="v_prediction" if kind == "sd21" else "epsilon",
            ),
        }
        if kind == "sdxl":
            second = _text_encoder(tokenizer, SECOND_TEXT_WIDTH, projected=True)
            pipeline: Any = StableDiffusionXLPipeline(**shared, tokenizer_2=tokenizer, text_encoder_2=second)
        else:
            pipeline = StableDiffusionPipeline(
                **shared, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
    pipeline.save_pretrained(folder, safe_serialization=True)


def tiny_vocabulary(rules: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's kind of vocabulary: single characters, inside and at the end of a word, then what the rules make."""
    characters = [chr(code) for code in range(33, 127)]
    pieces = [*characters, *(f"{character}</w>" for character in characters), *(left + right for left, right in rules)]
    return {piece: id_ for id_, piece in enumerate([*dict.fromkeys(pieces), START, END])}


def merge_rules(words: list[str]) -> list[tuple[str, str]]:
    """Rules in the order in which byte-pair encoding applies them, so that each word ends as one token."""
    spelt = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    rules: list[tuple[str, str]] = []
    while unfinished := next((pieces for pieces in spelt if len(pieces) > 1), None):
        rules.append((unfinished[0], unfinished[1]))
        spelt = [_merged(pieces, rules[-1]) for pieces in spelt]
    return rules


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def clip_tokenizer(max_tokens: int = TINY_MAX_TOKENS) -> CLIPTokenizer:
    """The tiny vocabulary as a CLIP tokenizer."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        vocabulary_file, merges_file = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        rules = merge_rules(TINY_WORDS.split())
        vocabulary_file.write_text(json.dumps(tiny_vocabulary(rules)))
        merges_file.write_text("#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in rules))
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=max_tokens)
        return tokenizer


def _text_encoder(tokenizer: Any, width: int, *, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TINY_MAX_TOKENS,
        projection_dim=POOLED_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SAMPLE_SIZE * 4,
    )


def _unet(kind: TinyKind) -> Any:
    from diffusers import UNet2DConditionModel

    width = TEXT_WIDTH[kind] + (SECOND_TEXT_WIDTH if kind == "sdxl" else 0)
    added: dict[str, Any] = {}
    if kind == "sdxl":
        added = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_ID_WIDTH,
            "projection_class_embeddings_input_dim": POOLED_WIDTH + 6 * TIME_ID_WIDTH,
        }
    return UNet2DConditionModel(
        sample_size=SAMPLE_SIZE,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=kind != "sd15",
        **added,
    )
