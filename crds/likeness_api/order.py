"""The orders that the operator gives the runtime, and all that the runtime may rely on."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from likeness_api.field import DnsLabel, LocalOrS3Uri, Model, ModelUri, Sha256, Token
from likeness_api.personalization import Preview, SubjectImage
from likeness_api.subject_id import SubjectId, folder_name
from likeness_api.tuning import MAX_IMAGES, MAX_PREVIEWS, ResolvedTuning, RowsPerPass, Seed
from likeness_api.tuning_profile import ShortText

ORDER_VARIABLE = "LIKENESS_ORDER"
"""The environment variable of the runtime's container that holds either order as JSON."""


class OrderModel(Model):
    uri: ModelUri
    digest: Sha256 | None = None
    cache: str | None = None
    """Folder that an s3:// model is fetched to."""


class OrderStorage(Model):
    """As in the profile; the prefixes have their namespace filled in. The runtime checks them a second time."""

    endpoint: ShortText | None = None
    region: ShortText = "us-east-1"
    path_style: bool = False
    checksum_mode: Literal["WhenSupported", "WhenRequired"] = "WhenSupported"
    ca_bundle: str | None = None
    source_prefixes: list[str]
    output_prefixes: list[str]


class EncodedOrder(Model):
    """As it goes through the environment of a container."""

    def encode(self) -> str:
        """Compact JSON, keys in a fixed order: equal orders are equal texts."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises ValueError with one sentence that names the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"order: {first_problem(error)}") from None


class RunOrder(Model):
    """What the subjects of one run share, so that they may go through the model side by side."""

    model: OrderModel
    encoder: OrderModel | None = None
    tuning: ResolvedTuning = ResolvedTuning()
    """Its seed is that of every subject that brings none of its own."""
    storage: OrderStorage
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rows_per_pass: RowsPerPass | None = None


class SubjectOrder(Model):
    """What is one subject's own."""

    namespace: DnsLabel
    name: DnsLabel
    """What its files are called."""
    id: SubjectId | None = None
    """What a catalogue calls it; its folder is named by it then, and by `name` otherwise."""
    token: Token
    images: Annotated[list[SubjectImage], Field(min_length=1, max_length=MAX_IMAGES)]
    output: LocalOrS3Uri
    previews: Annotated[list[Preview], Field(max_length=MAX_PREVIEWS)] = []
    seed: Seed | None = None
    """Of every random draw for this subject, in place of the run's: whatever company it is tuned in, the draws are the
    same ones.
    """

    @property
    def folder(self) -> str:
        """The name of its folder below `<output>/<namespace>/`."""
        return self.name if self.id is None else folder_name(self.id)


class Order(EncodedOrder):
    """To tune one subject and publish what was learned: a run's order and a subject's."""

    kind: Literal["Order"] = "Order"
    version: Literal[2] = 2
    run: RunOrder
    subject: SubjectOrder

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, document: Any) -> Any:
        return _version_2(document) if isinstance(document, dict) and document.get("version") == 1 else document

    @property
    def tuning(self) -> ResolvedTuning:
        """The run's numbers with the subject's own seed, where it has one."""
        seed = self.subject.seed
        return self.run.tuning if seed is None else self.run.tuning.model_copy(update={"seed": seed})


def _version_2(document: dict[str, Any]) -> dict[str, Any]:
    """A version 1 order, which had all fields side by side: a Job that an earlier operator made may still start one.

    An unknown field lands in the subject's part, which refuses it.
    """
    shared = {to_camel(name) for name in RunOrder.model_fields}
    head = {"kind": document.get("kind", "Order"), "version": 2}
    run = {name: value for name, value in document.items() if name in shared}
    subject = {name: value for name, value in document.items() if name not in shared and name not in head}
    return {**head, "run": run, "subject": subject}


class EraseOrder(EncodedOrder):
    """To erase whatever was published for a subject."""

    kind: Literal["EraseOrder"] = "EraseOrder"
    version: Literal[1] = 1
    namespace: DnsLabel
    name: DnsLabel
    output: LocalOrS3Uri
    storage: OrderStorage


class BatchEraseOrder(EncodedOrder):
    """To erase whatever was published for the subjects of a batch, in all of its revisions, and its books."""

    kind: Literal["BatchEraseOrder"] = "BatchEraseOrder"
    version: Literal[1] = 1
    namespace: DnsLabel
    name: DnsLabel
    output: LocalOrS3Uri
    storage: OrderStorage


def first_problem(error: ValidationError) -> str:
    """One sentence for a person: where, what was expected, what came."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "document"
    return f"{where}: {problem['msg']}; got {problem['input']!r:.100}"
