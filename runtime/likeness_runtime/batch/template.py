"""From a line of a catalogue to its order, by the same acceptance that a single Personalization has."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from likeness_api.accept import Refusal, accept
from likeness_api.order import Order, RunOrder
from likeness_api.personalization import PersonalizationSpec, Preview, Subject, default_token
from likeness_api.personalization_batch import ID_PLACE, TOKEN_PLACE, BatchTemplate
from likeness_api.subject_id import subject_name
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.batch.subject_line import Quarantined, SubjectLine
from likeness_runtime.version import CODE_VERSION, METHOD


@dataclass(frozen=True)
class OrderTemplate:
    """Makes the orders of a batch: equal in their run's part, so that any of its subjects may share forward passes."""

    namespace: str
    template: BatchTemplate
    profile: TuningProfileSpec
    local: bool

    def order(self, number: int, line: SubjectLine, steps: int) -> Order | Quarantined:
        """The order for a line, or why there is none."""
        token = line.token or default_token(subject_name(line.id))
        spec = PersonalizationSpec.model_construct(
            subject=Subject.model_construct(images=line.images),
            token=token,
            output=self.template.output,
            previews=[_filled(preview, token, line.id) for preview in self.template.previews],
            tuning=self.template.tuning.model_copy(update={"steps": steps}),
        )
        order = accept(subject_name(line.id), self.namespace, spec, self.profile, local=self.local, subject_id=line.id)
        if isinstance(order, Refusal):
            return Quarantined(number, order.reason, order.message[:512], id=line.id, subject=line.to_json())
        return order


def fingerprint(order: Order, pictures: list[str], models: list[str | None]) -> str:
    """SHA-256 over all that a subject's artifacts depend on, as far as it can be known without fetching a picture.

    `pictures`: what storage says each picture is now (its ETag, say); `models`: the digests of model and encoder.
    """
    basis = {
        "run": order.run.model_dump(mode="json", exclude={"storage", "device", "rows_per_pass"}),
        "subject": order.subject.model_dump(mode="json"),
        "pictures": pictures,
        "models": models,
        "code": CODE_VERSION,
        "method": METHOD,
    }
    return hashlib.sha256(json.dumps(basis, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_of(orders: list[Order]) -> RunOrder:
    """The part that all orders of a batch share."""
    run = orders[0].run
    assert all(order.run == run for order in orders)
    return run


def _filled(preview: Preview, token: str, subject_id: str) -> Preview:
    prompt = preview.prompt.replace(TOKEN_PLACE, token).replace(ID_PLACE, subject_id)
    return preview.model_copy(update={"prompt": prompt[:1024]})
