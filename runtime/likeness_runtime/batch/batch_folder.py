"""Where a batch keeps its books: `<output>/<namespace>/.batches/<name>/<revision>/`, beside what it publishes.

plan.json                    what there is to do; written last of the plan, so that what it names is there
plan-1.json                  the same of the second pass, whose shards are sorted by what the first one came to
shards/0-00000.jsonl         subjects to be worked on in pass 0, each with its line number
hand/0-00000.json            what is in hand of a shard that is worked on, in case that ends a process
quarantined.jsonl            lines that say no subject
skipped.jsonl                subjects that are as they were in an earlier revision
segments/0-00000.jsonl       what became of the subjects of shard 00000 in pass 0
results.jsonl failed.jsonl index.jsonl removed.jsonl report.html
"""

from __future__ import annotations

from pathlib import Path

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError, StorageMissingError
from likeness_runtime.storage.object_store import ObjectStore, ObjectTooLargeError

PLAN_NAME, RESULTS_NAME, REPORT_NAME = "plan.json", "results.jsonl", "report.html"
MOST_SHARD_BYTES = 64 * 2**20
JSON_LINES, JSON = "application/jsonl", "application/json"


class BatchFolder:
    """One revision's folder in the object store."""

    def __init__(self, store: ObjectStore, home: str, revision: int) -> None:
        self._store = store
        self._home = home
        self._revision = revision

    @property
    def home(self) -> str:
        """Where all revisions are, with its closing slash."""
        return self._home

    def of_revision(self, revision: int) -> BatchFolder:
        return BatchFolder(self._store, self._home, revision)

    @property
    def address(self) -> str:
        """With its closing slash."""
        return f"{self._home}{self._revision}/"

    def read(self, name: str) -> bytes | None:
        """A shard's part of the books, or the plan; None where there is no such object. Raises `RunError`."""
        try:
            return self._store.read(self.address + name, MOST_SHARD_BYTES)
        except StorageMissingError:
            return None
        except ObjectTooLargeError as error:
            message = f"{self.address}{name} has {error.size} bytes; expected at most {MOST_SHARD_BYTES}"
            raise RunError(Reason.SOURCE_UNREADABLE, message) from None

    def write(self, name: str, data: bytes, media_type: str = JSON_LINES) -> None:
        self._store.write(self.address + name, data, media_type)

    def upload(self, path: Path, name: str, media_type: str = JSON_LINES) -> None:
        """As `write`, from a file of any size."""
        self._store.upload(path, self.address + name, media_type)

    def delete(self, name: str) -> None:
        self._store.delete(self.address + name)

    def earlier(self) -> BatchFolder | None:
        """The newest revision before this one that came to an end."""
        ends = f"/{RESULTS_NAME}"
        found = [uri.removeprefix(self._home) for uri in self._store.list(self._home) if uri.endswith(ends)]
        revisions = [int(each.removesuffix(ends)) for each in found if each.removesuffix(ends).isdecimal()]
        newest = max((each for each in revisions if each < self._revision), default=None)
        return None if newest is None else BatchFolder(self._store, self._home, newest)

    def download(self, name: str, path: Path) -> None:
        """Raises `StorageMissingError`."""
        self._store.download(self.address + name, path)


def plan_name(which_pass: int) -> str:
    return f"plan-{which_pass}.json" if which_pass else PLAN_NAME


def shard_name(which_pass: int, index: int) -> str:
    return f"shards/{which_pass}-{index:05}.jsonl"


def hand_name(which_pass: int, index: int) -> str:
    return f"hand/{which_pass}-{index:05}.json"


def segment_name(which_pass: int, index: int) -> str:
    return f"segments/{which_pass}-{index:05}.jsonl"
