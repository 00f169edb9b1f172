"""The method: predict, caption, tune."""
