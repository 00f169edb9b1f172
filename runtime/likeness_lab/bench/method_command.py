"""The arguments of `likeness bench method`, `semantics`, `contexts`, `step` and `shapes`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench.condition import DRAWINGS, TELLINGS
from likeness_lab.failures import reporting_failures
from likeness_runtime.pocket import MODEL_PATH

if TYPE_CHECKING:
    from likeness_runtime.denoiser.model import DiffusionModel

DEFAULT_RANK = 4
"""Of the offsets where no encoder says one."""


def add_method(commands: Any) -> None:
    method = commands.add_parser("method", help="ours, its ablations and the baselines on held-out subjects")
    method.add_argument("--model", type=Path, default=MODEL_PATH, help="diffusers folder (default: the shipped one)")
    method.add_argument(
        "--encoder", type=Path, default=MODEL_PATH.parent / "encoder", help="(default: the shipped one)"
    )
    method.add_argument("--no-encoder", action="store_true", help="ours starts from the word 'object' instead")
    method.add_argument("--out", type=Path, required=True, help="folder; what it holds already is not measured again")
    method.add_argument("--subjects", type=int, default=40, help="held-out glyphs (default: %(default)s)")
    method.add_argument("--skip", type=int, default=0, help="glyphs before these, to sweep on others (%(default)s)")
    method.add_argument("--art", default="fluent", choices=("fluent", "noto"), help="of the glyphs (%(default)s)")
    method.add_argument("--photos", type=Path, help="folder of one folder a subject, to be measured as well")
    method.add_argument("--sweep", action="store_true", help="ours with one number changed at a time, nothing else")
    method.add_argument("--arm", action="append", help="only this arm; may be repeated (default: all)")
    method.add_argument("--steps", action="append", type=int, help="only these; may be repeated (default: all)")
    method.add_argument("--telling", action="append", choices=TELLINGS, help="only this one; may be repeated")
    method.add_argument("--drawing", action="append", choices=DRAWINGS, help="only this one; may be repeated")
    ours = ResolvedTuning()
    method.add_argument("--alpha", default=ours.alpha, help="blend of our dual path, a decimal (default: %(default)s)")
    method.add_argument("--rate", default=ours.learning_rate, help="our rate for LoRA, a decimal (%(default)s)")
    method.add_argument(
        "--embedding-rate", default=ours.embedding_learning_rate, help="our rate for the word, a decimal (%(default)s)"
    )
    method.add_argument("--dreambooth-rate", type=float, default=2e-4, help="DreamBooth-LoRA's rate (%(default)s)")
    method.add_argument("--pti-rate", default="0.001", help="PTI's rate for LoRA, a decimal (%(default)s)")
    method.add_argument(
        "--batch", type=int, default=ours.batch_size, help="draws of each of our steps (default: %(default)s)"
    )
    method.add_argument("--sampling-steps", type=int, default=25, help="(default: %(default)s)")
    method.add_argument("--bfloat16", action="store_true", help="every arm's pictures are drawn, none tuned, in it")
    method.add_argument("--seeds", type=int, default=2, help="pictures of each prompt (default: %(default)s)")
    _add_machine(method)
    method.set_defaults(handler=reporting_failures("bench", _method))


def add_semantics(commands: Any) -> None:
    semantics = commands.add_parser("semantics", help="what word and offsets mean: names, groups, swaps, other prompts")
    semantics.add_argument("--out", type=Path, required=True, help="folder for semantics.json")
    semantics.add_argument("--subjects", type=int, default=12, help="held-out glyphs (default: %(default)s)")
    semantics.add_argument("--skip", type=int, default=0, help="glyphs before these (default: %(default)s)")
    semantics.add_argument("--sampling-steps", type=int, default=25, help="(default: %(default)s)")
    semantics.add_argument("--bfloat16", action="store_true", help="pictures are drawn in it")
    _add_machine(semantics)
    semantics.set_defaults(
        handler=reporting_failures("bench", _semantics), model=MODEL_PATH, encoder=MODEL_PATH.parent / "encoder"
    )


def add_contexts(commands: Any) -> None:
    contexts = commands.add_parser("contexts", help="how often a picture's background is recognised, at which margin")
    contexts.add_argument("--out", type=Path, required=True, help="folder for contexts.json and twice.txt")
    contexts.add_argument("--subjects", type=int, default=31, help="held-out glyphs (default: %(default)s)")
    contexts.add_argument("--skip", type=int, default=40, help="glyphs before these (default: %(default)s)")
    _add_machine(contexts)
    contexts.set_defaults(
        handler=reporting_failures("bench", _contexts), model=MODEL_PATH, encoder=MODEL_PATH.parent / "encoder"
    )


def add_step(commands: Any) -> None:
    step = commands.add_parser("step", help="what a tuning step costs beside a bare pass of the same UNet")
    step.add_argument("--model", type=Path, default=MODEL_PATH, help="diffusers folder (default: the shipped one)")
    step.add_argument("--out", type=Path, required=True, help="folder for step.json")
    step.add_argument("--batch", type=int, default=4, help="rows of each step (default: %(default)s)")
    step.add_argument("--rounds", type=int, default=20, help="steps of each kind (default: %(default)s)")
    _add_machine(step)
    step.set_defaults(handler=reporting_failures("bench", _step))


def add_shapes(commands: Any) -> None:
    shapes = commands.add_parser("shapes", help="parameters and memory of SD 1.5, SD 2.1 and SDXL; no weights needed")
    shapes.add_argument("--out", type=Path, required=True, help="folder for shapes.json")
    shapes.add_argument("--run", action="store_true", help="also predict and take one step with random weights")
    shapes.add_argument("--resolution", type=int, default=64, help="of --run, in pixels (default: %(default)s)")
    shapes.set_defaults(handler=_shapes)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; waiting ones count as busy (%(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")


def _model(arguments: argparse.Namespace) -> DiffusionModel:
    """On the machine that the arguments name."""
    import torch

    from likeness_runtime.denoiser.model import load_diffusion_model
    from likeness_runtime.storage.model_folder import folder_digest

    torch.set_num_threads(arguments.threads)
    return load_diffusion_model(arguments.model, folder_digest(arguments.model), torch.device(arguments.device))


def _method(arguments: argparse.Namespace) -> int:
    import torch

    from likeness_lab.bench import method, summary, sweep
    from likeness_lab.bench.draw import Sampling
    from likeness_lab.bench.subject import held_out_subjects, photo_subjects
    from likeness_lab.judge import glyph
    from likeness_runtime.method.caption import recogniser
    from likeness_runtime.method.encoder_folder import load_encoder
    from likeness_runtime.method.from_encoder import FromEncoder
    from likeness_runtime.method.predictor import FromWord
    from likeness_runtime.storage.model_folder import folder_digest

    model = _model(arguments)
    trained = None if arguments.no_encoder else load_encoder(arguments.encoder, model)
    tuning = ResolvedTuning(
        alpha=arguments.alpha,
        learning_rate=arguments.rate,
        embedding_learning_rate=arguments.embedding_rate,
        batch_size=arguments.batch,
        rank=trained.encoder.shape.rank if trained else DEFAULT_RANK,
    )
    predictor = FromEncoder(trained) if trained else FromWord()
    if arguments.sweep:
        arms = sweep.variants(predictor, tuning)
    else:
        arms = method.arms(predictor, tuning, arguments.dreambooth_rate, arguments.pti_rate)
    known = list(dict.fromkeys(arm.name for arm in arms))
    unknown = sorted(set(arguments.arm or ()) - set(known))
    if unknown:
        sys.stderr.write(f"likeness bench method: --arm is {unknown[0]!r}; expected one of {'; '.join(known)}\n")
        return 2
    subjects = held_out_subjects(arguments.subjects, arguments.art, arguments.skip)
    subjects += photo_subjects(arguments.photos) if arguments.photos else []
    sampling = Sampling(arguments.sampling_steps, seeds=tuple(range(arguments.seeds)), bfloat16=arguments.bfloat16)
    wanted = arguments.arm or known
    chosen = [
        arm.only(arguments.steps, arguments.telling, arguments.drawing)
        for name in wanted
        for arm in arms
        if arm.name == name
    ]
    recognise = recogniser(trained, model) if trained else None
    method.measure_method(
        model, chosen, subjects, sampling, recognise=recognise, embed=glyph.embed_by_glyph, folder=arguments.out
    )
    setting = {
        "model": model.digest,
        "encoder": folder_digest(arguments.encoder) if trained else None,
        "tuning": tuning.to_json(),
        "dreamboothRate": arguments.dreambooth_rate,
        "ptiRate": arguments.pti_rate,
        "sampling": asdict(sampling),
        "device": arguments.device,
        "threads": torch.get_num_threads(),
    }
    sys.stdout.write(summary.write_summary(method.read_records(arguments.out), arguments.out, setting))
    return 0


def _semantics(arguments: argparse.Namespace) -> int:
    from likeness_lab.bench import semantics
    from likeness_lab.bench.arm import Stage, TunedArm
    from likeness_lab.bench.draw import Sampling
    from likeness_lab.bench.subject import BenchSubject, case, held_out_subjects
    from likeness_runtime.method.caption import recogniser
    from likeness_runtime.method.encoder_folder import load_encoder
    from likeness_runtime.method.from_encoder import FromEncoder

    model = _model(arguments)
    trained = load_encoder(arguments.encoder, model)
    recognise, ours = recogniser(trained, model), TunedArm(FromEncoder(trained), ResolvedTuning())

    def learn(subject: BenchSubject, steps: int) -> Stage:
        told_case = case(subject, "recognised", recognise)
        assert told_case is not None
        return ours(model, told_case, steps)

    report = semantics.measure_semantics(
        model,
        FromEncoder(trained),
        held_out_subjects(arguments.subjects, skip=arguments.skip),
        learn,
        steps=(0, 12),
        sampling=Sampling(arguments.sampling_steps, seeds=(0,), bfloat16=arguments.bfloat16),
    )
    sys.stdout.write(semantics.write_semantics(report, arguments.out))
    return 0


def _contexts(arguments: argparse.Namespace) -> int:
    from likeness_lab.bench.recognition import foreign_phrases, recognition, write_recognition
    from likeness_lab.pocket.caption import context_phrases
    from likeness_runtime.method.encoder_folder import load_encoder
    from likeness_runtime.pretrain.contexts_command import contexts_of

    model = _model(arguments)
    trained = load_encoder(arguments.encoder, model)
    twice = [*context_phrases(), *foreign_phrases()]
    lists = [contexts_of(None), contexts_of(None, twice)]
    found = [recognition(model, trained, each, arguments.skip, arguments.subjects) for each in lists]
    sys.stdout.write(write_recognition(found, arguments.out) + "\n")
    (arguments.out / "twice.txt").write_text("\n".join(twice) + "\n")
    return 0


def _step(arguments: argparse.Namespace) -> int:
    from likeness_lab.bench import step

    model = _model(arguments)
    report = step.measure_step(model, arguments.model.name, arguments.batch, arguments.rounds, alphas=(0.5, 0.8, 1.0))
    sys.stdout.write(step.write_step_report(report, arguments.out) + "\n")
    return 0


def _shapes(arguments: argparse.Namespace) -> int:
    from likeness_lab.bench import shapes
    from likeness_lab.bench.published import UNETS

    accounts = [shapes.account(name) for name in UNETS]
    runs = [shapes.ran(name, arguments.resolution) for name in UNETS] if arguments.run else []
    sys.stdout.write(shapes.write_shapes(accounts, runs, arguments.out) + "\n")
    return 0
