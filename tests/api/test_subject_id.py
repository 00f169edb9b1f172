from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from likeness_api.field import DNS_LABEL
from likeness_api.subject_id import SubjectId, folder_name, id_of_folder, subject_name

ADAPTER: TypeAdapter[str] = TypeAdapter(SubjectId)
ANY_ID = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64)


@given(ANY_ID)
def test_a_folder_name_is_one_plain_segment_and_gives_the_id_back(text: str) -> None:
    subject_id = ADAPTER.validate_python(text)
    name = folder_name(subject_id)
    assert len(name.encode()) <= 200
    assert name not in (".", "..")
    assert not set(name) & set("/\\?#%&+ \"'<>:*|")
    if "_-" not in name:
        assert id_of_folder(name) == subject_id


@given(ANY_ID, ANY_ID)
def test_two_ids_have_two_folders(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(ANY_ID)
def test_a_name_is_a_dns_label(text: str) -> None:
    assert re.fullmatch(DNS_LABEL, subject_name(text))


@pytest.mark.parametrize(
    ("subject_id", "folder", "name"),
    [
        ("sku-12345", "sku-12345", "sku-12345"),
        ("SKU_12345", "SKU_5f12345", "sku-12345-fcad5dae"),
        ("..", "_2e.", "subject-5ec1f7e7"),
        ("a/b", "a_2fb", "a-b-c14cddc0"),
        ("茶壶", "茶壶", "subject-2d7e5f8e"),
    ],
)
def test_names_are_readable(subject_id: str, folder: str, name: str) -> None:
    assert folder_name(subject_id) == folder
    assert subject_name(subject_id).rpartition("-")[0] == name.rpartition("-")[0]


def test_a_long_folder_name_is_cut_and_says_so() -> None:
    long, other = "?" * 256, "?" * 255 + "!"
    assert len(folder_name(long).encode()) <= 200
    assert folder_name(long) != folder_name(other)
    assert id_of_folder(folder_name(long)) is None


@pytest.mark.parametrize("text", ["", "a\nb", "a\x00", "é" * 129])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(text)
