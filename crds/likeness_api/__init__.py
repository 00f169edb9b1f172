"""The types that the operator, the runtime and their users share. Needs pydantic and the standard library only."""

GROUP = "likeness.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
