"""Colours mean the same whatever a file writes them in."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.colour import PRIMARIES, in_srgb
from likeness_runtime.image.decode import ENOUGH_PX, decode

RED, GREEN = (200, 30, 30), (40, 120, 60)


def saved(picture: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **more)
    return file.getvalue()


def halves(left: Any, right: Any, mode: str = "RGB") -> Image.Image:
    picture = Image.new(mode, (64, 32), left)
    picture.paste(right, (32, 0, 64, 32))
    return picture


def near(picture: Image.Image, left: tuple[int, ...], right: tuple[int, ...], by: int = 2) -> bool:
    found = np.array([picture.getpixel((8, 8)), picture.getpixel((56, 24))], float)
    return bool((np.abs(found - np.array([left, right])) <= by).all())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_honoured(kind: str) -> None:
    """Its red is what sRGB calls green, and the other way round."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    swapped = halves((GREEN[1], GREEN[0], GREEN[2]), (RED[1], RED[0], RED[2]))
    data = saved(swapped, kind, icc_profile=bytes(profile), **({"lossless": True} if kind == "WEBP" else {}))
    assert near(decode(data, "x"), GREEN, RED)


def test_a_profile_that_is_none_is_passed_over() -> None:
    assert near(decode(saved(halves(RED, GREEN), "PNG", icc_profile=b"rubbish"), "x"), RED, GREEN)


def test_display_p3_without_a_profile() -> None:
    """Red and green of sRGB, written in the numbers of Display P3."""
    picture = halves((185, 52, 42), (65, 119, 69))
    picture.info["nclx_profile"] = {"color_primaries": 12, "transfer_characteristics": 13}
    found = in_srgb(picture, "x")
    assert near(found, RED, GREEN, by=8)
    assert found.getpixel((8, 8)) != picture.getpixel((8, 8))


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_refused_by_name(transfer: int) -> None:
    picture = halves(RED, GREEN)
    picture.info["nclx_profile"] = {"color_primaries": 9, "transfer_characteristics": transfer}
    with pytest.raises(RunError, match="high dynamic range") as caught:
        in_srgb(picture, "x")
    assert caught.value.reason == Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("transfer", [16, 18])
def test_what_a_png_or_an_avif_says_of_its_colours_is_heard(transfer: int) -> None:
    data = saved(halves(RED, GREEN), "PNG")
    chunk = b"cICP" + bytes([9, transfer, 0, 1])
    place = data.index(b"IDAT") - 4
    spoiled = (
        data[:place] + len(chunk[4:]).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[place:]
    )
    with pytest.raises(RunError, match="high dynamic range"):
        decode(spoiled, "x")
    avif = bytearray(saved(halves(RED, GREEN), "AVIF"))
    box = avif.index(b"colrnclx")
    avif[box + 8 : box + 12] = (9).to_bytes(2, "big") + transfer.to_bytes(2, "big")
    with pytest.raises(RunError, match="high dynamic range"):
        decode(bytes(avif), "x")


def test_a_profile_of_srgb_itself_changes_no_bit(photo: Image.Image) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(saved(photo, "PNG", icc_profile=profile), "x").tobytes() == decode(saved(photo, "PNG"), "x").tobytes()


def test_white_stays_white_in_all_primaries() -> None:
    for _, matrix in PRIMARIES.values():
        assert np.allclose(np.array(matrix).sum(axis=1), 1.0, atol=0.002)


@pytest.mark.parametrize(("top", "mode"), [(1.0, "F"), (255.0, "F"), (65535.0, "F")])
def test_floating_point_is_read_by_its_top(top: float, mode: str) -> None:
    picture = halves(0.25 * top, top, mode)
    assert near(decode(saved(picture, "TIFF"), "x"), (64, 64, 64), (255, 255, 255))


@pytest.mark.parametrize("value", [1e6, -5.0, float("nan")])
def test_floating_point_without_a_usual_top_is_refused(value: float) -> None:
    with pytest.raises(RunError, match="pixels"):
        decode(saved(halves(0.0, value, "F"), "TIFF"), "x")


def test_sixteen_bit_transparency_becomes_white() -> None:
    values = np.full((32, 64), 20_000, np.uint16)
    values[:, 32:] = 7
    information = PngImagePlugin.PngInfo()
    data = saved(Image.fromarray(values), "PNG", pnginfo=information, transparency=7)
    assert near(decode(data, "x"), (78, 78, 78), (255, 255, 255))


def test_a_linear_gamma_is_made_usual() -> None:
    picture = halves((128, 128, 128), (255, 255, 255))
    picture.info["gamma"] = 1.0
    assert near(in_srgb(picture, "x"), (186, 186, 186), (255, 255, 255))
    picture.info["gamma"] = 0.45455
    assert in_srgb(picture, "x") is picture


def test_a_header_that_lies_is_refused() -> None:
    data = bytearray(saved(Image.new("RGB", (64, 64), RED), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = (8000).to_bytes(2, "big") * 2
    with pytest.raises(RunError, match="for the 8000 x 8000 pixels of its header"):
        decode(bytes(data), "x")


def test_a_large_text_is_no_damage() -> None:
    information = PngImagePlugin.PngInfo()
    information.add_text("Comment", "x" * 3_000_000, zip=True)
    with pytest.raises(RunError, match="a text or a colour profile of more than a megabyte"):
        decode(saved(halves(RED, GREEN), "PNG", pnginfo=information), "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_large_picture_is_made_smaller_at_once(kind: str) -> None:
    data = saved(Image.new("RGB", (3 * ENOUGH_PX, 2 * ENOUGH_PX), RED), kind)
    width, height = decode(data, "x").size
    assert ENOUGH_PX <= height < 2 * ENOUGH_PX
    assert abs(width / height - 1.5) < 0.01
