"""Whose token it is, by the API server's word (TokenReview), which is kept for a while."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from likeness_api.progress_report import PROGRESS_AUDIENCE
from likeness_operator.kubernetes.api_error import UnavailableError
from likeness_operator.kubernetes.api_server import ApiServer
from likeness_operator.kubernetes.k8s_object import K8sObject
from likeness_operator.kubernetes.token_bucket import TokenBucket

REVIEW_KEPT_SECONDS = 300.0
"""A pod that is gone is not believed any longer in any case: the store knows which ones there are."""
MOST_KEPT = 10_000
REVIEWS_PER_SECOND = 100
"""Whoever can reach the endpoint may send rubbish; it must not become a flood of requests to the API server."""
REVIEWS_PER_ADDRESS = 5
MOST_ADDRESSES = 1000
SERVICE_ACCOUNT = "system:serviceaccount:"
POD_UID = "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True, slots=True)
class Sender:
    """A pod, by the API server's word."""

    namespace: str
    pod_uid: str


class TokenReviews:
    """Asks the API server whose a token is, each token once in a while."""

    def __init__(self, api: ApiServer, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._bucket = TokenBucket(REVIEWS_PER_SECOND, 2 * REVIEWS_PER_SECOND, clock)
        self._buckets: dict[str, TokenBucket] = {}
        self._kept: dict[bytes, tuple[float, Sender]] = {}

    async def sender(self, token: str, address: str) -> Sender | None:
        """The pod that `token` was made for, for us; None for any other token. `address`: where it comes from.

        Raises the errors of api_error.py.
        """
        digest = hashlib.sha256(token.encode()).digest()
        until, known = self._kept.get(digest, (0.0, None))
        if known is not None and self._clock() < until:
            return known
        if not (self._bucket_of(address).take_now() and self._bucket.take_now()):
            raise UnavailableError(429, "TooManyReviews", f"more than {REVIEWS_PER_SECOND} unknown tokens a second")
        found = read_sender(await self._api.review_token(token, PROGRESS_AUDIENCE))
        if found is not None:
            self._kept.pop(digest, None)
            self._kept[digest] = (self._clock() + REVIEW_KEPT_SECONDS, found)
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return found

    def _bucket_of(self, address: str) -> TokenBucket:
        """Of the reviews a second, one address has a part: rubbish from one pod leaves some to the others."""
        bucket = self._buckets.pop(address, None) or TokenBucket(
            REVIEWS_PER_ADDRESS, 2 * REVIEWS_PER_ADDRESS, self._clock
        )
        self._buckets[address] = bucket
        if len(self._buckets) > MOST_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket


def read_sender(review: K8sObject) -> Sender | None:
    """From a TokenReview that was answered. One without our audience comes from a server that did not check it."""
    status = review.get("status", {})
    user = status.get("user", {})
    if not status.get("authenticated") or PROGRESS_AUDIENCE not in status.get("audiences", []):
        return None
    kind, _, account = user.get("username", "").partition(SERVICE_ACCOUNT)
    pods = user.get("extra", {}).get(POD_UID, [])
    return Sender(account.partition(":")[0], pods[0]) if not kind and account and len(pods) == 1 else None
