"""One of our kinds of objects, as the API server addresses it."""

from __future__ import annotations

from dataclasses import dataclass

from likeness_api import API_VERSION

OUR_API = f"/apis/{API_VERSION}"


@dataclass(frozen=True)
class Resource:
    """A kind of ours that lives in namespaces."""

    kind: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The address of one object, of those in a namespace, or of all there are."""
        parts = [OUR_API, *(["namespaces", namespace] if namespace else []), self.plural, *([name] if name else [])]
        return "/".join(parts)
