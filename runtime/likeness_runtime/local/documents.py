"""The manifests that `likeness run` reads: the same YAML that kubectl applies, plus addresses relative to the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from likeness_api import API_VERSION
from likeness_api.field import DnsLabel, DnsSubdomain, Model, StatusModel
from likeness_api.order import first_problem
from likeness_api.personalization import PersonalizationSpec
from likeness_api.personalization_batch import PersonalizationBatchSpec
from likeness_api.tuning_profile import TuningProfileSpec
from likeness_runtime.local.bounded_yaml import STANDARD_INPUT, YamlError, read_yaml

RELATIVE = ("file://./", "file://../")


class Metadata(StatusModel):
    """Labels, uids and the like are the API server's business; here they are read over."""

    name: DnsSubdomain
    namespace: DnsLabel = "default"


class PersonalizationDocument(Model):
    api_version: Literal["likeness.dev/v1alpha1"]
    kind: Literal["Personalization"]
    metadata: Metadata
    spec: PersonalizationSpec


class BatchDocument(Model):
    api_version: Literal["likeness.dev/v1alpha1"]
    kind: Literal["PersonalizationBatch"]
    metadata: Metadata
    spec: PersonalizationBatchSpec


class TuningProfileDocument(Model):
    api_version: Literal["likeness.dev/v1alpha1"]
    kind: Literal["TuningProfile"]
    metadata: Metadata
    spec: TuningProfileSpec


Document = PersonalizationDocument | BatchDocument | TuningProfileDocument
DOCUMENT: TypeAdapter[Document] = TypeAdapter(Annotated[Document, Field(discriminator="kind")])


class DocumentError(Exception):
    """A file is not what `likeness run` takes; the message names the file, the document and the field."""


@dataclass(frozen=True)
class Documents:
    """All that was read, in the order of the files."""

    personalizations: list[PersonalizationDocument]
    batches: list[BatchDocument]
    profiles: list[TuningProfileDocument]


def read_all(paths: list[Path]) -> Documents:
    """Raises `DocumentError`."""
    found = [document for path in paths for document in read_documents(path)]
    return Documents(
        [document for document in found if isinstance(document, PersonalizationDocument)],
        [document for document in found if isinstance(document, BatchDocument)],
        [document for document in found if isinstance(document, TuningProfileDocument)],
    )


def read_documents(path: Path) -> Iterator[Document]:
    """The resources of a file, or of standard input for "-"; also as `kubectl get -o yaml` prints them, in lists."""
    try:
        contents = [content for content in read_yaml(path) if content is not None]
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}; expected a YAML file") from None
    except YamlError as error:
        raise DocumentError(f"{path}: {error}") from None
    if not contents:
        raise DocumentError(f"{path}: it holds no document; expected a Personalization or a PersonalizationBatch")
    folder = Path.cwd() if path == STANDARD_INPUT else path.parent
    for number, content in enumerate(contents, start=1):
        where = f"{path}, document {number}"
        if isinstance(content, dict) and content.get("kind") == "List" and isinstance(content.get("items"), list):
            for index, item in enumerate(content["items"]):
                yield _document(item, folder, f"{where}, items[{index}]")
        else:
            yield _document(content, folder, where)


def _document(content: Any, folder: Path, where: str) -> Document:
    if not isinstance(content, dict) or content.get("apiVersion") != API_VERSION:
        raise DocumentError(f"{where}: expected a resource with apiVersion {API_VERSION}")
    try:
        asked = {field: value for field, value in content.items() if field != "status"}
        return DOCUMENT.validate_python(absolute(asked, folder.resolve()))
    except ValidationError as error:
        raise DocumentError(f"{where}: {first_problem(error)}") from None


def absolute(content: Any, folder: Path) -> Any:
    """`file://./x` and `file://../x` mean "from this file's folder"; the types take whole addresses only."""
    if isinstance(content, dict):
        return {key: absolute(value, folder) for key, value in content.items()}
    if isinstance(content, list):
        return [absolute(value, folder) for value in content]
    if isinstance(content, str) and content.startswith(RELATIVE):
        return f"file://{(folder / content.removeprefix('file://')).resolve()}"
    return content
