"""The tuner: one picture in, a word embedding and LoRA weights out."""
