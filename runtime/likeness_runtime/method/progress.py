"""How a run says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told (steps done, steps in all) before the first step and after each; may raise to stop."""
