"""How much of what there is one namespace may have: never more than it leaves to all others."""

from __future__ import annotations

from collections import Counter


class FairShare:
    """Divides `capacity` (workers, bytes, objects: any count) among namespaces.

    Alone, a namespace gets half; beside it the next one gets half of what is left, and so on. So something is left for
    whoever comes, without a number that would have to fit small clusters and large ones.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: Counter[str] = Counter()
        self._total = 0

    def take(self, namespace: str, amount: int = 1) -> bool:
        """Takes `amount` more for a namespace, if that is not more than what is free."""
        if self._held[namespace] + amount > self._capacity - self._total:
            return False
        self._add(namespace, amount)
        return True

    def give_back(self, namespace: str, amount: int = 1) -> None:
        """Gives back what `take` got."""
        self._add(namespace, -amount)

    def _add(self, namespace: str, amount: int) -> None:
        self._total += amount
        self._held[namespace] += amount
        if not self._held[namespace]:
            del self._held[namespace]
