from __future__ import annotations

import pytest

from likeness_api.encoder_use import encoder_use
from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import SubjectImage
from likeness_api.reason import Reason


def an_order(model: str, encoder: str | None) -> Order:
    run = RunOrder(
        model=OrderModel(uri=model),
        encoder=OrderModel(uri=encoder) if encoder else None,
        storage=OrderStorage(source_prefixes=["s3://catalogue"], output_prefixes=["s3://artifacts"]),
    )
    subject = SubjectOrder(
        namespace="shop",
        name="red-teapot",
        token="<red-teapot>",
        images=[SubjectImage(uri="s3://catalogue/teapot.jpg")],
        output="s3://artifacts/shop",
    )
    return Order(run=run, subject=subject)


def test_an_encoder_is_named() -> None:
    use = encoder_use(an_order("s3://models/sd15", "s3://models/encoder"))
    assert (use.used, use.reason) == (True, Reason.ENCODER_NAMED)
    assert "s3://models/encoder" in use.message


@pytest.mark.parametrize(
    ("model", "next_step"),
    [
        pytest.param("builtin://pocket", "give the TuningProfile an encoder: {uri: builtin://pocket}", id="built in"),
        pytest.param("s3://models/sd15", "encoder: {uri: …} that `likeness pretrain` made", id="in object storage"),
        pytest.param("file:///models/sd15", "encoder: {uri: …} that `likeness pretrain` made", id="a folder"),
    ],
)
def test_without_an_encoder_it_says_of_which_model_what_to_expect_and_what_to_do(model: str, next_step: str) -> None:
    use = encoder_use(an_order(model, None))
    assert (use.used, use.reason) == (False, Reason.NO_ENCODER)
    for words in (f"for model {model}", "much less like the subject", next_step):
        assert words in use.message


def test_the_longest_address_leaves_the_message_as_short_as_a_condition_allows() -> None:
    longest = "s3://models/" + "x" * (1024 - len("s3://models/"))
    assert all(len(encoder_use(an_order(longest, encoder)).message) <= 2048 for encoder in (None, longest))
