import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness_api.personalization import LearnedImage, ManifestRef, Metric
from likeness_api.reason import EXIT_CODE_OF, FINAL_EXIT_CODES, ExitCode, Reason
from likeness_api.result import MOST_FILE_BYTES, TERMINATION_MESSAGE_BYTES, Result, ResultArtifact

HASHES = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
SEGMENTS = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=30)
NAMES = st.lists(SEGMENTS.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4).map("/".join)
ARTIFACTS = st.builds(
    ResultArtifact,
    name=NAMES,
    format=st.just("diffusers"),
    sha256=HASHES,
    bytes=st.integers(0, MOST_FILE_BYTES),
)
RESULTS = st.builds(
    Result,
    reason=st.sampled_from(list(EXIT_CODE_OF)),
    message=st.text(max_size=2048),
    token=st.just("<cat>"),
    nearest_word=st.none() | st.text(max_size=40),
    manifest=st.none() | st.builds(ManifestRef, uri=st.text(max_size=500), sha256=HASHES),
    artifacts=st.lists(ARTIFACTS, max_size=8),
    previews=st.lists(NAMES, max_size=9),
    subject=st.lists(
        st.builds(
            LearnedImage,
            sha256=st.just("0" * 64),
            caption=st.none() | st.text(max_size=512),
            captionSource=st.just("Spec"),
        ),
        max_size=8,
    ),
    metrics=st.lists(st.builds(Metric, name=st.text(max_size=40), value=st.just("0.5")), max_size=32),
)


MANIFEST_WITH_MORE = '"manifest": {"uri": "s3://a/b", "sha256": "' + "0" * 64 + '", "more": 1}'


@given(RESULTS)
def test_an_encoded_result_fits_into_the_termination_message_with_its_reason_and_manifest(result: Result) -> None:
    assert len(result.encode()) <= TERMINATION_MESSAGE_BYTES
    decoded = Result.decode(result.encode())
    assert (decoded.reason, decoded.manifest, decoded.token) == (result.reason, result.manifest, result.token)


def test_a_result_of_usual_size_survives_whole() -> None:
    result = Result(
        reason=Reason.TUNED,
        message="12 steps",
        token="<red-teapot>",
        nearest_word="teapot",
        manifest=ManifestRef(uri="s3://artifacts/shop/shop/red-teapot/0123456789abcdef/manifest.json", sha256="0" * 64),
        artifacts=[
            ResultArtifact(name=f"red-teapot.{number}.safetensors", format="diffusers", sha256="f" * 64, bytes=9)
            for number in range(8)
        ],
        subject=[LearnedImage(sha256="a" * 64, caption="a {token} on a table", caption_source="Spec")],
        previews=[f"previews/0{number}.png" for number in range(9)],
        metrics=[Metric(name="lossFirst", value="0.9"), Metric(name="lossLast", value="0.4")],
    )
    assert Result.decode(result.encode()) == result


@pytest.mark.parametrize("letter", ["x", "é", "中", "😀", '"'])
def test_eight_long_captions_cost_neither_previews_nor_metrics(letter: str) -> None:
    said = LearnedImage(sha256="a" * 64, caption="a {token} on a table " + 139 * letter, caption_source="Spec")
    result = Result(
        reason=Reason.TUNED,
        message="tuned in 12 steps, 10.0 s in all",
        manifest=ManifestRef(uri=f"s3://artifacts/shop/shop/red-teapot/{'0' * 64}/manifest.json", sha256="0" * 64),
        artifacts=[
            ResultArtifact(name=f"red-teapot.{number}.safetensors", format="diffusers", sha256="f" * 64, bytes=9)
            for number in range(5)
        ],
        subject=[said] * 8,
        previews=[f"previews/0{number}.png" for number in range(9)],
        metrics=[Metric(name="lossAfter", value="0.4")] * 4,
    )
    decoded = Result.decode(result.encode())
    assert (decoded.previews, decoded.metrics) == (result.previews, result.metrics)
    for image in decoded.subject:
        assert image.caption is not None
        assert image.caption.startswith("a {token} on a table")
        assert image.caption == said.caption or image.caption.endswith("…")
    assert len(decoded.subject) == 8


@pytest.mark.parametrize("text", ["", "Killed", "{", '{"reason": "Whatever", "message": ""}', '{"reason":"Tuned"}'])
def test_a_message_that_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^result: "):
        Result.decode(text)


@pytest.mark.parametrize("field", ['"more": 1', MANIFEST_WITH_MORE])
def test_a_result_with_an_unknown_field_is_refused_at_every_level(field: str) -> None:
    """A status leaves it out, but the operator and the runtime are to be of one release."""
    with pytest.raises(ValueError, match="more: Extra inputs are not permitted"):
        Result.decode(f'{{"reason": "Tuned", "message": "", {field}}}')


def test_no_reason_of_passing_trouble_is_final() -> None:
    assert EXIT_CODE_OF[Reason.STORAGE_UNAVAILABLE] == ExitCode.TRANSIENT_ERROR
    assert ExitCode.TRANSIENT_ERROR not in FINAL_EXIT_CODES
