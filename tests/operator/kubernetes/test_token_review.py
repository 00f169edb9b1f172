from __future__ import annotations

from typing import Any

import pytest

from api_stub import ApiStub
from likeness_api.progress_report import PROGRESS_AUDIENCE
from likeness_operator.kubernetes.api_error import UnavailableError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.token_review import (
    REVIEW_KEPT_SECONDS,
    REVIEWS_PER_ADDRESS,
    REVIEWS_PER_SECOND,
    Sender,
    TokenReviews,
    read_sender,
)

POD: K8sObject = {
    "authenticated": True,
    "audiences": [PROGRESS_AUDIENCE],
    "user": {
        "username": "system:serviceaccount:shop:tuner",
        "extra": {"authentication.kubernetes.io/pod-uid": ["pod-1"]},
    },
}


def test_a_pods_token_names_the_pod() -> None:
    assert read_sender({"status": POD}) == Sender("shop", "pod-1")


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="no answer"),
        pytest.param(POD | {"authenticated": False}, id="not authenticated"),
        pytest.param(POD | {"audiences": ["https://kubernetes.default.svc"]}, id="another audience"),
        pytest.param({name: POD[name] for name in ("authenticated", "user")}, id="audience not checked"),
        pytest.param(POD | {"user": POD["user"] | {"username": "admin"}}, id="a person"),
        pytest.param(POD | {"user": POD["user"] | {"username": "x:system:serviceaccount:shop:y"}}, id="looks like one"),
        pytest.param(POD | {"user": {"username": "system:serviceaccount:shop:tuner"}}, id="bound to no pod"),
    ],
)
def test_any_other_token_is_nobodys(status: K8sObject) -> None:
    assert read_sender({"status": status}) is None


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def reviews(server: ApiStub, api: ApiServer, now: list[float]) -> TokenReviews:
    server.tokens["good"] = POD
    return TokenReviews(api, lambda: now[0])


async def test_a_token_is_reviewed_once_in_a_while(reviews: TokenReviews, server: ApiStub, now: list[float]) -> None:
    for _ in range(5):
        assert await reviews.sender("good", "10.0.0.1") == Sender("shop", "pod-1")
    assert len(server.calls) == 1
    now[0] += REVIEW_KEPT_SECONDS
    server.tokens.clear()
    assert await reviews.sender("good", "10.0.0.1") is None


async def test_a_flood_of_rubbish_is_no_flood_of_requests_and_ends_with_itself(
    reviews: TokenReviews, server: ApiStub, now: list[float]
) -> None:
    async def throw() -> Any:
        for number in range(1000):
            await reviews.sender(f"rubbish-{number}", f"10.0.0.{number}")

    with pytest.raises(UnavailableError):
        await throw()
    assert len(server.calls) == 2 * REVIEWS_PER_SECOND
    now[0] += 1.0
    assert await reviews.sender("good", "10.0.0.1") == Sender("shop", "pod-1")


async def test_rubbish_from_one_address_leaves_reviews_to_the_others(reviews: TokenReviews, server: ApiStub) -> None:
    async def throw() -> Any:
        for number in range(1000):
            await reviews.sender(f"rubbish-{number}", "10.0.0.66")

    with pytest.raises(UnavailableError):
        await throw()
    assert len(server.calls) == 2 * REVIEWS_PER_ADDRESS
    assert await reviews.sender("good", "10.0.0.1") == Sender("shop", "pod-1")
