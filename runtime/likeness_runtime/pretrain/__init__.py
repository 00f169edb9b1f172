"""Pre-training an encoder for a base model."""
