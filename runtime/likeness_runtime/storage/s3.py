"""The store behind `s3://` addresses, on AWS and on S3-compatible servers.

Transient errors (no connection, 5xx, throttling) are retried here for about 75 s; the pod's own retries come after.
Credentials come from botocore's chain and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import boto3
from boto3.exceptions import RetriesExceededError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from likeness_api.order import OrderStorage
from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage.object_store import ObjectTooLargeError, ObjectVersion, VersionsPage

RETRY_DELAYS_SECONDS = (0.5, 1, 2, 4, 8, 10, 10, 10, 10, 10, 10)
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30

_Answer = TypeVar("_Answer")
Client = Any
"""boto3 makes its clients' classes at run time; there is no type to name."""

NOT_TOLD = (400, 403, 405, 501)
"""Answers to a question about versions: no right to ask, or no such thing."""
THROTTLING = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"}
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403"}


def client_of(settings: OrderStorage) -> Client:
    checksums: Literal["when_required", "when_supported"] = (
        "when_required" if settings.checksum_mode == "WhenRequired" else "when_supported"
    )
    return boto3.Session().client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        verify=_bundle_file(settings.ca_bundle),
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1, "mode": "adaptive"},  # a client that is told to slow down does, for all
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            s3={"addressing_style": "path" if settings.path_style else "auto"},
            user_agent_extra="likeness",
        ),
    )


class S3Store:
    def __init__(self, client: Client, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._sleep = sleep

    def read(self, uri: str, limit_bytes: int) -> bytes:
        bucket, key = bucket_and_key(uri)

        def get() -> bytes:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            if answer["ContentLength"] > limit_bytes:
                answer["Body"].close()
                raise ObjectTooLargeError(answer["ContentLength"])
            data: bytes = answer["Body"].read()
            return data

        return self._try(uri, get)

    def download(self, uri: str, path: Path) -> None:
        bucket, key = bucket_and_key(uri)
        self._try(uri, lambda: self._client.download_file(bucket, key, str(path)))

    def write(self, uri: str, data: bytes, media_type: str) -> None:
        self._try(uri, lambda: self._client.put_object(**_put(uri, data, media_type)))

    def upload(self, path: Path, uri: str, media_type: str) -> None:
        bucket, key = bucket_and_key(uri)
        extra = {"ContentType": media_type}
        self._try(uri, lambda: self._client.upload_file(str(path), bucket, key, ExtraArgs=extra))

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        def put() -> bool:
            try:
                self._client.put_object(**_put(uri, data, media_type), IfNoneMatch="*")
            except ClientError as error:
                if _status(error) == 412:
                    return False
                raise
            return True

        return self._try(uri, put)

    def replace(self, uri: str, data: bytes, media_type: str, version: str) -> bool:
        def put() -> bool:
            try:
                self._client.put_object(**_put(uri, data, media_type), IfMatch=version.partition(" ")[2])
            except ClientError as error:
                if _status(error) in (404, 412):
                    return False
                if _status(error) not in (400, 501):
                    raise
                self._client.put_object(**_put(uri, data, media_type))  # a server that knows no such condition
            return True

        return self._try(uri, put)

    def version(self, uri: str) -> str | None:
        bucket, key = bucket_and_key(uri)
        try:
            answer = self._try(uri, lambda: self._client.head_object(Bucket=bucket, Key=key))
        except StorageMissingError:
            return None
        return f"{answer['ContentLength']} {answer['ETag']}"

    def page(self, folder: str, after: str) -> VersionsPage | None:
        bucket, prefix = bucket_and_key(folder)
        start = bucket_and_key(after)[1]

        def listed() -> VersionsPage | None:
            try:
                answer = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/", StartAfter=start)
            except ClientError as error:
                if _status(error) in NOT_TOLD:
                    return None
                raise
            entries = answer.get("Contents", [])
            if any("ETag" not in entry for entry in entries) or (answer.get("IsTruncated") and not entries):
                return None
            versions = {f"s3://{bucket}/{entry['Key']}": f"{entry['Size']} {entry['ETag']}" for entry in entries}
            return VersionsPage(versions, max(versions) if answer.get("IsTruncated") else None)

        return self._try(folder, listed)

    def delete(self, uri: str) -> bool:
        bucket, key = bucket_and_key(uri)
        answer = self._try(uri, lambda: self._client.delete_object(Bucket=bucket, Key=key))
        return bool(answer.get("DeleteMarker") or answer.get("VersionId"))

    def versions(self, prefix: str) -> list[ObjectVersion] | None:
        bucket, start = bucket_and_key(prefix)

        def pages() -> list[ObjectVersion] | None:
            found = self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=start)
            try:
                parts = [part for page in found for part in (page.get("Versions", []), page.get("DeleteMarkers", []))]
            except ClientError as error:
                if _status(error) in NOT_TOLD:
                    return None
                raise
            return [ObjectVersion(f"s3://{bucket}/{each['Key']}", each["VersionId"]) for part in parts for each in part]

        return self._try(prefix, pages)

    def delete_version(self, version: ObjectVersion) -> None:
        bucket, key = bucket_and_key(version.uri)
        self._try(version.uri, lambda: self._client.delete_object(Bucket=bucket, Key=key, VersionId=version.id))

    def sizes(self, prefix: str) -> dict[str, int]:
        bucket, start = bucket_and_key(prefix)

        def pages() -> dict[str, int]:
            found = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
            entries = (entry for page in found for entry in page.get("Contents", []))
            return {entry["Key"].removeprefix(start): entry["Size"] for entry in entries}

        return self._try(prefix, pages)

    def list(self, prefix: str) -> Iterable[str]:
        bucket, start = bucket_and_key(prefix)

        def pages() -> list[str]:
            found = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
            return [f"s3://{bucket}/{entry['Key']}" for page in found for entry in page.get("Contents", [])]

        return sorted(self._try(prefix, pages))

    def _try(self, uri: str, call: Callable[[], _Answer]) -> _Answer:
        for delay in RETRY_DELAYS_SECONDS:
            try:
                return call()
            except (BotoCoreError, ClientError, HTTPError, RetriesExceededError) as error:
                failure = translate_error(uri, error)
                if failure.reason not in (Reason.STORAGE_UNAVAILABLE, Reason.STORAGE_THROTTLED):
                    raise failure from None
            self._sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - spreads the retries of many pods
        try:
            return call()
        except (BotoCoreError, ClientError, HTTPError, RetriesExceededError) as error:
            raise translate_error(uri, error) from None


def bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def translate_error(uri: str, error: Exception) -> RunError:
    """The `RunError` with a storage reason for an error of boto3, in words that a user can act on."""
    if isinstance(error, ClientError):
        return _refusal(uri, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        expected = (
            "expected a service account with a role, or a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the"
            " node's own role is used where the profile says storage.nodeIdentity: true"
        )
        return RunError(Reason.ACCESS_DENIED, f"{uri}: no usable credentials ({error}); {expected}")
    if isinstance(error, SSLError):
        return RunError(Reason.BAD_ORDER, f"{uri}: {error}; expected a certificate that storage.caBundle vouches for")
    if isinstance(error, ParamValidationError):
        return RunError(Reason.BAD_ORDER, f"{uri}: {' '.join(str(error).split())}")
    return RunError(Reason.STORAGE_UNAVAILABLE, f"{uri}: {' '.join(str(error).split())}")


def _refusal(uri: str, error: ClientError) -> RunError:
    code, status = error.response.get("Error", {}).get("Code", ""), _status(error)
    message = error.response.get("Error", {}).get("Message") or code
    bucket, key = bucket_and_key(uri)
    if code == "NoSuchBucket":
        return StorageMissingError(f"{uri}: there is no bucket {bucket!r}")
    if status == 404:
        return StorageMissingError(f"{uri}: there is no object {key!r} in bucket {bucket!r}")
    if status == 403 or code in REFUSED:
        return RunError(Reason.ACCESS_DENIED, f"{uri}: the object store refused these credentials ({code}: {message})")
    if code in THROTTLING or status == 429:
        return RunError(Reason.STORAGE_THROTTLED, f"{uri}: the object store asks to slow down ({code}: {message})")
    if status >= 500 or status in (408, 409) or code == "RequestTimeout":
        return RunError(Reason.STORAGE_UNAVAILABLE, f"{uri}: the object store answered {status} ({code}: {message})")
    return RunError(Reason.BAD_ORDER, f"{uri}: the object store answered {status} ({code}: {message})")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _put(uri: str, data: bytes, media_type: str) -> dict[str, Any]:
    bucket, key = bucket_and_key(uri)
    digest = hashlib.sha256(data)
    return {
        "Bucket": bucket,
        "Key": key,
        "Body": data,
        "ContentType": media_type,
        "ChecksumSHA256": base64.b64encode(digest.digest()).decode(),
        "Metadata": {"sha256": digest.hexdigest()},
    }


def _bundle_file(pem: str | None) -> str | None:
    """botocore takes certificates by path only, and reads it again for every connection: the file stays."""
    if pem is None:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".pem", prefix="likeness-ca-", delete=False) as file:
        file.write(pem)
    return file.name
