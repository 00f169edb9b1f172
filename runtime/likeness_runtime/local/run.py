"""`likeness run FILE...`: the same resources as in a cluster, fulfilled here and now, without one."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from likeness_api.accept import Refusal, accept, run_order
from likeness_api.field import StatusModel
from likeness_api.order import Order
from likeness_api.reason import EXIT_CODE_OF, ExitCode, Reason
from likeness_api.result import Result
from likeness_api.status import status_of
from likeness_api.tuning_profile import ModelSource, Runtime, Storage, TuningProfileSpec
from likeness_runtime.failure import InterruptedRunError, RunError
from likeness_runtime.local.documents import (
    BatchDocument,
    DocumentError,
    Documents,
    PersonalizationDocument,
    read_all,
)
from likeness_runtime.order.stop import Stop

if TYPE_CHECKING:
    from likeness_runtime.image.contact_sheet import SheetRow
    from likeness_runtime.method.progress import ProgressCallback
    from likeness_runtime.order.model_cache import ModelCache

USAGE_ERROR = 2
BUILT_IN = ModelSource(uri="builtin://pocket")
"""The model that ships with Likeness; under the same address its encoder."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Session:
    """What lasts from one Personalization to the next."""

    stop: Stop
    models: ModelCache
    sheet: list[SheetRow] | None
    """The contact sheet's rows; None where none is drawn."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("run", help="fulfil Personalizations and batches from YAML files")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="Personalizations or batches, maybe a TuningProfile; - is standard input",
    )
    parser.add_argument("--model", help="use this model folder (or s3:// address) instead of the profile's")
    parser.add_argument("--output", help="publish below this folder (or s3:// prefix) instead of spec.output")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw input, before and after side by side")
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    if arguments.model is not None and not arguments.model.strip():
        sys.stderr.write("likeness run: --model is empty; expected a folder or an s3:// address\n")
        return USAGE_ERROR
    try:
        documents = read_all(arguments.files)
    except DocumentError as error:
        sys.stderr.write(f"likeness run: {error}\n")
        return USAGE_ERROR
    from likeness_runtime.order.model_cache import ModelCache

    stop = Stop()
    stop.listen()
    session = _Session(stop, ModelCache(), None if arguments.contact_sheet is None else [])
    codes = []
    try:
        for document in documents.personalizations:
            placed = _with_output(document, arguments.output)
            codes.append(_fulfilled(placed, _order(placed, documents, arguments.model), session))
        for batch in documents.batches:
            codes.append(_batch(batch, documents, arguments, session))
        if session.sheet:
            _write_sheet(session.sheet, arguments.contact_sheet)
    except InterruptedRunError:
        log.warning("Interrupted; what was not finished is not published.")
        return int(ExitCode.TERMINATED)
    return next((code for code in codes if code), 0)


def profile_for(named: str | None, uris: list[str], documents: Documents) -> TuningProfileSpec | Refusal:
    """The named profile, else the default one, else the only one; the built-in one where the files hold none, for the
    buckets of these addresses.
    """
    if not documents.profiles and named is None:
        return built_in_profile(uris)
    for profile in documents.profiles:
        if profile.metadata.name == named or (named is None and (profile.spec.default or len(documents.profiles) == 1)):
            return profile.spec
    names = ", ".join(profile.metadata.name for profile in documents.profiles) or "none"
    reason = Reason.PROFILE_NOT_FOUND if named else Reason.NO_DEFAULT_PROFILE
    return Refusal(reason, f"spec.profile is {named or 'not given'}; the files hold {names}")


def built_in_profile(uris: list[str]) -> TuningProfileSpec:
    """Without a platform team: the model that ships with Likeness, and the buckets of these addresses."""
    buckets = sorted({_bucket(uri) for uri in uris if uri.startswith("s3://")})
    prefixes = buckets or ["s3://{namespace}"]  # a profile has to name one; nothing will be read from it
    return TuningProfileSpec(
        model=BUILT_IN,
        encoder=BUILT_IN,
        runtime=Runtime(image="none"),
        storage=Storage(source_prefixes=prefixes, output_prefixes=prefixes),
    )


def exit_code_of(result: Result | Refusal) -> int:
    """A refusal that the runtime has no word for is the input's fault."""
    return int(EXIT_CODE_OF.get(result.reason, ExitCode.INPUT_WRONG))


def _order(document: PersonalizationDocument, documents: Documents, model: str | None) -> Order | Refusal:
    uris = [*(image.uri for image in document.spec.subject.images), document.spec.output]
    profile = profile_for(document.spec.profile, uris, documents)
    if isinstance(profile, Refusal):
        return profile
    profile = _with_model(profile, model)
    return accept(document.metadata.name, document.metadata.namespace, document.spec, profile, local=True)


