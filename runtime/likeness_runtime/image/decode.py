"""Users' pictures: anything may come, so every file is measured before it is decoded and named exactly when refused."""

from __future__ import annotations

import io
import re
import warnings

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
MIN_SIDE_PX = 16
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
    """An upright RGB picture of the first frame, transparency over white, metadata left behind.

    `name` is how messages call it. Raises `RunError` with ImageUnreadable, ImageTooLarge or ImageTooSmall.
    """
    if not data:
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} is empty (0 bytes); expected a picture")
    picture = _opened(data, name)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        found = f"{width} x {height} = {width * height / 1e6:.0f} megapixels"
        raise RunError(
            Reason.IMAGE_TOO_LARGE, f"{name} has {found}; expected at most {MAX_PIXELS / 1e6:.0f} megapixels"
        )
    if min(width, height) < MIN_SIDE_PX:
        found = f"{width} x {height} pixels"
        raise RunError(Reason.IMAGE_TOO_SMALL, f"{name} has {found}; expected at least {MIN_SIDE_PX} on each side")
    try:
        picture.seek(0)
        picture.load()
        return _rgb(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        kind = picture.format or "picture"
        raise RunError(
            Reason.IMAGE_UNREADABLE, f"{name} is a damaged {kind} file ({error}); expected a complete picture"
        ) from None


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
    except (OSError, SyntaxError, ValueError) as error:
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} is damaged ({error}); expected a complete picture") from None


def _rgb(picture: Image.Image) -> Image.Image:
    """Eight bits a channel, three channels, transparency over white."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        canvas.alpha_composite(layer)
        picture = canvas
    converted = picture.convert("RGB")
    converted.info.clear()
    return converted


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow's own conversion cuts 16-bit greys off at 255 instead of scaling them."""
    import numpy as np

    values = np.asarray(picture, dtype=np.float64)
    top = 65535.0 if picture.mode != "F" or values.max() > 1.0 else 1.0
    return Image.fromarray((np.clip(values / top, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
