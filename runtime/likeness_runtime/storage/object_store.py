"""One way to read and write bytes, whether they lie in a folder or in an object store.

`Stores` picks the store by an address's scheme; `check_allowed` is the second look at the profile's prefixes (the
operator had the first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from likeness_api.order import EraseOrder, Order, OrderStorage
from likeness_api.reason import Reason
from likeness_api.tuning_profile import is_allowed
from likeness_runtime.failure import RunError


class ObjectTooLargeError(Exception):
    """An object has more bytes than its reader takes; `size` is in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.size = size


class Store(Protocol):
    """What the runtime asks of a place. Every method raises `RunError` with a storage reason, and
    `StorageMissingError` where said.
    """

    def read(self, uri: str, limit_bytes: int) -> bytes:
        """The whole object.

        Raises `StorageMissingError`, and `ObjectTooLargeError` before reading more than `limit_bytes`.
        """

    def download(self, uri: str, path: Path) -> None:
        """The object into a file, whatever its size. Raises `StorageMissingError`."""

    def write(self, uri: str, data: bytes, media_type: str) -> None:
        """The object appears as a whole, over whatever was there.

        Raises `StorageMissingError` where there is no such bucket.
        """

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:
        """As `write`, but False and no change where there is an object already."""

    def delete(self, uri: str) -> None:
        """The object is gone; nothing happens where there was none.

        Raises `StorageMissingError` where there is no such bucket.
        """

    def list(self, prefix: str) -> Iterable[str]:
        """The addresses of all objects below `prefix` (which ends with a slash), in order.

        Raises `StorageMissingError`, too.
        """


class Stores:
    """The store of each scheme, opened on first use: a run on files never loads boto3."""

    def __init__(self, settings: OrderStorage, sleep: Callable[[float], None]) -> None:
        self._settings = settings
        self._sleep = sleep
        self._opened: dict[str, Store] = {}

    def of(self, uri: str) -> Store:
        scheme = uri.partition("://")[0]
        if scheme not in self._opened:
            self._opened[scheme] = self._open(scheme)
        return self._opened[scheme]

    def _open(self, scheme: str) -> Store:
        if scheme == "file":
            from likeness_runtime.storage.local import LocalStore

            return LocalStore()
        if scheme == "s3":
            from likeness_runtime.storage.s3 import S3Store, client_of

            return S3Store(client_of(self._settings), self._sleep)
        raise ValueError(f"address scheme is {scheme!r}; expected s3 or file")


def check_allowed(order: Order | EraseOrder) -> None:
    """Raises `RunError(BucketNotAllowed)` naming the first address outside of the order's prefixes."""
    images = [image.uri for image in order.images] if isinstance(order, Order) else []
    for index, uri in enumerate(images):
        _check(f"images[{index}]", uri, order.storage.source_prefixes, order.namespace)
    _check("output", order.output, order.storage.output_prefixes, order.namespace)


def _check(field: str, uri: str, prefixes: list[str], namespace: str) -> None:
    if not is_allowed(uri, prefixes, namespace):
        expected = ", ".join(prefixes) or "nothing"
        raise RunError(Reason.BUCKET_NOT_ALLOWED, f"order.{field} is {uri}; this run may use {expected}")