def _with_model(profile: TuningProfileSpec, model: str | None) -> TuningProfileSpec:
    """The encoder that ships fits the model that ships; a profile's own is taken to fit the other model, too."""
    if not model:
        return profile
    encoder = None if profile.encoder == BUILT_IN else profile.encoder
    return profile.model_copy(update={"model": ModelSource(uri=_address(model)), "encoder": encoder})


def _batch(document: BatchDocument, documents: Documents, arguments: argparse.Namespace, session: _Session) -> int:
    """Fulfils a batch and prints its status; returns the exit code."""
    from likeness_runtime.local.run_batch import LocalBatch
    from likeness_runtime.order.context import RunContext
    from likeness_runtime.storage.stores import Stores

    spec, source = document.spec, document.spec.source
    if arguments.output is not None:
        template = spec.template.model_copy(update={"output": _address(arguments.output)})
        spec = spec.model_copy(update={"template": template})
    uris = [uri for uri in (source.manifest, source.prefix, spec.template.output) if uri is not None]
    profile = profile_for(spec.template.profile, uris, documents)
    if isinstance(profile, Refusal):
        sys.stderr.write(f"likeness run: {document.metadata.name}: {profile.message}\n")
        return exit_code_of(profile)
    profile = _with_model(profile, arguments.model)
    storage = run_order(spec.template.tuning, profile, document.metadata.namespace, local=True).storage
    context = RunContext(Stores(storage, session.stop.sleep), _no_steps, session.stop.check, session.models)
    status, code = LocalBatch(document.metadata.name, document.metadata.namespace, spec, profile, context).run()
    _print(document, status)
    return code


def _no_steps(step: int, total: int) -> None:
    """A batch counts subjects."""


def _fulfilled(document: PersonalizationDocument, order: Order | Refusal, session: _Session) -> int:
    """Fulfils one order, prints its status and adds it to the sheet; returns the exit code.

    One at a time, also where several could share a forward pass: the same order gives the same bytes in any company.
    """
    started = datetime.now(UTC)
    result = order if isinstance(order, Refusal) else _result(order, session)
    _print(document, status_of(order, result, started, datetime.now(UTC)))
    if isinstance(order, Order) and isinstance(result, Result) and result.manifest and session.sheet is not None:
        try:
            session.sheet.extend(_sheet_rows(order, result, session))
        except RunError as failed:
            log.warning("%s is not on the contact sheet: %s.", order.subject.name, failed.message)
    return exit_code_of(result)


def _result(order: Order, session: _Session) -> Result:
    from likeness_runtime.order.context import RunContext
    from likeness_runtime.order.fulfil import fulfil
    from likeness_runtime.storage.stores import Stores

    stores = Stores(order.run.storage, session.stop.sleep)
    with _progress_bar(order.subject.name, session.stop) as progress:
        try:
            return fulfil(order, RunContext(stores, progress, session.stop.check, session.models))
        except RunError as error:
            return error.as_result()


@contextmanager
def _progress_bar(name: str, stop: Stop) -> Iterator[ProgressCallback]:
    """Shown from the first report on, so that an order that tunes nothing shows none."""
    from tqdm import tqdm

    bars: list[tqdm[NoReturn]] = []

    def progress(step: int, total: int) -> None:
        stop.check()
        if not bars:
            bars.append(tqdm(total=total, desc=name, unit="step"))
        bars[0].update(step - bars[0].n)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()


def _sheet_rows(order: Order, result: Result, session: _Session) -> list[SheetRow]:
    from likeness_runtime.local.before_and_after import sheet_rows
    from likeness_runtime.storage.stores import Stores

    stores = Stores(order.run.storage, session.stop.sleep)
    return sheet_rows(order, result, stores, session.models, session.stop.check)


def _write_sheet(rows: list[SheetRow], path: Path) -> None:
    from likeness_runtime.image.contact_sheet import sheet

    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows).save(path)


def _with_output(document: PersonalizationDocument, output: str | None) -> PersonalizationDocument:
    if output is None:
        return document
    return document.model_copy(update={"spec": document.spec.model_copy(update={"output": _address(output)})})


def _print(document: PersonalizationDocument | BatchDocument, status: StatusModel) -> None:
    content = {
        "apiVersion": document.api_version,
        "kind": document.kind,
        "metadata": {"name": document.metadata.name, "namespace": document.metadata.namespace},
        "status": status.to_json(),
    }
    sys.stdout.write("---\n" + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True))
    sys.stdout.flush()


def _bucket(uri: str) -> str:
    return "/".join(uri.split("/", 3)[:3])


def _address(text: str) -> str:
    return text if "://" in text else f"file://{Path(text).resolve()}"
