"""What a picture's numbers mean: from whatever depth and colour space to eight bits of sRGB."""

from __future__ import annotations

import io
import logging

import numpy as np
from PIL import Image, ImageCms

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273 whose numbers no eight bits of sRGB hold."""
PRIMARIES = {
    9: ("BT.2020", ((1.66049, -0.58764, -0.07285), (-0.12455, 1.13290, -0.00835), (-0.01815, -0.10058, 1.11873))),
    11: ("DCI-P3", ((1.15752, -0.15496, -0.00256), (-0.04150, 1.04556, -0.00406), (-0.01805, -0.07858, 1.09663))),
    12: ("Display P3", ((1.22494, -0.22494, 0.0), (-0.04206, 1.04206, 0.0), (-0.01964, -0.07864, 1.09828))),
}
"""Colour primaries of ITU-T H.273 beside those of sRGB, and linear light in them to linear sRGB."""
USUAL_GAMMA = 1 / 2.2
ROWS_AT_ONCE = 256
HEAD_BYTES = 2**16
"""Where containers say what they hold."""
PROBE = Image.frombytes("RGB", (9, 3), bytes(range(0, 243, 3)))
"""Colours by which a profile shows whether it is sRGB's."""

log = logging.getLogger(__name__)


def coded_colours(data: bytes, kind: str) -> dict[str, int] | None:
    """What a file's head says of its colours in the numbers of ITU-T H.273: HEIF and AVIF in their nclx box, PNG in its
    cICP chunk, which not every decoder tells. None where it says nothing.
    """
    head = data[:HEAD_BYTES]
    if kind in ("HEIF", "AVIF") and (place := head.find(b"colrnclx")) >= 0 and len(head) >= place + 12:
        primaries, transfer = (int.from_bytes(head[place + at : place + at + 2], "big") for at in (8, 10))
    elif kind == "PNG" and 0 <= (place := head.find(b"cICP")) < head.find(b"IDAT") and len(head) >= place + 6:
        primaries, transfer = head[place + 4], head[place + 5]
    else:
        return None
    return {"color_primaries": primaries, "transfer_characteristics": transfer}


def eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """A grey picture of 16 bits, 32 bits or floating point as one of 8, what its PNG calls transparent as white.

    Raises `RunError` where its numbers have no top that anybody uses.
    """
    values = np.asarray(picture)
    if picture.mode == "F" and not np.isfinite(values).all():
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} has pixels that are no numbers; expected 0 to 1, 255 or 65535")
    most, least = float(values.max()), float(values.min())
    tops = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
    top = next((each for each in tops if most <= each), None)
    if top is None or least < 0.0:
        found = f"pixels from {least:g} to {most:g}"
        raise RunError(
            Reason.IMAGE_UNREADABLE, f"{name} has {found}; expected none below 0 and a top of 1, 255 or 65535"
        )
    transparent = picture.info.get("transparency")
    grey = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), ROWS_AT_ONCE):
        rows = values[first : first + ROWS_AT_ONCE]
        grey[first : first + ROWS_AT_ONCE] = rows.astype(np.float32) / top * 255.0 + 0.5
        if isinstance(transparent, int):
            grey[first : first + ROWS_AT_ONCE][rows == transparent] = 255
    converted = Image.fromarray(grey)
    converted.info = {key: value for key, value in picture.info.items() if key != "transparency"}
    return converted


def in_srgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture in sRGB by its ICC profile, or by what its container says of its colours; as it is without either.

    Raises `RunError` for a transfer function of high dynamic range.
    """
    profile = picture.info.get("icc_profile")
    if profile:
        return _by_profile(picture, profile, name)
    coded = picture.info.get("nclx_profile") or {}
    transfer, primaries = coded.get("transfer_characteristics"), coded.get("color_primaries")
    if transfer in HDR_TRANSFERS:
        found = f"a high dynamic range ({HDR_TRANSFERS[transfer]})"
        raise RunError(Reason.IMAGE_UNREADABLE, f"{name} has {found}; expected a picture exported as sRGB")
    if primaries in PRIMARIES and picture.mode in ("RGB", "RGBA"):
        return _from_primaries(picture, np.array(PRIMARIES[primaries][1], np.float32))
    gamma = picture.info.get("gamma")
    if gamma and "srgb" not in picture.info and abs(gamma / USUAL_GAMMA - 1) > 0.05 and picture.mode in ("L", "RGB"):
        exponent = USUAL_GAMMA / gamma
        table = [round(255 * (value / 255) ** exponent) for value in range(256)]
        return picture.point(table * len(picture.getbands()))
    return picture


def _by_profile(picture: Image.Image, profile: bytes, name: str) -> Image.Image:
    """A profile that cannot be read, or is for other channels than the picture has, is passed over."""
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
    base = {"RGBA": "RGB", "LA": "L"}.get(picture.mode, picture.mode)
    colours = picture if alpha is None else picture.convert(base)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if base == "RGB" and _is_srgb(source):
            return picture
        converted = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        log.warning("%s: its colour profile is passed over (%s).", name, " ".join(str(error).split())[:200])
        return picture
    assert converted is not None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether converting would change nothing but the last bit: most pictures name sRGB itself."""
    converted = ImageCms.profileToProfile(PROBE, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return bool(np.abs(np.asarray(converted, int) - np.asarray(PROBE, int)).max() <= 1)


def _from_primaries(picture: Image.Image, matrix: np.ndarray) -> Image.Image:
    """sRGB's own transfer function on other primaries, which is how Display P3 is defined."""
    values = np.array(picture)
    for first in range(0, len(values), ROWS_AT_ONCE):
        rows = values[first : first + ROWS_AT_ONCE, :, :3].astype(np.float32) / 255.0
        linear = np.where(rows <= 0.04045, rows / 12.92, ((rows + 0.055) / 1.055) ** 2.4)
        mixed = np.clip(linear @ matrix.T, 0.0, 1.0)
        coded = np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)
        values[first : first + ROWS_AT_ONCE, :, :3] = coded * 255.0 + 0.5
    return Image.fromarray(values)
