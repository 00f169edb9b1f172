import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from likeness_api.personalization import SubjectImage
from likeness_api.reason import ExitCode, Reason
from likeness_lab.pocket.caption import context_phrase
from likeness_lab.pocket.scene import Background, place, render
from likeness_lab.pocket.subjects import load_subjects
from likeness_runtime.cli import main
from likeness_runtime.denoiser.model import DiffusionModel, load_diffusion_model
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.failure import RunError
from likeness_runtime.method.caption import (
    caption_picture,
    check_named,
    context_errors,
    ranked_contexts,
    recogniser,
    shortlisted,
)
from likeness_runtime.method.contexts import CONTEXTS, HEADER, Contexts, embedded, read_contexts, write_contexts
from likeness_runtime.method.encoder_folder import load_encoder, save_encoder
from likeness_runtime.method.forms import sentences
from likeness_runtime.pocket import MODEL_PATH
from likeness_runtime.storage.model_folder import folder_digest

CPU = torch.device("cpu")
PICTURE = Image.new("RGB", (64, 64))
ENCODER = MODEL_PATH.parent / "encoder"
AXES = Contexts(["by day", "at night"], torch.eye(2), margin=0.1)


def image(caption: str | None = None) -> SubjectImage:
    return SubjectImage(uri="file:///x.png", caption=caption)


def test_a_caption_that_is_given_is_used_as_it_stands() -> None:
    found = caption_picture(image("my {token} by {token}"), PICTURE, "<x>", lambda _picture: "at night")
    assert found.sentences == ["my <x> by <x>"]
    assert (found.caption, found.source) == ("my {token} by {token}", "Spec")


def test_a_caption_whose_subject_is_cut_off_is_refused(pocket: DiffusionModel) -> None:
    kept = image(" ".join(["a"] * 21) + " {token}")
    check_named(pocket, [image(), kept], "<x>")
    assert kept.caption is not None
    with pytest.raises(RunError, match=r"spec\.subject\.images\[2\]\.caption, 'a a .* first 22 tokens") as refusal:
        check_named(pocket, [image(), kept, image(f"a {kept.caption}")], "<x>")
    assert refusal.value.reason == Reason.INVALID_SPEC


def test_a_context_that_is_recognised_stands_behind_every_form() -> None:
    found = caption_picture(image(), PICTURE, "<x>", lambda _picture: "at night")
    assert found.sentences == sentences("<x>", "at night")
    assert (found.caption, found.source) == ("a picture of a {token} at night", "ZeroShot")


@pytest.mark.parametrize(
    ("recognise", "source"), [(None, "NoContexts"), (lambda _picture: None, "Unsure")], ids=["no pair", "unsure"]
)
def test_otherwise_the_subject_alone_is_named(
    recognise: Callable[[Image.Image], str | None] | None, source: str
) -> None:
    found = caption_picture(image(), PICTURE, "<x>", recognise)
    assert found.sentences == sentences("<x>")
    assert (found.caption, found.source) == (None, source)


def test_the_shortlist_has_the_nearest_phrases_nearest_first() -> None:
    contexts = Contexts(["by day", "at night", "at noon"], torch.eye(3))
    assert contexts.shortlist(torch.tensor([0.5, 0.1, 0.9]), 2) == ["at noon", "by day"]
    assert len(contexts.shortlist(torch.ones(3), 9)) == 3


def test_a_phrases_direction_is_its_mean_over_what_the_subject_may_be() -> None:
    def embed(prompts: list[str]) -> Tensor:
        rows = [[float("cat" in each), float("dog" in each), float("night" in each)] for each in prompts]
        return functional.normalize(torch.tensor(rows), dim=-1)

    found = embedded(["by day", "at night"], ["cat", "dog"], embed)
    torch.testing.assert_close(found.embeddings.norm(dim=-1), torch.ones(2))
    assert found.shortlist(torch.tensor([1.0, 0.0, 1.0]), 1) == ["at night"]


