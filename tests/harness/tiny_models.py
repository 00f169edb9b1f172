"""Fixtures: tiny models, a photo-like picture, orders for them, and a real S3 server; made once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likeness_api.order import Order, OrderModel, OrderStorage, RunOrder, SubjectOrder
from likeness_api.personalization import SubjectImage
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.model import DiffusionModel, load_diffusion_model
from likeness_runtime.denoiser.tiny import TinyKind, make
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import fulfil
from likeness_runtime.order.stop import Stop
from likeness_runtime.storage.model_folder import folder_digest
from likeness_runtime.storage.stores import Stores
from seaweed import Seaweed

LoadTiny = Callable[[TinyKind], DiffusionModel]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and lose much where other programs want the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[TinyKind, Path]:
    kinds: tuple[TinyKind, ...] = ("sd15", "sd21", "sdxl")
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in kinds}
    for kind, folder in folders.items():
        make(folder, kind)
    return folders


@pytest.fixture(scope="session")
def tiny_model(tiny_folders: dict[TinyKind, Path]) -> LoadTiny:
    """Loads a tiny model once; tests leave it as it was."""
    loaded: dict[TinyKind, DiffusionModel] = {}

    def get(kind: TinyKind) -> DiffusionModel:
        if kind not in loaded:
            folder = tiny_folders[kind]
            loaded[kind] = load_diffusion_model(folder, folder_digest(folder), torch.device("cpu"))
        return loaded[kind]

    return get


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """Shapes, shading and grain: nothing a network has seen, nothing flat."""
    down, across = np.mgrid[0:96, 0:128] / 96.0
    red = 0.5 + 0.5 * np.sin(9.0 * across + 2.0 * down)
    disc = ((across - 0.7) ** 2 + (down - 0.5) ** 2 < 0.1).astype(float)
    pixels = np.stack([red, 0.3 + 0.6 * disc, 1.0 - 0.7 * down], axis=2)
    grain = np.random.default_rng(0).normal(0.0, 0.03, pixels.shape)
    return Image.fromarray((np.clip(pixels + grain, 0.0, 1.0) * 255).astype(np.uint8))


@pytest.fixture
def order(tiny_folders: dict[TinyKind, Path], photo: Image.Image, tmp_path: Path) -> Order:
    """A subject in a file, to be tuned on the tiny SD 1.x model in two steps."""
    photo.save(tmp_path / "photo.png")
    return an_order(tiny_folders["sd15"], tmp_path)


@pytest.fixture
def run(order: Order) -> RunContext:
    """A run that nobody stops."""
    return a_run(order)


@pytest.fixture(scope="session")
def published(
    tiny_folders: dict[TinyKind, Path], photo: Image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[TinyKind], Path]:
    """The artifact folder of a subject tuned so hard that every picture changes; made once for each kind of model."""
    folders: dict[TinyKind, Path] = {}

    def get(kind: TinyKind) -> Path:
        if kind not in folders:
            folder = tmp_path_factory.mktemp(f"published-{kind}")
            photo.save(folder / "photo.png")
            hard = ResolvedTuning(steps=3, batch_size=2, learning_rate="0.05", embedding_learning_rate="0.05", seed=7)
            order = altered(an_order(tiny_folders[kind], folder), tuning=hard)
            folders[kind] = Path(fulfil(order, a_run(order)).folder().removeprefix("file://"))
        return folders[kind]

    return get


def an_order(model: Path, folder: Path) -> Order:
    run = RunOrder(
        model=OrderModel(uri=f"file://{model}"),
        tuning=ResolvedTuning(steps=2, batch_size=2, seed=7),
        storage=OrderStorage(source_prefixes=["file://"], output_prefixes=["file://"]),
    )
    subject = SubjectOrder(
        namespace="shop",
        name="red-teapot",
        token="<red-teapot>",
        images=[SubjectImage(uri=f"file://{folder}/photo.png")],
        output=f"file://{folder}/out",
    )
    return Order(run=run, subject=subject)


def altered(order: Order, **fields: object) -> Order:
    """The order with these fields, each in that part of it which has it."""
    run = {name: value for name, value in fields.items() if name in RunOrder.model_fields}
    subject = {name: value for name, value in fields.items() if name in SubjectOrder.model_fields}
    assert len(run) + len(subject) == len(fields)
    return Order(run=order.run.model_copy(update=run), subject=order.subject.model_copy(update=subject))


def a_run(order: Order) -> RunContext:
    stop = Stop()
    return RunContext(Stores(order.run.storage, stop.sleep), lambda _step, _total: None, stop.check)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    yield server
    server.kill()
