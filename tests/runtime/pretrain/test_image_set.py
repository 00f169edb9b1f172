from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness_api.order import OrderStorage
from likeness_lab.pocket.glyphs import ARTS, Glyph, GlyphSet
from likeness_lab.pocket.scene_set import Scenes
from likeness_runtime.failure import RunError
from likeness_runtime.pretrain.image_set import Example, ImageSet, open_images
from likeness_runtime.storage.stores import Stores
from seaweed import TENANT, Seaweed

COLOURS = {"red.png": (250, 0, 0), "green.png": (0, 250, 0), "blue.png": (0, 0, 250)}


def stores() -> Stores:
    return Stores(OrderStorage(source_prefixes=[], output_prefixes=[]), lambda _seconds: None)


def encoded(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def a_folder(folder: Path) -> Path:
    (folder / "deep").mkdir()
    for name, colour in COLOURS.items():
        (folder / "deep" / name).write_bytes(encoded(colour))
    (folder / "captions.txt").write_text("not a picture")
    return folder


def a_shard(folder: Path) -> Path:
    with tarfile.open(folder / "000.tar", "w") as shard:
        for name, colour in COLOURS.items():
            data = encoded(colour)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
        shard.addfile(tarfile.TarInfo("red.json"))
    return folder


def colours_of(images: ImageSet, draws: int = 40) -> set[tuple[int, ...]]:
    return {drawn(images, seed).seen.getpixel((5, 5)) for seed in range(draws)}  # type: ignore[misc]


def drawn(images: ImageSet, seed: int) -> Example:
    return images.draw(np.random.default_rng(seed), 16)


@pytest.mark.parametrize("make", [a_folder, a_shard])
def test_every_picture_is_drawn_and_nothing_else(make: object, tmp_path: Path) -> None:
    assert callable(make)
    images = open_images(f"file://{make(tmp_path)}", stores(), tmp_path / "cache")
    assert colours_of(images) == set(COLOURS.values())


def test_the_same_draw_is_the_same_example(tmp_path: Path) -> None:
    images = open_images(f"file://{a_folder(tmp_path)}", stores(), tmp_path / "cache")
    first, second = drawn(images, 3), drawn(images, 3)
    assert (first.seen.tobytes(), first.target.tobytes(), first.sentence) == (
        second.seen.tobytes(),
        second.target.tobytes(),
        second.sentence,
    )


def test_pictures_come_as_squares_with_a_sentence_for_the_word(tmp_path: Path) -> None:
    example = drawn(open_images(f"file://{a_folder(tmp_path)}", stores(), tmp_path / "cache"), 0)
    assert example.seen.size == example.target.size == (16, 16)
    assert "{}" in example.sentence


def test_a_set_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no pictures"):
        open_images(f"file://{tmp_path}", stores(), tmp_path / "cache")


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        open_images(f"file://{tmp_path}/gone", stores(), tmp_path / "cache")


def some_glyphs() -> GlyphSet:
    """Three filled squares, the last of them held out."""
    glyphs = tuple(
        Glyph(code_point, code_point, "", "object", held_out)
        for code_point, held_out in (("1", False), ("2", False), ("3", True))
    )
    pictures = np.zeros((3, 96, 96, 4), dtype=np.uint8)
    pictures[..., 3] = 255
    pictures[2, ..., :3] = (1, 2, 3)
    return GlyphSet(glyphs, dict.fromkeys(ARTS, pictures))


def test_held_out_glyphs_are_never_shown() -> None:
    scenes = Scenes(some_glyphs())
    for seed in range(60):
        example = scenes.draw(np.random.default_rng(seed), 64)
        assert (1, 2, 3) not in {colour for _count, colour in example.seen.getcolors(64 * 64) or []}


def test_the_two_scenes_differ_and_the_sentence_tells_the_targets_background() -> None:
    examples = [Scenes(some_glyphs()).draw(np.random.default_rng(seed), 64) for seed in range(40)]
    assert any(example.seen.tobytes() != example.target.tobytes() for example in examples)
    assert 0.5 < np.mean(["background" in example.sentence for example in examples]) < 1.0


def test_a_set_in_s3_is_copied_once(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", TENANT.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", TENANT.secret_key)
    settings = OrderStorage(endpoint=seaweed.endpoint, path_style=True, source_prefixes=[], output_prefixes=[])
    opened = Stores(settings, lambda _seconds: None)
    for name, colour in COLOURS.items():
        opened.of("s3://").write(f"s3://artifacts/set/deep/{name}", encoded(colour), "image/png")
    opened.of("s3://").write("s3://artifacts/set/captions.txt", b"not a picture", "text/plain")
    assert colours_of(open_images("s3://artifacts/set", opened, tmp_path)) == set(COLOURS.values())
    seaweed.client().delete_object(Bucket="artifacts", Key="set/deep/red.png")
    assert colours_of(open_images("s3://artifacts/set", opened, tmp_path)) == set(COLOURS.values())
