"""Several publishers of one order that take turns call by call, in an order drawn from a seed, and the store in memory
on which they meet.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from likeness_runtime.failure import InterruptedRunError, StorageMissingError
from likeness_runtime.storage.object_store import ObjectTooLargeError, ObjectVersion


class Turns:
    """Lets one thread at a time go on, to its next call."""

    def __init__(self, count: int, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311
        self._waiting: set[int] = set()
        self._alive = set(range(count))
        self._turn: int | None = None
        self._changed = threading.Condition()

    def take(self, who: int) -> None:
        """Returns when it is `who`'s turn."""
        with self._changed:
            self._waiting.add(who)
            self._choose()
            while self._turn != who:
                self._changed.wait(10)
            self._turn = None
            self._waiting.discard(who)

    def leave(self, who: int) -> None:
        with self._changed:
            self._alive.discard(who)
            self._choose()

    def _choose(self) -> None:
        """Once everybody waits: no thread is between two calls."""
        if self._turn is None and self._alive and self._waiting >= self._alive:
            self._turn = self._draw.choice(sorted(self._alive))
            self._changed.notify_all()


class MemoryStore:
    """The objects that several publishers share."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}


class Publisher:
    """One publisher's view of a `MemoryStore`: each call waits for its turn; before call `kill_at` it dies."""

    def __init__(self, shared: MemoryStore, turns: Turns, who: int, *, careless: bool, kill_at: int | None) -> None:
        self._objects = shared.objects
        self._turns = turns
        self._who = who
        self._careless = careless
        self._calls = 0
        self._kill_at = kill_at

    def _turn(self) -> None:
        if self._calls == self._kill_at:
            raise InterruptedRunError
        self._calls += 1
        self._turns.take(self._who)

    def read(self, uri: str, limit_bytes: int) -> bytes:
        self._turn()
        data = self._objects.get(uri)
        if data is None:
            raise StorageMissingError(f"{uri} does not exist")
        if len(data) > limit_bytes:
            raise ObjectTooLargeError(len(data))
        return data

    def write(self, uri: str, data: bytes, media_type: str) -> None:  # noqa: ARG002
        self._turn()
        self._objects[uri] = data

    def write_if_absent(self, uri: str, data: bytes, media_type: str) -> bool:  # noqa: ARG002
        self._turn()
        if uri in self._objects and not self._careless:
            return False
        self._objects[uri] = data
        return True

    def replace(self, uri: str, data: bytes, media_type: str, version: str) -> bool:  # noqa: ARG002
        self._turn()
        same = uri in self._objects and hashlib.sha256(self._objects[uri]).hexdigest() == version
        if same or self._careless:
            self._objects[uri] = data
        return same or self._careless

    def sizes(self, prefix: str) -> dict[str, int]:
        self._turn()
        return {uri.removeprefix(prefix): len(data) for uri, data in self._objects.items() if uri.startswith(prefix)}

    def list(self, prefix: str) -> Iterable[str]:
        self._turn()
        return sorted(uri for uri in self._objects if uri.startswith(prefix))

    def delete(self, uri: str) -> bool:
        self._turn()
        self._objects.pop(uri, None)
        return False

    def versions(self, prefix: str) -> None:  # noqa: ARG002
        return None

    def delete_version(self, version: ObjectVersion) -> None:
        raise AssertionError(version)

    def upload(self, path: Path, uri: str, media_type: str) -> None:
        self.write(uri, path.read_bytes(), media_type)

    def page(self, folder: str, after: str) -> None:  # noqa: ARG002 - as the protocol has it
        return None

    def version(self, uri: str) -> str | None:
        self._turn()
        return hashlib.sha256(self._objects[uri]).hexdigest() if uri in self._objects else None

    def download(self, uri: str, path: Path) -> None:
        path.write_bytes(self.read(uri, 2**40))


def race(
    publishers: list[Callable[[Publisher], object]], seed: int, *, careless: bool, kills: dict[int, int] | None = None
) -> MemoryStore:
    """Runs them to their ends, each in a thread of its own; what they leave behind. Raises what one of them raised, but
    for its death.
    """
    shared, turns = MemoryStore(), Turns(len(publishers), seed)
    failures: list[BaseException] = []

    def run(who: int) -> None:
        store = Publisher(shared, turns, who, careless=careless, kill_at=(kills or {}).get(who))
        try:
            publishers[who](store)
        except InterruptedRunError:
            pass
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)
        finally:
            turns.leave(who)

    threads = [threading.Thread(target=run, args=(who,)) for who in range(len(publishers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return shared
