"""Pictures: decoding them safely, fetching them, the views that tuning takes of them."""
