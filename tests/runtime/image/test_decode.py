import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.decode import MAX_PIXELS, decode, squared


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image.convert(mode)


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    body = b"IDAT" + zlib.compress(b"\0" * 64)
    chunks = [
        (len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big")
        for part in (header, body, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_every_common_format_is_read(format_: str) -> None:
    pixels = np.asarray(decode(encoded(halves(), format_), "picture"), dtype=int)
    assert np.abs(pixels[24, 8] - [255, 0, 0]).max() < 40
    assert np.abs(pixels[24, 56] - [0, 0, 255]).max() < 40


@pytest.mark.parametrize(
    ("mode", "format_"), [("CMYK", "JPEG"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("YCbCr", "JPEG")]
)
def test_every_colour_mode_becomes_rgb(mode: str, format_: str) -> None:
    picture = decode(encoded(halves(mode), format_), "picture")
    assert (picture.mode, picture.size) == ("RGB", (64, 48))


def test_sixteen_bits_are_scaled_rather_than_cut_off() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    pixels = np.asarray(decode(encoded(Image.fromarray(ramp), "PNG"), "picture"))[0, :, 0].astype(int)
    assert abs(pixels[32] - 130) < 4
    assert (np.diff(pixels) >= 0).all()


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert decode(encoded(clear, "PNG"), "picture").getpixel((5, 5)) == (255, 255, 255)


def test_a_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("RGB", (32, 32), "red").quantize(4)
    assert decode(encoded(image, "PNG", transparency=image.getpixel((5, 5))), "picture").getpixel((5, 5)) == (
        255,
        255,
        255,
    )


def test_a_picture_stands_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode(encoded(halves(), "JPEG", exif=exif), "picture").size == (48, 64)


def test_no_metadata_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    picture = decode(encoded(halves(), "JPEG", exif=exif), "picture")
    assert not picture.info
    assert not picture.getexif()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, "picture").getpixel((3, 3)) == (255, 0, 0)


JPEG = encoded(halves(size=(640, 480)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        pytest.param(lambda: b"", Reason.IMAGE_UNREADABLE, "is empty", id="zero bytes"),
        pytest.param(lambda: b"%PDF-1.7 ...", Reason.IMAGE_UNREADABLE, "is a PDF document", id="PDF"),
        pytest.param(lambda: b"<svg xmlns=''/>", Reason.IMAGE_UNREADABLE, "an SVG drawing", id="SVG"),
        pytest.param(lambda: b"\n<!doctype html><html>", Reason.IMAGE_UNREADABLE, "an HTML page", id="HTML"),
        pytest.param(lambda: b"hello, world", Reason.IMAGE_UNREADABLE, "no picture", id="text"),
        pytest.param(lambda: JPEG[: len(JPEG) // 2], Reason.IMAGE_UNREADABLE, "damaged JPEG", id="half a JPEG"),
        pytest.param(lambda: encoded(halves(), "PNG")[:60], Reason.IMAGE_UNREADABLE, "damaged PNG", id="half a PNG"),
        pytest.param(lambda: encoded(halves(), "HEIF")[:200], Reason.IMAGE_UNREADABLE, "", id="half a HEIC"),
        pytest.param(lambda: png_header_of(100, 100), Reason.IMAGE_UNREADABLE, "damaged PNG", id="empty PNG"),
        pytest.param(lambda: encoded(halves(size=(1, 1)), "PNG"), Reason.IMAGE_TOO_SMALL, "1 x 1", id="1x1"),
        pytest.param(lambda: encoded(halves(size=(900, 4)), "PNG"), Reason.IMAGE_TOO_SMALL, "900 x 4", id="a line"),
        pytest.param(lambda: png_header_of(20_000, 20_000), Reason.IMAGE_TOO_LARGE, "megapixels", id="bomb"),
        pytest.param(lambda: png_header_of(9_000, 8_000), Reason.IMAGE_TOO_LARGE, "72 megapixels", id="over limit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(data: Callable[[], bytes], reason: Reason, words: str) -> None:
    with pytest.raises(RunError) as caught:
        decode(data(), "images[0] s3://b/x.jpg")
    assert caught.value.reason == reason
    assert caught.value.message.startswith("images[0] s3://b/x.jpg")
    assert words in caught.value.message
    assert "expected" in caught.value.message


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    assert MAX_PIXELS < 9_000 * 8_000
    with pytest.raises(RunError):
        decode(png_header_of(9_000, 8_000), "picture")  # decoding 9,000 x 8,000 would fail as damaged, not as too large


def test_squaring_keeps_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "white")
    image.paste("black", (100, 0, 200, 100))
    square = squared(image, 50)
    assert square.size == (50, 50)
    assert square.convert("L").resize((1, 1), Image.Resampling.BOX).tobytes()[0] < 3
