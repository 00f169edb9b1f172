"""Stage 0: a tokenizer in CLIPTokenizer's own format in which every word of the captions is one token.

Byte pairs are merged until each word of the vocabulary is whole; what is not in it falls back to pieces and single
bytes, so any prompt can be read.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

MAX_TOKENS: int = 24
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
        model_max_length=MAX_TOKENS,
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    written: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return written


def train_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges under which every one of `words` ends as a single token."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=0, end_of_word_suffix=SUFFIX, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(words, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]


def whole_words(tokenizer: CLIPTokenizer, words: list[str]) -> dict[str, int]:
    """Token id of every word that is one token. Raises `ValueError` naming the first that is not."""
    ids = {}
    for word in words:
        pieces = tokenizer(word, add_special_tokens=False).input_ids
        if len(pieces) != 1:
            raise ValueError(f"word {word!r} is split into {len(pieces)} tokens, expected one")
        ids[word] = pieces[0]
    return ids
