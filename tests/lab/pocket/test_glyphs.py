from likeness_lab.pocket.fetch import FLUENT, NOTO
from likeness_lab.pocket.glyphs import HOLD_OUT_SHARE, PICTURE_SIZE_PX, is_held_out, shipped_table, table
from likeness_lab.pocket.names import GROUPS, NAMES
from likeness_lab.pocket.subjects import load_subjects


def a_row(short_name: str, code_point: str = "1F436", subcategory: str = "animal-mammal") -> dict[str, str]:
    return {
        "short_name": short_name,
        "unified": code_point,
        "category": "Animals & Nature",
        "subcategory": subcategory,
    }


def test_the_hold_out_does_not_depend_on_case_or_variation_selector() -> None:
    for code_point in ("2602-FE0F", "2744-fe0f", "1F436"):
        assert is_held_out(code_point) == is_held_out(code_point.lower().replace("-fe0f", ""))


def test_about_one_glyph_in_ten_is_held_out() -> None:
    held_out = sum(is_held_out(f"{number:x}") for number in range(0x1F300, 0x1F300 + 5000))
    assert abs(held_out / 5000 - 1 / HOLD_OUT_SHARE) < 0.02


def test_a_held_out_glyph_has_no_name() -> None:
    assert all(not glyph.name for glyph in shipped_table() if glyph.held_out)


def test_the_shipped_table_agrees_with_the_hash() -> None:
    assert all(glyph.held_out == is_held_out(glyph.code_point) for glyph in shipped_table())


def test_no_two_glyphs_share_a_name() -> None:
    names = [glyph.name for glyph in shipped_table() if glyph.name]
    assert len(names) == len(set(names))
    assert len(NAMES.values()) == len(set(NAMES.values()))


def test_names_and_groups_are_different_words() -> None:
    assert not set(NAMES.values()) & set(GROUPS.values())


def test_a_glyph_of_an_unknown_subcategory_is_left_out() -> None:
    chosen = table([a_row("dog"), a_row("smile", "1F604", "face-smiling")])
    assert [glyph.short_name for glyph in chosen] == ["dog"]


def test_the_table_is_ordered_by_code_point() -> None:
    code_points = [glyph.code_point for glyph in shipped_table()]
    assert code_points == sorted(code_points)


def test_every_shipped_subject_has_a_visible_picture_in_both_arts() -> None:
    subjects = load_subjects()
    for pictures in subjects.pictures.values():
        assert pictures.shape == (len(subjects.glyphs), PICTURE_SIZE_PX, PICTURE_SIZE_PX, 4)
        assert (pictures[..., 3].mean(axis=(1, 2)) > 10).all()


def test_the_packages_are_pinned_by_digest() -> None:
    assert all(len(source.sha256) == 64 and source.version in source.archive for source in (FLUENT, NOTO))
