"""Catalogues: many subjects of one source, tuned shard by shard, each published and accounted for on its own."""
