"""Benchmarks: each command measures one claim and writes JSON with a picture beside it."""
