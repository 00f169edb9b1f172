"""Stage 0: a tokenizer in CLIPTokenizer's own format in which every word of the captions is one token.

Byte pairs are merged until each word of the vocabulary is whole; what is not in it falls back to pieces and single
bytes, so any prompt can be read.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

MAX_CAPTION_TOKENS: int = 24
"""Prompt length: the longest caption has 13 words, and begin and end take two tokens."""

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"


def build_tokenizer(words: list[str], folder: Path) -> CLIPTokenizer:
    """Write vocab.json, merges.txt and the configuration to `folder` and return the tokenizer read back from it."""
    merges = train_merges(words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + SUFFIX for letter in letters)]
    tokens += [token for token in dict.fromkeys(left + right for left, right in merges) if token not in set(tokens)]
    tokens += [BEGIN, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # annotated as strings, but pairs are what it takes
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        model_max_length=MAX_CAPTION_TOKENS,
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    written: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return written


def train_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges under which every one of `words` (plain letters) ends as a single token.

    The most frequent pair goes first, and of equals the first in the alphabet: token ids must be the same in every
    build, and the trainer of `tokenizers` breaks ties anew in each process.
    """
    spelt = [[*word[:-1], word[-1] + SUFFIX] for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelt = [_merged(pieces, best) for pieces in spelt]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def whole_word_ids(tokenizer: CLIPTokenizer, words: list[str]) -> dict[str, int]:
    """Token id of every word that is one token. Raises `ValueError` naming the first that is not."""
    ids = {}
    for word in words:
        pieces = tokenizer(word, add_special_tokens=False).input_ids
        if len(pieces) != 1:
            raise ValueError(f"word {word!r} is split into {len(pieces)} tokens, expected one")
        ids[word] = pieces[0]
    return ids
