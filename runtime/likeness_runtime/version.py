"""Which code made an artifact."""

from importlib.metadata import version

CODE_VERSION = version("likeness-tuner")
METHOD = "dual-path/2"
"""Counted up whenever the same order would give other files: it is part of their digest."""
