"""Users' pictures: anything may come, so every file is measured before it is decoded and named exactly when refused."""

from __future__ import annotations

import io
import re
import warnings

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.image.colour import coded_colours, eight_bits, in_srgb

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 16
ENOUGH_PX = 2048
"""Of the short side: as much as any model is tuned at."""
BACKGROUND = (255, 255, 255)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
"""What is decoded. Pillow knows many more, some of which run code or other programs (EPS)."""
SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%!PS", "a PostScript document"),
    (b"\x1f\x8b", "a gzip archive"),
)

register_heif_opener()


def decode(data: bytes, name: str) -> Image.Image:
    """An upright sRGB picture of the first frame, transparency over white, metadata left behind; one with more than
    twice `ENOUGH_PX` on its short side is made smaller by a whole factor.

    `name` is how messages call it. Raises `RunError` with ImageUnreadable, ImageTooLarge or ImageTooSmall.
    """
    if not data:
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} is empty (0 bytes); expected a picture")
    picture = _opened(data, name)
    if coded := coded_colours(data, picture.format or ""):
        picture.info.setdefault("nclx_profile", coded)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        found = f"{width} x {height} = {width * height / 1e6:.0f} megapixels"
        raise RunError(
            Reason.IMAGE_TOO_LARGE, f"{name} has {found}; expected at most {MAX_PIXELS / 1e6:.0f} megapixels"
        )
    if min(width, height) < MIN_SIDE_PX:
        found = f"{width} x {height} pixels"
        raise RunError(Reason.IMAGE_TOO_SMALL, f"{name} has {found}; expected at least {MIN_SIDE_PX} on each side")
    if picture.format == "JPEG" and 8 * len(data) < width * height / 64:
        # A block of 8 x 8 takes a bit at least; a decoder fills what is missing with grey.
        found = f"{len(data)} bytes for the {width} x {height} pixels of its header"
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} has {found}; expected a complete picture")
    try:
        picture.draft("RGB", (2 * ENOUGH_PX, 2 * ENOUGH_PX))  # a JPEG is decoded at an eighth, a quarter or a half
        picture.seek(0)
        picture.load()
        return ImageOps.exif_transpose(_rgb(picture, name))
    except RunError:
        raise
    except MemoryError:
        raise RunError(Reason.IMAGE_TOO_LARGE, f"{name} takes too much memory to decode") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like about damaged files
        raise _damaged(picture.format or "picture", name, error) from None


def squared(picture: Image.Image, side_px: int) -> Image.Image:
    """The largest centred square, resized to `side_px`."""
    return ImageOps.fit(picture, (side_px, side_px), Image.Resampling.LANCZOS)


def _opened(data: bytes, name: str) -> Image.Image:
    """Opened but not decoded: the size is known, no pixel memory is taken yet."""
    for signature, kind in SIGNATURES:
        if data.lstrip()[: len(signature)].lower() == signature.lower():
            raise RunError(Reason.IMAGE_UNREADABLE, f"{name} is {kind}; expected a picture")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "a truncated file must not pass as a picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit, checked next, is lower
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        pixels = f"{int(found[0]) / 1e6:.0f}" if found else "far too many"
        raise RunError(
            Reason.IMAGE_TOO_LARGE, f"{name} has {pixels} megapixels; expected at most {MAX_PIXELS / 1e6:.0f}"
        ) from None
    except UnidentifiedImageError:
        raise RunError(
            Reason.IMAGE_UNREADABLE,
            f"{name} is no picture that can be read (it starts with {data[:8]!r}); expected {', '.join(FORMATS)}",
        ) from None
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged("picture", name, error) from None


def _damaged(kind: str, name: str, error: Exception) -> RunError:
    problem = " ".join(str(error).split())[:200] or type(error).__name__
    if "MAX_TEXT_CHUNK" in problem or "MAX_TEXT_MEMORY" in problem:
        found = "a text or a colour profile of more than a megabyte beside its pixels"
        return RunError(Reason.IMAGE_UNREADABLE, f"{name} has {found}; expected a picture saved without it")
    return RunError(
        Reason.IMAGE_UNREADABLE, f"{name} is a damaged {kind} file ({problem}); expected a complete picture"
    )


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    """Eight bits a channel, sRGB, transparency over white; the orientation is still to be seen to."""
    exif = picture.getexif()
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = eight_bits(picture, name)
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    elif "transparency" in picture.info and picture.mode in ("1", "L", "RGB"):
        picture = picture.convert("RGBA")
    picture = in_srgb(_smaller(picture), name)
    if picture.mode in ("RGBA", "LA", "RGBa", "La"):
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, BACKGROUND)
        picture.paste(layer, mask=layer.getchannel("A"))
    converted = picture.convert("RGB")
    converted.info.clear()
    if exif:
        converted.getexif().update(exif)
    return converted


def _smaller(picture: Image.Image) -> Image.Image:
    """So that no more than one picture is ever there in its full size."""
    factor = min(picture.size) // ENOUGH_PX
    if factor < 2 or picture.mode == "1":
        return picture
    smaller = picture.reduce(factor)
    smaller.info = picture.info
    return smaller
