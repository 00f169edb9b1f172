"""The pure step from a Personalization and its profile to an Order, or to the reason why there is none.

The operator takes it for a cluster, `likeness run` without one; so both accept and refuse the same things.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from likeness_api.order import EraseOrder, Order, OrderModel, OrderStorage, RunOrder, SubjectOrder, first_problem
from likeness_api.personalization import PersonalizationSpec, default_token
from likeness_api.reason import Reason
from likeness_api.tuning import Tuning, over_the_limits, resolve
from likeness_api.tuning_profile import ModelSource, ProfileLimits, Storage, TuningProfileSpec, is_allowed

LOCAL_PREFIX = "file://"
MOST_ORDER_BYTES = 120_000


@dataclass(frozen=True)
class Refusal:
    """Why a Personalization gets no order; trying again with the same two objects would end the same way."""

    reason: Reason
    message: str
    can_change: bool = False
    """Whether an edit of the same Personalization can put it right."""


def accept(
    name: str,
    namespace: str,
    spec: PersonalizationSpec,
    profile: TuningProfileSpec,
    *,
    local: bool = False,
    subject_id: str | None = None,
) -> Order | Refusal:
    """The order for one Personalization, or for the subject of a catalogue that has this id. `local` lets `file://`
    addresses in, for runs without a cluster.
    """
    refusal = _beyond_limits(spec, profile) or _misplaced(spec, profile, namespace, local=local)
    if refusal:
        return refusal
    if profile.model.uri.startswith("s3://") and _cache(profile.model) is None and not local:
        return Refusal(
            Reason.INVALID_PROFILE,
            f"model.uri is {profile.model.uri}, but model.volume is missing; expected an emptyDir or a"
            " persistentVolumeClaim to fetch the model to",
        )
    try:
        run = run_order(spec.tuning, profile, namespace, local=local)
        subject = SubjectOrder(
            namespace=namespace,
            name=name,
            id=subject_id,
            token=spec.token or default_token(name),
            images=spec.subject.images,
            output=spec.output,
            previews=spec.previews,
        )
        order = Order(run=run, subject=subject)
    except ValidationError as error:
        return Refusal(Reason.INVALID_SPEC, first_problem(error))
    return _too_long(order) or order


def over_the_times(spec: PersonalizationSpec, limits: ProfileLimits) -> str | None:
    """A sentence naming the first time that is over the profile's limit, or None."""
    for field in ("active_deadline_seconds", "ttl_seconds_after_finished"):
        asked, most = getattr(spec, field), getattr(limits, field)
        if most is not None and asked > most:
            name = PersonalizationSpec.model_fields[field].alias
            return f"spec.{name} is {asked}; the profile's limit is {most}: set spec.{name} to {most} or less"
    return None


def _too_long(order: Order) -> Refusal | None:
    """The kernel takes 128 KiB in one variable of a process's environment, which the order is one of."""
    text = order.encode()
    size = len(text.encode()) + text.count("$")  # which is doubled for the kubelet
    if size <= MOST_ORDER_BYTES:
        return None
    return Refusal(
        Reason.LIMIT_EXCEEDED,
        f"the spec and its profile make an order of {size} bytes; expected at most {MOST_ORDER_BYTES}: shorten"
        " captions, prompts or addresses, or have the profile's storage.caBundle shortened",
    )


def run_order(tuning: Tuning, profile: TuningProfileSpec, namespace: str, *, local: bool = False) -> RunOrder:
    """The part of an order that does not depend on the subject."""
    return RunOrder(
        model=_order_model(profile.model),
        encoder=profile.encoder and _order_model(profile.encoder),
        tuning=resolve(tuning, profile.defaults),
        storage=order_storage(profile.storage, namespace, local=local),
        device=profile.runtime.device,
        rows_per_pass=profile.runtime.rows_per_pass,
    )