def test_they_come_back_from_an_encoders_folder(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    assert read_contexts(tmp_path, CPU) is None
    write_contexts(AXES, tmp_path)
    once = (tmp_path / CONTEXTS).read_bytes()
    found = read_contexts(tmp_path, CPU)
    assert found is not None
    assert (found.phrases, found.margin) == (AXES.phrases, AXES.margin)
    torch.testing.assert_close(found.embeddings, AXES.embeddings)
    write_contexts(found, tmp_path)
    assert (tmp_path / CONTEXTS).read_bytes() == once


TWO = {"phrases": ["by day", "at night"], "margin": 0}


@pytest.mark.parametrize(
    ("header", "embeddings"),
    [
        pytest.param(None, torch.eye(2), id="no header"),
        pytest.param("[", torch.eye(2), id="cut off"),
        pytest.param("[" * 100_000, torch.eye(2), id="too deep"),
        pytest.param({"phrases": ["one"], "margin": 0}, torch.eye(2), id="too few"),
        pytest.param({"phrases": 2, "margin": 0}, torch.eye(2), id="no list"),
        pytest.param({"phrases": [], "margin": 0}, torch.zeros(0, 2), id="no phrases"),
        pytest.param({"phrases": ["by day", 2], "margin": 0}, torch.eye(2), id="no text"),
        pytest.param({"phrases": ["by day", " "], "margin": 0}, torch.eye(2), id="nothing said"),
        pytest.param({"phrases": ["by day", "at\nnight"], "margin": 0}, torch.eye(2), id="a line break"),
        pytest.param({"phrases": ["by day", "x" * 3000], "margin": 0}, torch.eye(2), id="longer than a status takes"),
        pytest.param(TWO | {"margin": -1}, torch.eye(2), id="margin below zero"),
        pytest.param(TWO | {"margin": float("nan")}, torch.eye(2), id="margin that is no number"),
        pytest.param(TWO | {"margin": 10**400}, torch.eye(2), id="margin without end"),
        pytest.param(TWO, torch.ones(2), id="embeddings without a width"),
        pytest.param(TWO, torch.tensor(1.0), id="one number"),
        pytest.param(TWO, torch.ones(2, 2, 2), id="embeddings that are no rows"),
        pytest.param(TWO, torch.full((2, 2), float("nan")), id="embeddings that are no numbers"),
    ],
)
def test_a_file_that_is_not_what_we_write_is_a_mismatch(tmp_path: Path, header: object, embeddings: Tensor) -> None:
    (tmp_path / "encoder").mkdir()
    metadata = {} if header is None else {HEADER: header if isinstance(header, str) else json.dumps(header)}
    save_file({"embeddings": embeddings}, tmp_path / CONTEXTS, metadata=metadata)
    with pytest.raises(ValueError, match=CONTEXTS):
        read_contexts(tmp_path, CPU)


@pytest.fixture(scope="module")
def pocket() -> DiffusionModel:
    return load_diffusion_model(MODEL_PATH, folder_digest(MODEL_PATH), CPU)


def test_the_shipped_encoder_recognises_the_backgrounds_of_glyphs_that_nobody_was_trained_on(
    pocket: DiffusionModel,
) -> None:
    recognise = recogniser(load_encoder(ENCODER, pocket), pocket)
    assert recognise is not None
    glyphs, random = load_subjects(), np.random.default_rng(0)
    backgrounds = [Background("plain", colour, colour) for colour in ("red", "green", "blue", "yellow", "purple")]
    found = []
    for row in glyphs.held_out()[:8]:
        for background in backgrounds:
            scene = place(random, row, "fluent", background)
            picture = Image.fromarray(render(scene, glyphs.pictures["fluent"][row]))
            found.append(recognise(picture) == context_phrase(background))
    assert np.mean(found) >= 0.9


def test_a_phrase_is_told_where_it_leads_by_the_margin(pocket: DiffusionModel) -> None:
    trained = load_encoder(ENCODER, pocket)
    assert trained.contexts is not None
    picture = Image.new("RGB", (64, 64), "red")
    (_, least), (_, next_one), *_ = ranked_contexts(
        pocket, picture, shortlisted(trained, trained.contexts, pocket, picture)
    )
    for margin, clear in ((0.9 * (next_one / least - 1), True), (1.1 * (next_one / least - 1), False)):
        recognise = recogniser(replace(trained, contexts=replace(trained.contexts, margin=margin)), pocket)
        assert recognise is not None
        assert (recognise(picture) is not None) is clear


def test_the_denoiser_tells_stripes_from_checks(pocket: DiffusionModel) -> None:
    glyphs, phrases = load_subjects(), []
    for pattern in ("striped", "checked"):
        background = Background(pattern, "red", "white")
        scene = place(np.random.default_rng(1), glyphs.held_out()[0], "fluent", background)
        picture = Image.fromarray(render(scene, glyphs.pictures["fluent"][scene.row]))
        both = [f"on a red and white {each} background" for each in ("striped", "checked")]
        errors = context_errors(pocket, picture, both)
        phrases.append(both[int(np.argmin(errors))])
    assert phrases == both


def test_an_encoder_whose_contexts_are_of_another_pair_is_refused(pocket: DiffusionModel, tmp_path: Path) -> None:
    trained = load_encoder(ENCODER, pocket)
    save_encoder(tmp_path, trained, pocket, {}, with_image_tower=False)
    write_contexts(AXES, tmp_path)
    with pytest.raises(RunError, match=f"{CONTEXTS} has embeddings of width 2; the image tower's have 192"):
        load_encoder(tmp_path, pocket)


def test_the_command_gives_an_encoder_the_phrases_of_its_pair(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 2000, "projection_dim": 8, "max_position_embeddings": 24}
    config = CLIPConfig(text_config=text, vision_config=small | {"projection_dim": 8}, projection_dim=8)
    tower, encoder, phrases = tmp_path / "tower", tmp_path / "fresh", tmp_path / "phrases.txt"
    CLIPModel(config).save_pretrained(tower)
    (encoder / "encoder").mkdir(parents=True)
    phrases.write_text("on a table\n\nin the snow\n")
    asked = ["contexts", "--encoder", str(encoder), "--tower", str(tower), "--phrases", str(phrases), "--margin", "0.5"]
    assert main(asked) != 0
    assert "vocab.json or tokenizer.json is missing" in capsys.readouterr().err
    for path in (tiny_folders["sd15"] / "tokenizer").iterdir():
        (tower / path.name).write_bytes(path.read_bytes())
    assert main(asked) == 0
    found = read_contexts(encoder, CPU)
    assert found is not None
    assert (found.phrases, found.margin, found.embeddings.shape) == (["on a table", "in the snow"], 0.5, (2, 8))


@pytest.mark.parametrize(
    ("phrases", "margin", "words"),
    [
        (b"\n \n", "0", "there are no phrases"),
        (b"\xff\xfe", "0", "decode"),
        (b"x" * 500, "0", "there is a phrase"),
        (b"on a table", "nan", "the margin is nan"),
    ],
    ids=["none", "no text", "too long", "no margin"],
)
def test_the_command_says_what_is_wrong_with_its_phrases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], phrases: bytes, margin: str, words: str
) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "phrases.txt").write_bytes(phrases)
    asked = ["--encoder", str(tmp_path), "--phrases", str(tmp_path / "phrases.txt"), "--margin", margin]
    assert main(["contexts", *asked]) == ExitCode.INPUT_WRONG
    assert words in capsys.readouterr().err
    assert not (tmp_path / CONTEXTS).exists()


def test_the_command_says_that_there_is_no_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contexts", "--encoder", str(tmp_path / "typo")]) == ExitCode.SETUP_WRONG
    assert "expected an encoder's folder" in capsys.readouterr().err
