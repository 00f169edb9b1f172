"""From a batch's source to a plan in its folder, or to the plan that is there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likeness_api.batch_order import for_subjects
from likeness_api.order import Order
from likeness_api.personalization_batch import PersonalizationBatchSpec
from likeness_api.reason import Reason
from likeness_runtime.batch.batch_folder import PLAN_NAME, RESULTS_NAME, BatchFolder
from likeness_runtime.batch.picture_versions import picture_versions
from likeness_runtime.batch.plan import BatchPlan, EarlierResults, Planner, write_plan
from likeness_runtime.batch.source import Row, read_rows, rows_below
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine
from likeness_runtime.batch.template import OrderTemplate, fingerprint
from likeness_runtime.failure import RunError
from likeness_runtime.order.prepare import LocatedModels
from likeness_runtime.storage.stores import Stores
from likeness_runtime.version import CODE_VERSION, METHOD

LOCAL = "file://"


@dataclass(frozen=True)
class SourceReader:
    """Plans one revision of a batch."""

    spec: PersonalizationBatchSpec
    orders: OrderTemplate
    models: LocatedModels
    stores: Stores
    absolute: Callable[[Any], Any]
    """Makes whole addresses of those that a manifest gives relative to itself."""

    def plan(self, folder: BatchFolder, scratch: Path) -> BatchPlan:
        """The plan of this revision; made where there is none.

        Raises `RunError` where the source cannot be read, or where the revision was planned from something else.
        """
        source = scratch / "source"
        rows = self._rows(source)
        basis = self._basis(source)
        standing = folder.read(PLAN_NAME)
        if standing is not None:
            plan = BatchPlan.model_validate_json(standing)
            if plan.basis != basis:
                raise RunError(
                    Reason.INVALID_SPEC,
                    f"spec.revision is {self.spec.revision}, which was begun with another source, template or model;"
                    f" expected spec.revision: {self.spec.revision + 1} to read the source again",
                )
            return plan
        earlier = folder.earlier()
        if earlier is not None:
            earlier.download(RESULTS_NAME, scratch / "earlier")
        with (scratch / "earlier").open("rb" if earlier else "w+b") as results:
            planner = Planner(
                order=self._order,
                fingerprints=self._fingerprints,
                earlier=EarlierResults(results) if earlier else None,
                retry_failed=self.spec.retry_failed,
                scratch=scratch,
            )
            planner.read(rows)
            return write_plan(planner, folder, basis, self.models.model[1], self.spec.workers.max)

    def _rows(self, path: Path) -> Iterator[Row | Quarantined]:
        """Fetches the manifest to `path`; of a prefix, the list of what is below it."""
        manifest, prefix = self.spec.source.manifest, self.spec.source.prefix
        if manifest is not None:
            self.stores.of(manifest).download(manifest, path)
            rows = read_rows(path, manifest)
            return (
                row if isinstance(row, Quarantined) else Row(row.number, self.absolute(row.document)) for row in rows
            )
        assert prefix is not None
        below = prefix.rstrip("/") + "/"
        found = list(self.stores.of(below).list(below))
        path.write_text("\n".join(found))
        return rows_below(below, found)

    def _basis(self, source: Path) -> str:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        basis = {
            "source": content,
            "template": self.spec.template.to_json(),
            "passes": self.spec.passes,
            "retryFailed": self.spec.retry_failed,
            "profile": for_subjects(self.orders.profile).to_json(),
            "models": self._digests(),
            "code": CODE_VERSION,
            "method": METHOD,
        }
        return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()

    def _digests(self) -> list[str | None]:
        return [self.models.model[1], self.models.encoder[1] if self.models.encoder else None]

    def _order(self, number: int, line: SubjectLine) -> Order | Quarantined:
        source = self.spec.source.manifest or self.spec.source.prefix or ""
        if reaches_this_machine(line) and not source.startswith(LOCAL):
            message = "an image is a file:// address; expected s3:// in a manifest that comes from a bucket"
            return Quarantined(number, Reason.BUCKET_NOT_ALLOWED, message, id=line.id, subject=line.to_json())
        return self.orders.order(number, line, self.spec.passes[-1])

    def _fingerprints(self, orders: list[Order]) -> list[str]:
        versions = picture_versions((image.uri for order in orders for image in order.subject.images), self.stores)
        digests = self._digests()
        return [
            fingerprint(order, [versions[image.uri] or "" for image in order.subject.images], digests)
            for order in orders
        ]


def reaches_this_machine(line: SubjectLine) -> bool:
    """Whether a line names a file of this machine: whoever writes to a bucket has no business with those."""
    return any(image.uri.startswith(LOCAL) for image in line.images)
