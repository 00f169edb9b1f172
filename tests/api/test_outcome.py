from likeness_api.outcome import failed, published
from likeness_api.personalization import LearnedImage, ManifestRef, Metric, PersonalizationStatus, Waiting
from likeness_api.reason import Reason
from likeness_api.result import Result, ResultArtifact

HASH = "0" * 64
BEFORE = PersonalizationStatus(
    start_time="2026-01-01T00:00:00Z", waiting=Waiting(reason="PodPending", message="x", next_step="y")
)


def test_a_published_result_becomes_whole_addresses() -> None:
    result = Result(
        reason=Reason.TUNED,
        message="done",
        token="<x>",
        nearest_word="teapot",
        manifest=ManifestRef(uri="s3://b/shop/x/abc/manifest.json", sha256=HASH),
        artifacts=[ResultArtifact(name="x.safetensors", format="lora-kohya", sha256=HASH, bytes=7)],
        previews=["previews/00.png"],
        subject=[LearnedImage(sha256=HASH, caption_source="Unsure")],
        metrics=[Metric(name="lossAfter", value="0.5")],
        steps=12,
    )
    status = published(BEFORE, result)
    assert status.artifacts[0].uri == "s3://b/shop/x/abc/x.safetensors"
    assert status.previews == ["s3://b/shop/x/abc/previews/00.png"]
    assert (status.token, status.nearest_word, status.manifest) == ("<x>", "teapot", result.manifest)
    assert status.progress is not None
    assert (status.progress.step, status.progress.percent) == (12, 100)
    assert status.subject == result.subject
    assert status.waiting is None
    assert status.start_time == BEFORE.start_time


def test_a_failed_result_says_why_and_with_which_code() -> None:
    status = failed(BEFORE, Result(reason=Reason.ACCESS_DENIED, message="no"), attempt=2)
    assert status.failure is not None
    assert (status.failure.reason, status.failure.exit_code, status.failure.attempt) == ("AccessDenied", 11, 2)
    assert status.waiting is None
