"""`likeness run`: the YAML of a cluster, fulfilled here and now."""
