"""Which object store an address belongs to."""

from __future__ import annotations

from collections.abc import Callable

from likeness_api.order import OrderStorage
from likeness_runtime.storage.object_store import ObjectStore


class Stores:
    """The object store of each address's scheme, opened on first use: a run on files never loads boto3."""

    def __init__(self, settings: OrderStorage, sleep: Callable[[float], None]) -> None:
        self._settings = settings
        self.sleep = sleep
        """Waits so many seconds, unless the run is told to end."""
        self._opened: dict[str, ObjectStore] = {}

    def of(self, uri: str) -> ObjectStore:
        scheme = uri.partition("://")[0]
        if scheme not in self._opened:
            self._opened[scheme] = self._open(scheme)
        return self._opened[scheme]

    def _open(self, scheme: str) -> ObjectStore:
        if scheme == "file":
            from likeness_runtime.storage.local import LocalStore

            return LocalStore()
        if scheme == "s3":
            from likeness_runtime.storage.s3 import S3Store, client_of

            return S3Store(client_of(self._settings), self.sleep)
        raise ValueError(f"address scheme is {scheme!r}; expected s3 or file")
