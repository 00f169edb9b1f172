"""From an event to at most one write: watches, queue, workers, the reconciling shell. The same for every kind."""
