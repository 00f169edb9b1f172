from tiny_models import one_thread, photo, tiny_folders, tiny_model  # noqa: F401
