import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.model import DiffusionModel, device_named, load_diffusion_model
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.denoiser.tiny import TINY_KINDS, TinyKind
from likeness_runtime.failure import RunError
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.predictor import FromWord
from likeness_runtime.method.tune import tune, tuning_subject

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "family", "prediction_type"),
    [("sd15", "sd1", "epsilon"), ("sd21", "sd1", "v_prediction"), ("sdxl", "sdxl", "epsilon")],
)
def test_a_model_says_what_it_is(
    tiny_model: Callable[[TinyKind], DiffusionModel], kind: TinyKind, family: str, prediction_type: str
) -> None:
    model = tiny_model(kind)
    assert (model.names.family, model.noise.prediction_type, model.resolution_px) == (family, prediction_type, 64)
    assert len(model.text.encoders) == len(model.text.tokenizers) == (2 if kind == "sdxl" else 1)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_nothing_takes_gradients(tiny_model: Callable[[TinyKind], DiffusionModel], kind: TinyKind) -> None:
    model = tiny_model(kind)
    for network in (*model.networks, model.latent_space.network):
        assert not network.training
        assert not any(weight.requires_grad for weight in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY_KINDS)
def test_the_precision_of_a_gpu_tunes_and_draws(
    tiny_folders: dict[TinyKind, Path], photo: Image.Image, kind: TinyKind
) -> None:
    model = load_diffusion_model(tiny_folders[kind], "0" * 64, CPU, torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    start = FromWord().predict(model, [[photo]], 4, [generator])
    subject = tuning_subject(model, [photo], [sentences("<x>")], 64, generator)
    result = tune(model, start, [subject], "<x>", tuning=ResolvedTuning(steps=3), progress=lambda _step, _total: None)
    assert result.loss_after.isfinite().all()
    assert result.prediction.embeddings[0].dtype == torch.float32
    text = model.text.encode(model.text.tokenize(["a <x>"], "<x>"), result.prediction.embeddings)
    picture = draw_picture(model, text, seed=1, side_px=64, check=lambda: None)
    assert len(picture.getcolors(10_000) or []) > 100


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda folder: (folder / "unet" / "config.json").unlink(), "config.json", id="no config"),
        pytest.param(
            lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
            r"unet/ is without \*.safetensors",
            id="no weights",
        ),
        pytest.param(
            lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut"),
            "does not load",
            id="broken weights",
        ),
        pytest.param(
            lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer/ is without vocab.json", id="no tokenizer"
        ),
        pytest.param(
            lambda folder: edit(folder / "model_index.json", _class_name="FluxPipeline"), "'FluxPipeline'", id="other"
        ),
        pytest.param(
            lambda folder: edit(folder / "scheduler" / "scheduler_config.json", prediction_type="sample"),
            "'sample'; expected 'epsilon' or",
            id="prediction type",
        ),
    ],
)
def test_what_is_no_model_of_ours_is_said(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_folders["sd15"], folder)
    spoil(folder)
    with pytest.raises(RunError, match=words) as caught:
        load_diffusion_model(folder, "0" * 64, CPU)
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def edit(path: Path, **fields: str) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_cannot_be_ordered() -> None:
    assert device_named("auto") == device_named("cpu") == CPU
    with pytest.raises(RunError, match="no CUDA device") as caught:
        device_named("cuda")
    assert caught.value.reason == Reason.BAD_ORDER
