from pathlib import Path

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TinyKind
from likeness_runtime.method.encoder import Encoder, shape_for
from likeness_runtime.method.encoder_folder import CLIP, TrainedEncoder, save_encoder
from likeness_runtime.order.model_cache import ModelCache

CPU = torch.device("cpu")


def test_a_model_is_loaded_once_and_another_takes_its_place(tiny_folders: dict[TinyKind, Path]) -> None:
    models = ModelCache()
    first = models.model(tiny_folders["sd15"], "a", CPU)
    assert models.model(tiny_folders["sd15"], "a", CPU) is first
    assert models.model(tiny_folders["sd21"], "b", CPU) is not first
    assert models.model(tiny_folders["sd15"], "a", CPU) is not first


def test_the_one_that_was_not_used_for_longest_goes_first(tiny_folders: dict[TinyKind, Path]) -> None:
    models = ModelCache(capacity=2)
    first, second = (models.model(tiny_folders["sd15"], digest, CPU) for digest in "ab")
    assert models.model(tiny_folders["sd15"], "a", CPU) is first
    models.model(tiny_folders["sd15"], "c", CPU)
    assert models.model(tiny_folders["sd15"], "a", CPU) is first
    assert models.model(tiny_folders["sd15"], "b", CPU) is not second


def test_an_encoder_stays_with_its_model_until_another_is_used(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path
) -> None:
    models = ModelCache()
    model = models.model(tiny_folders["sd15"], "a", CPU)
    an_encoder(model, tmp_path)
    first = models.encoder(tmp_path, "e", model)
    assert models.encoder(tmp_path, "e", model) is first
    assert models.encoder(tmp_path, "f", model) is not first
    again = models.encoder(tmp_path, "e", model)
    models.model(tiny_folders["sd21"], "b", CPU)
    model = models.model(tiny_folders["sd15"], "a", CPU)
    assert models.encoder(tmp_path, "e", model) is not again


def an_encoder(model: DiffusionModel, folder: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=20,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    tower = CLIPVisionModelWithProjection(config).eval()
    encoder = Encoder(shape_for(model, tower, rank=2, width=16, layers=1, heads=2))
    save_encoder(folder, TrainedEncoder(encoder, tower, CLIP, []), model, {}, with_image_tower=True)
