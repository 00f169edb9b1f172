"""Judges of generated pictures that share nothing with the model they judge."""
