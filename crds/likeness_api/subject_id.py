"""What a catalogue calls its subjects, and the names that follow from it: a folder in a bucket, a name for files."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, TypeAdapter, ValidationError

MOST_ID_BYTES = 256
MOST_FOLDER_BYTES = 200
"""With a digest and a file's name behind it, a key stays below S3's 1,024 bytes; file systems take names of 255."""
MOST_NAME_CHARACTERS = 40


def _bounded(text: str) -> str:
    if len(text.encode()) > MOST_ID_BYTES:
        raise ValueError(f"{text!r:.100} has {len(text.encode())} bytes; expected at most {MOST_ID_BYTES}")
    return text


SubjectId = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=MOST_ID_BYTES),
    AfterValidator(_bounded),
]
"""A shop's own id of a subject: any text of at most 256 bytes of UTF-8 without control characters."""
SUBJECT_ID: TypeAdapter[str] = TypeAdapter(SubjectId)


def is_subject_id(text: str) -> bool:
    """Whether `text` is a `SubjectId`."""
    try:
        SUBJECT_ID.validate_python(text)
    except ValidationError:
        return False
    return True


def folder_name(subject_id: str) -> str:
    """The id as one segment of a key: letters and digits of any script, "-" and "." stay, all else is "_" and two
    hexadecimal digits for each byte of UTF-8; so is a dot in front.

    Different ids have different names, and `id_of_folder` turns one back, but for one of more than 200 bytes: it is cut
    and ends with "_-" and a hash of the id.
    """
    name = "".join(
        character if character.isalnum() or character == "-" or (character == "." and index) else _escaped(character)
        for index, character in enumerate(subject_id)
    )
    if len(name.encode()) <= MOST_FOLDER_BYTES:
        return name
    digest = hashlib.sha256(subject_id.encode()).hexdigest()[:32]
    return name.encode()[: MOST_FOLDER_BYTES - 34].decode(errors="ignore") + "_-" + digest


def id_of_folder(name: str) -> str | None:
    """The id whose `folder_name` this is; None where it was cut, or where it is none."""
    unescaped = re.sub(rb"_([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), name.encode())
    try:
        subject_id = unescaped.decode()
    except UnicodeDecodeError:
        return None
    return subject_id if folder_name(subject_id) == name else None


def subject_name(subject_id: str) -> str:
    """A name for files and in tokens: a DNS label, the id itself where it is one of at most 40 characters. Otherwise it
    ends with a hash of the id, so that two ids that differ in what a label cannot say have two names.
    """
    label = re.sub(r"[^a-z0-9]+", "-", subject_id.lower())[:MOST_NAME_CHARACTERS].strip("-")
    if label == subject_id:
        return label
    return f"{label or 'subject'}-{hashlib.sha256(subject_id.encode()).hexdigest()[:8]}"


def _escaped(character: str) -> str:
    return "".join(f"_{byte:02x}" for byte in character.encode())
