from typing import Any

import pytest

from likeness_api.accept import MOST_ORDER_BYTES, Refusal, accept, prompt_warning
from likeness_api.order import Order
from likeness_api.personalization import PersonalizationSpec, SubjectImage
from likeness_api.reason import Reason
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS
from likeness_api.tuning_profile import TuningProfileSpec


def a_spec(**fields: Any) -> PersonalizationSpec:
    return PersonalizationSpec.model_validate(
        {"subject": {"images": [{"uri": "s3://catalogue/x.jpg"}]}, "output": "s3://artifacts/shop/teapots", **fields}
    )


def a_profile(**fields: Any) -> TuningProfileSpec:
    return TuningProfileSpec.model_validate(
        {
            "model": {"uri": "file:///models/sd15"},
            "runtime": {"image": "x", "device": "cpu"},
            "storage": {
                "endpoint": "http://s3:8333",
                "sourcePrefixes": ["s3://catalogue"],
                "outputPrefixes": ["s3://artifacts/{namespace}"],
            },
            **fields,
        }
    )


def ordered(spec: PersonalizationSpec, profile: TuningProfileSpec, *, local: bool = False) -> Order:
    order = accept("red-teapot", "shop", spec, profile, local=local)
    assert isinstance(order, Order), order
    return order


def refused(spec: PersonalizationSpec, profile: TuningProfileSpec, *, local: bool = False) -> Refusal:
    refusal = accept("red-teapot", "shop", spec, profile, local=local)
    assert isinstance(refusal, Refusal)
    return refusal


def test_an_order_takes_the_subject_from_the_user_and_the_rest_from_the_profile() -> None:
    order = ordered(a_spec(tuning={"steps": 5}), a_profile(defaults={"steps": 20, "rank": 8}))
    assert (order.subject.namespace, order.subject.name, order.subject.token) == ("shop", "red-teapot", "<red-teapot>")
    assert (order.tuning.steps, order.tuning.rank, order.run.device) == (5, 8, "cpu")
    assert order.run.storage.output_prefixes == ["s3://artifacts/shop"]
    assert order.run.storage.endpoint == "http://s3:8333"


def test_the_token_is_the_user_s_where_given() -> None:
    assert ordered(a_spec(token="<it>"), a_profile()).subject.token == "<it>"


def test_a_model_in_object_storage_is_fetched_to_its_volume() -> None:
    model = {"uri": "s3://models/sd15", "volume": {"mountPath": "/cache", "emptyDir": {}}}
    assert ordered(a_spec(), a_profile(model=model, encoder=model)).run.model.cache == "/cache"
    assert refused(a_spec(), a_profile(model={"uri": "s3://models/sd15"})).reason == Reason.INVALID_PROFILE
    assert ordered(a_spec(), a_profile(model={"uri": "s3://models/sd15"}), local=True).run.model.cache is None


@pytest.mark.parametrize(
    ("spec", "profile", "reason", "words"),
    [
        (
            {"subject": {"images": [{"uri": "s3://catalogue/x.jpg"}, {"uri": "s3://private/x.jpg"}]}},
            {},
            Reason.BUCKET_NOT_ALLOWED,
            "spec.subject.images[1].uri is s3://private/x.jpg; the profile allows s3://catalogue",
        ),
        ({"output": "s3://artifacts/other"}, {}, Reason.BUCKET_NOT_ALLOWED, "the profile allows s3://artifacts/shop"),
        ({"output": "s3://artifacts/shopping"}, {}, Reason.BUCKET_NOT_ALLOWED, "spec.output is"),
        ({"output": "file:///out"}, {}, Reason.INVALID_SPEC, "spec.output is file:///out; expected an s3:// address"),
        ({"tuning": {"steps": 101}}, {}, Reason.LIMIT_EXCEEDED, "spec.tuning.steps is 101; the profile's limit is 100"),
        ({}, {"defaults": {"steps": 7}, "limits": {"steps": 5}}, Reason.LIMIT_EXCEEDED, "limit is 5"),
        (
            {"subject": {"images": [{"uri": "s3://catalogue/x.jpg"}] * 3}},
            {"limits": {"images": 2}},
            Reason.TOO_MANY_IMAGES,
            "spec.subject.images has 3 entries; the profile's limit is 2",
        ),
        (
            {"previews": [{"prompt": "x"}]},
            {"limits": {"previews": 0}},
            Reason.LIMIT_EXCEEDED,
            "spec.previews has 1 entries; the profile's limit is 0",
        ),
    ],
)
def test_what_the_profile_does_not_allow_is_refused(
    spec: dict[str, Any], profile: dict[str, Any], reason: Reason, words: str
) -> None:
    refusal = refused(a_spec(**spec), a_profile(**profile))
    assert refusal.reason == reason
    assert words in refusal.message


def test_a_local_run_may_use_files_and_the_same_buckets() -> None:
    files = a_spec(subject={"images": [{"uri": "file:///x.jpg"}]}, output="file:///out")
    assert ordered(files, a_profile(), local=True).subject.images == [SubjectImage(uri="file:///x.jpg")]
    assert refused(a_spec(output="s3://private/x"), a_profile(), local=True).reason == Reason.BUCKET_NOT_ALLOWED


def test_a_name_that_is_no_label_is_refused() -> None:
    refusal = accept("Red.Teapot", "shop", a_spec(token="<it>"), a_profile())
    assert isinstance(refusal, Refusal)
    assert refusal.reason == Reason.INVALID_SPEC
    assert "Red.Teapot" in refusal.message


def test_a_prompt_without_the_token_is_warned_about() -> None:
    good, bad = {"prompt": "a <red-teapot> at sea"}, {"prompt": "a red-teapot at sea"}
    assert prompt_warning(ordered(a_spec(previews=[good]), a_profile())) is None
    warning = prompt_warning(ordered(a_spec(previews=[good, bad]), a_profile()))
    assert warning is not None
    assert "spec.previews[1].prompt" in warning


def test_the_largest_spec_makes_an_order_that_a_pod_can_be_given_or_is_refused() -> None:
    """A variable of a process has 128 KiB at most; a pod with more could not be started."""
    wide = "😀"
    images = [{"uri": f"s3://catalogue/{wide * 1000}", "caption": f"{{token}} {wide * 500}"} for _ in range(MAX_IMAGES)]
    previews = [{"prompt": wide * 1024} for _ in range(MAX_PREVIEWS)]
    output = f"s3://artifacts/shop/{wide * 900}"
    spec, profile = a_spec(subject={"images": images}, output=output, previews=previews), a_profile()
    order = accept("x", "shop", spec, profile)
    assert isinstance(order, Order)
    assert 60_000 < len(order.encode().encode()) <= MOST_ORDER_BYTES
    storage = profile.storage.model_copy(update={"ca_bundle": "x" * 65536})
    refusal = accept("x", "shop", spec, profile.model_copy(update={"storage": storage}))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == Reason.LIMIT_EXCEEDED
    assert f"at most {MOST_ORDER_BYTES}" in refusal.message
