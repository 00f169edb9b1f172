"""How a run reports its progress."""

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Called with the steps done and the steps in all, before the first step and after each; may raise to stop."""
