import pytest

from likeness_api.personalization import SubjectImage
from likeness_api.tuning import ResolvedTuning, Tuning, TuningLimits, over_the_limits, resolve
from likeness_api.tuning_profile import is_allowed


def test_the_user_wins_over_the_profile_and_the_profile_over_the_product() -> None:
    tuning = resolve(Tuning(steps=3), Tuning(steps=5, rank=8))
    assert (tuning.steps, tuning.rank, tuning.seed) == (3, 8, ResolvedTuning().seed)


def test_a_number_over_its_limit_is_named_with_both_figures() -> None:
    sentence = over_the_limits(ResolvedTuning(steps=13), TuningLimits(steps=12))
    assert sentence == "spec.tuning.steps is 13; the profile's limit is 12"


def test_numbers_at_their_limits_pass() -> None:
    assert over_the_limits(ResolvedTuning(steps=12), TuningLimits(steps=12)) is None


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        pytest.param("s3://art/shop/x", True, id="below"),
        pytest.param("s3://art/shop", True, id="the prefix itself"),
        pytest.param("s3://art/shopping/x", False, id="a longer last segment"),
        pytest.param("s3://art/other/x", False, id="another namespace"),
        pytest.param("s3://artist/shop/x", False, id="a longer bucket name"),
        pytest.param("s3://art", False, id="above"),
    ],
)
def test_a_prefix_allows_whole_path_segments_of_its_namespace(uri: str, allowed: bool) -> None:
    assert is_allowed(uri, ["s3://art/{namespace}"], "shop") is allowed


def test_dot_segments_are_refused_before_any_prefix_is_compared() -> None:
    with pytest.raises(ValueError, match=r"'\.' or '\.\.' path segment"):
        SubjectImage(uri="s3://art/shop/../other/x")
