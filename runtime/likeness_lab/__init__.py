"""The laboratory: benches, judges, and building the pocket model. In no image; the runtime never imports it."""
