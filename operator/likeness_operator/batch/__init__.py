"""PersonalizationBatches: the plan, the claims of shards, the workers and their number, the counts, the results."""
