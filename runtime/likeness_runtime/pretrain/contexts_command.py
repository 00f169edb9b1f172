"""`likeness contexts`: gives an encoder's folder the phrases by which it recognises what is beside a subject."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_runtime.extension import PHRASE_GROUP, load_extension
from likeness_runtime.failure import RunError

if TYPE_CHECKING:
    from likeness_runtime.method.contexts import Contexts

log = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("contexts", help="give an encoder phrases to recognise a picture's context by")
    parser.add_argument("--encoder", type=Path, required=True, help="the encoder's folder; gets contexts.safetensors")
    parser.add_argument(
        "--tower", type=Path, help="folder of the CLIP pair that has its image tower (default: the pocket model's pair)"
    )
    parser.add_argument(
        "--phrases", type=Path, help="one a line, as behind a noun: 'on a table' (default: those we ship)"
    )
    parser.add_argument(
        "--margin", type=float, help="least lead of the best phrase, as a share of its error (default: what was chosen)"
    )
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    from likeness_runtime.method.contexts import CONTEXTS, write_contexts

    if not (arguments.encoder / CONTEXTS).parent.is_dir():
        sys.stderr.write(f"likeness contexts: --encoder {arguments.encoder}: expected an encoder's folder\n")
        return int(EXIT_CODE_OF[Reason.MODEL_NOT_FOUND])
    try:
        phrases = arguments.phrases.read_text(encoding="utf-8").splitlines() if arguments.phrases else None
        found = contexts_of(arguments.tower, phrases, arguments.margin)
    except OSError as error:
        sys.stderr.write(f"likeness contexts: --phrases {arguments.phrases}: {error.strerror}; expected a text file\n")
        return int(EXIT_CODE_OF[Reason.SOURCE_NOT_FOUND])
    except RunError as failed:
        sys.stderr.write(f"likeness contexts: {failed.message}\n")
        return int(EXIT_CODE_OF[failed.reason])
    except ValueError as error:  # a file that is no text, too
        sys.stderr.write(f"likeness contexts: --phrases, --margin: {error}\n")
        return int(ExitCode.INPUT_WRONG)
    write_contexts(found, arguments.encoder)
    log.info("Ended: %d phrases are in %s.", len(found.phrases), arguments.encoder)
    return 0


def contexts_of(tower: Path | None, phrases: list[str] | None = None, margin: float | None = None) -> Contexts:
    """Embeds context phrases with the CLIP pair in `tower`, or with the pocket model's where it is None.

    Raises `RunError(ModelNotFound)` where it has no text tower, `RunError(SourceNotFound)` where the pocket world's
    phrases are not installed, ValueError where phrases or margin are not usable.
    """
    from likeness_runtime.method.contexts import MARGIN, NOUNS, SETTINGS, embedded, text_embedder

    if tower is None:
        settled, nouns = load_extension(PHRASE_GROUP, "pocket", needed_for="the pocket model's list of phrases")()
    else:
        settled, nouns = list(SETTINGS), list(NOUNS)
    given = [line.strip() for line in (settled if phrases is None else phrases) if line.strip()]
    if not given:
        raise ValueError("there are no phrases; expected one a line, such as 'on a table'")
    return embedded(given, nouns, text_embedder(*_text_tower(tower)), MARGIN if margin is None else margin)


def _text_tower(tower: Path | None) -> tuple[Any, Any]:
    """The text encoder of the pair, and its tokenizer."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from likeness_runtime.denoiser.model import TOKENIZER_FILES
    from likeness_runtime.pocket import MODEL_PATH

    # The pocket pair has no projection: its text tower's summary lies in the common space as it is.
    kind: Any = CLIPTextModel if tower is None else CLIPTextModelWithProjection
    weights, words = (MODEL_PATH / "text_encoder", MODEL_PATH / "tokenizer") if tower is None else (tower, tower)
    expected = f"--tower {tower}: expected a CLIP model with text tower and tokenizer"
    if not any((words / name).is_file() for name in TOKENIZER_FILES):
        raise RunError(Reason.MODEL_NOT_FOUND, f"{expected}; {' or '.join(TOKENIZER_FILES)} is missing")
    try:
        encoder, found = kind.from_pretrained(
            weights, local_files_only=True, use_safetensors=True, dtype="float32", output_loading_info=True
        )
        tokenizer = CLIPTokenizer.from_pretrained(words, local_files_only=True)
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise RunError(Reason.MODEL_NOT_FOUND, f"{expected} ({cause:.200})") from None
    if found["missing_keys"]:  # transformers would draw these at random
        raise RunError(Reason.MODEL_NOT_FOUND, f"{expected}; it is without {sorted(found['missing_keys'])[0]}")
    return encoder.eval(), tokenizer
