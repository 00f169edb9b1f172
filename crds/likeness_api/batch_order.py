"""What the pods of a PersonalizationBatch are told: the same for all of them; the pod's command says what it does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from likeness_api.accept import LOCAL_PREFIX, MOST_ORDER_BYTES, Refusal, order_storage
from likeness_api.field import DnsLabel
from likeness_api.order import BatchEraseOrder, EncodedOrder, OrderStorage, first_problem
from likeness_api.personalization_batch import MOST_PASSES, PersonalizationBatchSpec
from likeness_api.reason import Reason
from likeness_api.tuning import over_the_limits, resolve
from likeness_api.tuning_profile import Runtime, TuningProfileSpec, is_allowed


class BatchOrder(EncodedOrder):
    """One batch at one revision: its source, what its subjects share, and the profile that they are accepted by."""

    kind: Literal["BatchOrder"] = "BatchOrder"
    version: Literal[1] = 1
    namespace: DnsLabel
    name: DnsLabel
    spec: PersonalizationBatchSpec
    profile: TuningProfileSpec
    """Without where its pods run, which changes nothing of what comes out."""
    pass_index: Annotated[int, Field(ge=0, lt=MOST_PASSES)] = 0
    """Of which pass the shards are to be written; only who plans reads it."""

    @property
    def storage(self) -> OrderStorage:
        """Where pods may read and write."""
        return order_storage(self.profile.storage, self.namespace, local=False)


def accept_batch(
    name: str, namespace: str, spec: PersonalizationBatchSpec, profile: TuningProfileSpec, pass_index: int = 0
) -> BatchOrder | Refusal:
    """The order for a batch, or why there is none. Its subjects are accepted one by one when the source is read."""
    refusal = _misplaced(namespace, spec, profile) or _beyond_limits(spec, profile)
    if refusal:
        return refusal
    try:
        order = BatchOrder(
            namespace=namespace, name=name, spec=spec, profile=for_subjects(profile), pass_index=pass_index
        )
    except ValidationError as error:
        return Refusal(Reason.INVALID_SPEC, first_problem(error))
    text = order.encode()
    size = len(text.encode()) + text.count("$")  # which is doubled for the kubelet
    if size > MOST_ORDER_BYTES:
        return Refusal(
            Reason.LIMIT_EXCEEDED,
            f"the spec and its profile make an order of {size} bytes; expected at most {MOST_ORDER_BYTES}: shorten"
            " prompts or addresses, or have the profile's storage.caBundle shortened",
        )
    return order


def accept_batch_erase(name: str, namespace: str, output: str, profile: TuningProfileSpec) -> BatchEraseOrder | Refusal:
    """The order to erase what a batch published; the profile may have changed since then."""
    storage = order_storage(profile.storage, namespace, local=False)
    if not is_allowed(output, storage.output_prefixes, namespace):
        allowed = ", ".join(storage.output_prefixes) or "nothing"
        message = f"spec.template.output is {output}; the profile allows {allowed} and what is below"
        return Refusal(Reason.BUCKET_NOT_ALLOWED, message)
    try:
        return BatchEraseOrder(namespace=namespace, name=name, output=output, storage=storage)
    except ValidationError as error:
        return Refusal(Reason.INVALID_SPEC, first_problem(error))


def for_subjects(profile: TuningProfileSpec) -> TuningProfileSpec:
    """The part of a profile that decides what is accepted and what comes out."""
    runtime = Runtime(
        image=profile.runtime.image, device=profile.runtime.device, rows_per_pass=profile.runtime.rows_per_pass
    )
    return profile.model_copy(update={"runtime": runtime, "allowed_namespaces": None})


def _misplaced(namespace: str, spec: PersonalizationBatchSpec, profile: TuningProfileSpec) -> Refusal | None:
    """A refusal that names the first address outside of the profile's prefixes."""
    storage = profile.storage
    field = "source.manifest" if spec.source.manifest is not None else "source.prefix"
    source = spec.source.manifest or spec.source.prefix or ""
    for where, uri, prefixes in (
        (field, source, storage.source_prefixes),
        ("template.output", spec.template.output, storage.output_prefixes),
    ):
        if uri.startswith(LOCAL_PREFIX):
            return Refusal(Reason.INVALID_SPEC, f"spec.{where} is {uri}; expected an s3:// address in a cluster")
        if not is_allowed(uri, prefixes, namespace):
            allowed = ", ".join(prefix.replace("{namespace}", namespace) for prefix in prefixes)
            message = f"spec.{where} is {uri}; the profile allows {allowed} and what is below"
            return Refusal(Reason.BUCKET_NOT_ALLOWED, message)
    return None


def _beyond_limits(spec: PersonalizationBatchSpec, profile: TuningProfileSpec) -> Refusal | None:
    limits, template = profile.limits, spec.template
    if len(template.previews) > limits.previews:
        message = f"spec.template.previews has {len(template.previews)} entries; the profile's limit is"
        return Refusal(Reason.LIMIT_EXCEEDED, f"{message} {limits.previews}")
    for steps in spec.passes:
        tuning = template.tuning.model_copy(update={"steps": steps})
        over = over_the_limits(resolve(tuning, profile.defaults), limits)
        if over:
            return Refusal(Reason.LIMIT_EXCEEDED, over.replace("spec.tuning.steps", "spec.passes"))
    most = limits.ttl_seconds_after_finished
    if most is not None and spec.ttl_seconds_after_finished > most:
        asked = f"spec.ttlSecondsAfterFinished is {spec.ttl_seconds_after_finished}"
        return Refusal(Reason.LIMIT_EXCEEDED, f"{asked}; the profile's limit is {most}")
    if spec.passes[0] == 0 and profile.encoder is None:
        message = "spec.passes begins with 0, a prediction, but the profile's model has no encoder to predict with"
        return Refusal(Reason.NO_ENCODER, f"{message}; expected passes such as [12], or a profile with an encoder")
    wanted = spec.priority_class_name
    if wanted is not None and wanted not in limits.priority_class_names:
        allowed = ", ".join(limits.priority_class_names) or "none"
        message = f"spec.priorityClassName is {wanted}; the profile's limits.priorityClassNames has {allowed}"
        return Refusal(Reason.LIMIT_EXCEEDED, message)
    return None
