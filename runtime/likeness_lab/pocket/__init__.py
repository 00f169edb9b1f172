"""Building the pocket world: the model, its encoder's pictures, its captions."""
