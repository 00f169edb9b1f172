"""From an order to published files: what the pod and `likeness run` do."""