def accept_erase(
    name: str, namespace: str, spec: PersonalizationSpec, profile: TuningProfileSpec
) -> EraseOrder | Refusal:
    """The order to erase what was published for one Personalization; the profile may have changed since then."""
    storage = order_storage(profile.storage, namespace, local=False)
    if not is_allowed(spec.output, storage.output_prefixes, namespace):
        return _not_allowed("output", spec.output, storage.output_prefixes)
    try:
        return EraseOrder(name=name, namespace=namespace, output=spec.output, storage=storage)
    except ValidationError as error:
        return Refusal(Reason.INVALID_SPEC, first_problem(error))


def prompt_warning(order: Order) -> str | None:
    """A sentence about the first preview prompt without the token, or None. Worth a warning, not a refusal."""
    token = order.subject.token
    for index, preview in enumerate(order.subject.previews):
        if token not in preview.prompt:
            return (
                f"spec.previews[{index}].prompt is {preview.prompt!r:.200} and lacks {token};"
                " the preview will not show the subject"
            )
    return None


def _beyond_limits(spec: PersonalizationSpec, profile: TuningProfileSpec) -> Refusal | None:
    images, previews = len(spec.subject.images), len(spec.previews)
    if images > profile.limits.images:
        return Refusal(
            Reason.TOO_MANY_IMAGES,
            f"spec.subject.images has {images} entries; the profile's limit is {profile.limits.images}",
        )
    if previews > profile.limits.previews:
        return Refusal(
            Reason.LIMIT_EXCEEDED,
            f"spec.previews has {previews} entries; the profile's limit is {profile.limits.previews}",
        )
    over = over_the_limits(resolve(spec.tuning, profile.defaults), profile.limits)
    if over:
        return Refusal(Reason.LIMIT_EXCEEDED, over)
    late = over_the_times(spec, profile.limits)
    return Refusal(Reason.LIMIT_EXCEEDED, late, can_change=True) if late else None


def _misplaced(spec: PersonalizationSpec, profile: TuningProfileSpec, namespace: str, *, local: bool) -> Refusal | None:
    """A refusal that names the first address outside of the profile's prefixes."""
    storage = order_storage(profile.storage, namespace, local=local)
    named = [
        (f"subject.images[{i}].uri", image.uri, storage.source_prefixes) for i, image in enumerate(spec.subject.images)
    ]
    for field, uri, prefixes in [*named, ("output", spec.output, storage.output_prefixes)]:
        if not local and uri.startswith(LOCAL_PREFIX):
            return Refusal(Reason.INVALID_SPEC, f"spec.{field} is {uri}; expected an s3:// address in a cluster")
        if not is_allowed(uri, prefixes, namespace):
            return _not_allowed(field, uri, prefixes)
    return None


def _not_allowed(field: str, uri: str, prefixes: list[str]) -> Refusal:
    allowed = f"the profile allows {', '.join(prefixes)} and what is below"
    return Refusal(Reason.BUCKET_NOT_ALLOWED, f"spec.{field} is {uri}; {allowed}")


def order_storage(storage: Storage, namespace: str, *, local: bool) -> OrderStorage:
    """The profile's storage with `{namespace}` filled in; a local run may also use the whole file system."""

    def filled(prefixes: list[str]) -> list[str]:
        return [prefix.replace("{namespace}", namespace) for prefix in prefixes] + [LOCAL_PREFIX] * local

    return OrderStorage(
        endpoint=storage.endpoint,
        region=storage.region,
        path_style=storage.path_style,
        checksum_mode=storage.checksum_mode,
        ca_bundle=storage.ca_bundle,
        source_prefixes=filled(storage.source_prefixes),
        output_prefixes=filled(storage.output_prefixes),
    )


def _order_model(source: ModelSource) -> OrderModel:
    return OrderModel(uri=source.uri, digest=source.digest, cache=_cache(source))


def _cache(source: ModelSource) -> str | None:
    """Where a pod fetches an `s3://` model to: its volume, which the operator mounts at `mountPath`."""
    return source.volume.mount_path if source.volume and source.uri.startswith("s3://") else None
