"""The text-to-image model: networks, text, adapters, drawing."""
