"""The families of models that can be tuned: what each one's networks, text and published files are like."""
