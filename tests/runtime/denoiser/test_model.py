import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from likeness_api.reason import Reason
from likeness_api.tuning import ResolvedTuning
from likeness_runtime.denoiser.model import DiffusionModel, device_named, load_diffusion_model
from likeness_runtime.denoiser.preview import draw_picture
from likeness_runtime.denoiser.tiny import TINY_KINDS, TINY_MAX_TOKENS, TinyKind
from likeness_runtime.failure import RunError
from likeness_runtime.method.forms import sentences
from likeness_runtime.method.predictor import FromWord
from likeness_runtime.method.tune import tune, tuning_subject
from likeness_runtime.storage.model_folder import INDEX

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
    subject = tuning_subject(model, [photo], [sentences("<x>")], 64, generator, token="<x>")
    result = tune(model, start, [subject], tuning=ResolvedTuning(steps=3), progress=lambda _step, _total: None)
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
    ],
)
def test_what_is_no_model_of_ours_is_said(copied: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(copied)
    with pytest.raises(RunError, match=words) as caught:
        load_diffusion_model(copied, "0" * 64, CPU)
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


SCHEDULER, UNET, VAE = "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        pytest.param(
            INDEX,
            {"scheduler": ["diffusers", "EDMDPMSolverMultistepScheduler"]},
            "scheduler is 'EDMDPMSolverMultistepScheduler'; expected one of a model that was trained with DDPM's noise",
            id="EDM scheduler",
        ),
        pytest.param(
            SCHEDULER, {"prediction_type": "sample"}, "prediction_type is 'sample'; expected 'epsilon' or", id="sample"
        ),
        pytest.param(
            SCHEDULER,
            {"prediction_type": "edm"},
            "prediction_type is 'edm'; expected 'epsilon' or",
            id="EDM prediction",
        ),
        pytest.param(
            VAE, {"latents_mean": [0.1, 0.2, 0.3, 0.4]}, r"latents_mean is \[0.1, .*; expected none", id="latents' mean"
        ),
        pytest.param(
            VAE, {"latents_std": [1.0, 2.0, 3.0, 4.0]}, r"latents_std is \[1.0, .*; expected none", id="latents' spread"
        ),
        pytest.param(UNET, {"sample_size": [16, 24]}, r"sample_size is \[16, 24\]; expected a number", id="no square"),
        pytest.param(UNET, {"sample_size": None}, "sample_size is None; expected a number", id="no size"),
    ],
)
def test_what_a_model_says_against_tuning_is_refused_by_file_and_field(
    copied: Path, file: str, fields: dict[str, object], words: str
) -> None:
    edit(copied / file, **fields)
    with pytest.raises(RunError, match=f"{re.escape(str(copied))}: {file}: {words}") as caught:
        load_diffusion_model(copied, "0" * 64, CPU)
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def test_a_unet_that_reads_a_picture_beside_the_noise_is_refused(copied: Path) -> None:
    nine = UNet2DConditionModel.from_config(json.loads((copied / UNET).read_bytes()) | {"in_channels": 9})
    nine.save_pretrained(copied / "unet")
    with pytest.raises(RunError, match=f"{UNET}: in_channels is 9; expected 4, the latent_channels of {VAE}") as caught:
        load_diffusion_model(copied, "0" * 64, CPU)
    assert caught.value.reason == Reason.MODEL_NOT_FOUND


def test_an_equal_height_and_width_are_one_size(copied: Path) -> None:
    edit(copied / UNET, sample_size=[16, 16])
    model = load_diffusion_model(copied, "0" * 64, CPU)
    assert (model.resolution_px, model.denoiser.latent_shape) == (64, (4, 16, 16))


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_tokenizer_that_names_no_length_gets_its_text_encoders(
    tiny_folders: dict[TinyKind, Path], tmp_path: Path, kind: TinyKind
) -> None:
    copied = shutil.copytree(tiny_folders[kind], tmp_path / "copy")
    for file in copied.glob("tokenizer*/tokenizer_config.json"):
        content = json.loads(file.read_bytes())
        del content["model_max_length"]
        file.write_text(json.dumps(content))
    model = load_diffusion_model(copied, "0" * 64, CPU)
    assert [each.model_max_length for each in model.text.tokenizers] == [TINY_MAX_TOKENS] * len(model.text.encoders)
    assert model.text.encode_plain(["a cat"]).states.shape[1] == TINY_MAX_TOKENS


@pytest.fixture
def copied(tiny_folders: dict[TinyKind, Path], tmp_path: Path) -> Path:
    """A tiny SD 1.x model that may be changed."""
    return shutil.copytree(tiny_folders["sd15"], tmp_path / "copy")


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_cannot_be_ordered() -> None:
    assert device_named("auto") == device_named("cpu") == CPU
    with pytest.raises(RunError, match="no CUDA device") as caught:
        device_named("cuda")
    assert caught.value.reason == Reason.BAD_ORDER
