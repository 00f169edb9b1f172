import pytest
from pydantic import ValidationError

from likeness_api.personalization import PersonalizationSpec, SubjectImage


def test_a_caption_says_where_the_subject_is() -> None:
    assert SubjectImage(uri="s3://art/a.jpg", caption="a photo of a {token} on a table").caption


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param("s3://art/a.jpg", "write '- uri: s3://art/a.jpg'", id="an address alone"),
        pytest.param(
            {"uri": "s3://art/a.jpg", "caption": "a teapot on a table"}, "write {token} in its place", id="no subject"
        ),
        pytest.param({"uri": "s3://art/a.jpg", "caption": "a {token}\n"}, "has a line break", id="a line break"),
        pytest.param({"uri": "s3://art/a.jpg", "caption": {"token": None}}, "write it in quotes", id="no quotes"),
        pytest.param({"uri": "s3://art/a.jpg", "caption": 7}, "caption", id="a number"),
        pytest.param({"uri": "s3://art/a.jpg", "caption": "{token}" + "x" * 512}, "caption", id="too long"),
        pytest.param({"uri": "s3://art/a.jpg", "box": {}}, "box", id="a field that is not there"),
    ],
)
def test_what_is_no_image_is_told_how_to_write_it(image: object, words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        PersonalizationSpec.model_validate({"subject": {"images": [image]}, "output": "s3://art/out"})
    assert words in str(refusal.value)
