from tiny_models import one_thread, order, photo, published, run, seaweed, tiny_folders, tiny_model  # noqa: F401
