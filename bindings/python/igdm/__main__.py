"""The command line: ``python -m igdm {distill,evaluate,report,convert,info}``.

Results go to stdout, progress and errors to stderr. Exit status: 0 done, 2 bad arguments, 130 Ctrl-C, 1 anything else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

import igdm
from igdm import comparison, report, runs
from igdm._structures import number, positive
from igdm.convert import command as conversion
from igdm.convert.files import require_writable, required
from igdm.datasets import SPECIFICATIONS, Dataset, TrainTest, open_source, open_specification
from igdm.ensemble import version_options
from igdm.evaluation import Evaluation, format_table
from igdm.options import TrainingOptions

EXACT = "without Winograd's convolutions: smaller rounding errors, more time"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = _Parser(prog="igdm", description="Adversarially robust distillation with IGDM.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{distill,evaluate,report,convert,info}")
    _add_distill(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_convert(commands)
    _add_info(commands)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="igdm: %(message)s", level=logging.WARNING)
    try:
        if given.threads is not None:
            igdm.set_threads(given.threads)
        given.run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("igdm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone. Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (igdm.InvalidArgument, igdm.ShapeError, TypeError) as error:
        print(f"igdm: error: {_printable(str(error))}", file=sys.stderr)
        return 2
    except (igdm.IgdmError, OSError) as error:
        print(f"igdm: error: {_printable(str(error))}", file=sys.stderr)
        return 1
    return 0


# -- distill


def _add_distill(commands: Any) -> None:
    parser = commands.add_parser(
        "distill",
        help="train a student and write a run folder",
        description="Trains a student and writes a folder: config.json, metrics.csv, last.h5, best.h5, report.html. "
        "Ctrl-C ends the batch and keeps it; --resume goes on. Options left out have the library's defaults, which "
        "`igdm info` lists.",
    )
    parser.set_defaults(run=_distill)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the run folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a run that the folder has already")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the folder, with which all other options must agree; without one, begin it",
    )
    parser.add_argument("--config", metavar="FILE", help="repeat the run of this config.json; other options change it")
    parser.add_argument("--data", metavar="DATA", help=f"training data: {SPECIFICATIONS}")
    parser.add_argument("--train-count", type=int, metavar="N", help="train on the first N samples")
    parser.add_argument(
        "--validation",
        metavar="DATA",
        help="validation data, or none; by default the test part of --data where it has one",
    )
    parser.add_argument(
        "--validation-split",
        type=float,
        metavar="N",
        help="validate on N training samples instead, or on that part of them (0.1), and train on the others",
    )
    parser.add_argument(
        "--stratified",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="of --validation-split: of each class its part; --no-stratified: the last N samples",
    )
    parser.add_argument(
        "--generated", metavar="DATA", help="images to mix into the batches, by --generated-ratio; or none"
    )
    parser.add_argument("--patience", type=int, metavar="N", help="stop when N epochs brought no better validation")
    parser.add_argument(
        "--checkpoint-minutes", type=float, metavar="N", help="minutes between checkpoints within an epoch (10)"
    )
    parser.add_argument("--teacher", metavar="FILE", help="checkpoint of the teacher, or none")
    parser.add_argument("--clean-teacher", metavar="FILE", help="mtard: checkpoint of the teacher for clean images")
    parser.add_argument(
        "--student",
        metavar="MODEL",
        help="architecture of the student, its weights drawn from --seed; or a checkpoint (.h5)",
    )
    parser.add_argument("--width", type=int, help="channels of the student's first stage")
    parser.add_argument("--exact", action=argparse.BooleanOptionalAction, help=f"student and teacher {EXACT}")
    parser.add_argument("--attacks", metavar="LIST", help="evaluate afterwards under these attacks: fgsm,pgd-20,cw")
    parser.add_argument("--eval-count", type=int, metavar="N", help="evaluate on the first N validation samples")
    group = parser.add_argument_group("training options")
    for name, annotated in get_type_hints(TrainingOptions, include_extras=True).items():
        if name == "steps_per_epoch":
            continue  # for hosts that bring their own batches
        kind, meaning = get_args(annotated)
        group.add_argument("--" + name.replace("_", "-"), help=meaning, **_argument_kind(kind))
    _add_common(parser)


def _argument_kind(kind: Any) -> dict[str, Any]:
    """How argparse reads a type of TrainingOptions: a union with None, as None means the library's default."""
    types = [one for one in get_args(kind) if one is not type(None)]
    if bool in types:
        return {"action": argparse.BooleanOptionalAction}
    if Sequence[int] in types:
        return {"type": int, "nargs": "*", "metavar": "EPOCH"}
    if str in types:
        return {"metavar": "NUMBER" if float in types else "NAME"}
    return {"type": types[0], "metavar": "N" if types[0] is int else "NUMBER"}


def _distill(given: argparse.Namespace) -> None:
    for name in ("train_count", "eval_count"):
        if getattr(given, name) is not None:
            positive(name, getattr(given, name))
    if given.eval_count is not None and given.attacks is None:
        raise igdm.InvalidArgument(f"eval_count: got {given.eval_count} without attacks, want --attacks with it")
    recorded = Path(given.output) / "config.json"
    source = given.config or (recorded if given.resume and recorded.exists() else None)
    config = runs.read_config(source) if source is not None else None
    if given.resume and config is None and given.data is None:
        raise igdm.InvalidArgument(f"resume: got no run in {given.output} to go on with, nor --data to begin one")
    train, validation = _training_data(given, config)
    if given.attacks is not None and validation is None:
        raise igdm.InvalidArgument("attacks: got no validation data to evaluate on; give --validation")
    teacher = _teacher(given, config, "teacher")
    clean_teacher = _teacher(given, config, "clean_teacher")
    student = _student(given, config, train)
    for model in (student, teacher, clean_teacher):
        if model is not None and given.exact is not None:
            model.exact = given.exact
    options: dict[str, Any] = dict(config["options"]) if config else {}
    options |= {
        name: value for name in TrainingOptions.__annotations__ if (value := getattr(given, name, None)) is not None
    }
    generated = _generated(given, config)
    if generated is None and given.generated_ratio is None:
        options.pop("generated_ratio", None)  # of a repeated run that had some
    if clean_teacher is not None and teacher is None:
        raise igdm.InvalidArgument("teacher: got none beside the clean teacher; want the robust one")
    teachers = [clean_teacher, teacher] if clean_teacher is not None and teacher is not None else teacher
    run = igdm.distill(
        student, teachers, train, validation=validation, generated=generated,
        patience=_run_option(given, config, "patience", None),
        checkpoint_minutes=_run_option(given, config, "checkpoint_minutes", 10), run_dir=given.output,
        resume=given.resume, overwrite=given.overwrite, progress=not given.quiet, **options,
    )  # fmt: skip
    folder = Path(given.output)
    if given.attacks is not None:
        contenders = [
            _judged(given, one, validation, teacher, run.options["eps"])
            for one in report.contenders_of_run(folder, student, run.history)
        ]
        report.write_run(folder, contenders, teacher=teacher, train=train, validation=validation, options=run.options)
    names = ["config.json", "metrics.csv", "last.h5", "best.h5", "report.html"]
    names = [name for name in names if (folder / name).exists()]
    print(f"wrote {given.output}: {', '.join(names)}")


def _judged(
    given: argparse.Namespace, one: report.Contender, data: Dataset | None, teacher: igdm.Model | None, eps: Any
) -> report.Contender:
    """The contender with its evaluation, which is printed and written."""
    assert data is not None and one.model is not None
    evaluation = igdm.evaluate(
        one.model, data, attacks=given.attacks, eps=eps, count=given.eval_count, teacher=teacher,
        progress=not given.quiet,
    )  # fmt: skip
    name = "evaluation.json" if one.history else "evaluation-best.json"
    runs.write_json(Path(given.output) / name, evaluation.to_dict())
    print(evaluation if one.history else f"\n{one.name}:\n{evaluation}")
    return dataclasses.replace(one, evaluation=evaluation)


def _run_option(given: argparse.Namespace, config: dict[str, Any] | None, name: str, default: Any) -> Any:
    value = getattr(given, name)
    return value if value is not None else (config or {}).get(name, default)


def _training_data(given: argparse.Namespace, config: dict[str, Any] | None) -> tuple[Dataset, Dataset | None]:
    validation: Dataset | None = None
    if given.data is not None:
        data = open_specification(given.data)
        train, validation = data if isinstance(data, TrainTest) else (data, None)
    elif config is not None:
        train = open_source(config["train"])
        if config["validation"] is not None and given.validation is None:
            validation = open_source(config["validation"])
    else:
        raise igdm.InvalidArgument("data: got none, want --data or --config")
    if given.validation is not None:
        validation = None if given.validation == "none" else _part(open_specification(given.validation), "test")
    if given.train_count is not None:
        train = train[: given.train_count]
    if given.validation_split is not None:
        if given.validation is not None:
            raise igdm.InvalidArgument("validation_split: got validation data too, want one of the two")
        return train.hold_out(given.validation_split, stratified=given.stratified)
    return train, validation


def _generated(given: argparse.Namespace, config: dict[str, Any] | None) -> Dataset | None:
    if given.generated is not None:
        return None if given.generated == "none" else _part(open_specification(given.generated), "train")
    if config is not None and config["generated"] is not None:
        return open_source(config["generated"])
    return None


def _teacher(given: argparse.Namespace, config: dict[str, Any] | None, role: str) -> igdm.Model | None:
    file = getattr(given, role)
    if file is not None:
        return None if file == "none" else igdm.Model.load(file, exact=_was_exact(config, role))
    if config is not None and config[role] is not None:
        return runs.load_recorded(role, config[role])
    return None


def _student(given: argparse.Namespace, config: dict[str, Any] | None, train: Dataset) -> igdm.Model:
    if given.student is not None and given.student.endswith(".h5"):
        return igdm.Model.load(given.student, exact=_was_exact(config, "student"))
    if given.student is None and given.width is None and config is not None:
        return runs.load_recorded("student", config["student"])
    architecture = given.student or (config["student"]["architecture"] if config else None)
    if architecture is None:
        raise igdm.InvalidArgument("student: got none, want --student or --config")
    seed = given.seed if given.seed is not None or config is None else config["options"].get("seed")
    return igdm.Model(
        architecture, classes=train.classes, input_shape=train.image_shape, width=given.width, seed=seed,
        exact=_was_exact(config, "student"),
    )  # fmt: skip


def _was_exact(config: dict[str, Any] | None, role: str) -> bool:
    """Whether the model that another one stands in for was exact."""
    return config is not None and config[role] is not None and config[role].get("exact", False)


# -- evaluate


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate", help="measure accuracy under attacks", description="Measures a checkpoint's accuracy under attacks."
    )
    parser.set_defaults(run=_evaluate)
    parser.add_argument("model", metavar="MODEL", help="checkpoint (.h5)")
    parser.add_argument("--data", required=True, metavar="DATA", help=SPECIFICATIONS)
    parser.add_argument("--split", choices=["test", "train"], default="test", help="part of data that has two (test)")
    parser.add_argument(
        "--attacks",
        metavar="LIST",
        help='such as fgsm,pgd-20,cw or apgd-ce,square-1000; "" = clean only; autoattack alone: its table and '
        "warnings; corruptions alone: all fifteen at five severities, of all images",
    )
    parser.add_argument(
        "--version", metavar="NAME", help="of autoattack: standard, plus, rand or custom:LIST (custom:apgd-ce,square)"
    )
    parser.add_argument("--state", metavar="FILE", help="of autoattack: keep its progress there, and go on from it")
    parser.add_argument(
        "--eps",
        metavar="NUMBER",
        help='radius: a number or a fraction such as "8/255"; several, "0.02,0.05,0.1": a sweep',
    )
    parser.add_argument("--step", metavar="NUMBER", help="step size; 0 = eps/4")
    parser.add_argument(
        "--target", metavar="CLASS", help="class to reach: least-likely, random, a number, or FILE.npy: one a sample"
    )
    parser.add_argument("--samples", metavar="FILE", help="write what the attacks find, sample by sample (HDF5)")
    parser.add_argument("--report", metavar="FILE", help="write a page: table, images, curves of a sweep (HTML)")
    parser.add_argument("--norm", metavar="NAME", help="linf, l2 or l1; l0 for fmn")
    parser.add_argument("--restarts", type=int, metavar="N", help="independent runs of each attack")
    parser.add_argument("--count", type=int, metavar="N", help="the first N samples; 0 = all")
    parser.add_argument("--batch-size", type=int, metavar="N", help="changes speed and memory only")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random starts, of corruptions")
    parser.add_argument(
        "--random-start", action=argparse.BooleanOptionalAction, default=None, help="begin at random in the ball"
    )
    parser.add_argument("--eot", type=int, metavar="N", help="passes over which gradients are averaged (random models)")
    parser.add_argument("--loss", metavar="NAME", help="of pgd and its kind: ce, margin, dlr or kl")
    parser.add_argument("--kappa", type=float, metavar="X", help="confidence of the margin loss, of cw too (50)")
    parser.add_argument("--targets", type=int, metavar="N", help="classes that apgd-t and fab-t go for (9)")
    parser.add_argument(
        "--tuning",
        action="append",
        type=_setting,
        metavar="NAME=VALUE",
        help="of the attacks: rho, fab_alpha, momentum_decay, ... (igdm_attack_tuning, igdm_search_tuning); repeatable",
    )
    parser.add_argument("--teacher", metavar="FILE", help="compare the input gradients with this checkpoint's")
    parser.add_argument("--exact", action="store_true", help=f"model and teacher {EXACT}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _add_common(parser)


def _setting(text: str) -> tuple[str, float]:
    """NAME=VALUE."""
    name, _, value = text.partition("=")
    try:
        return name, int(value) if value.strip("+-").isdecimal() else number(name, value)
    except (igdm.InvalidArgument, ValueError):
        raise argparse.ArgumentTypeError(f"got {text!r}, want NAME=VALUE with a number") from None


def _evaluate(given: argparse.Namespace) -> None:
    if given.attacks == "corruptions":
        _refuse_with_corruptions(given)
    inputs = [("MODEL", given.model), ("teacher", given.teacher), ("target", given.target)]
    inputs += [("data", path) for path in given.data.partition(":")[2].split(",")]
    _require_outputs(given, ("report", "samples", "state"), inputs)
    if given.samples is not None:
        required("h5py")
    model = igdm.Model.load(given.model, exact=given.exact)
    teacher = None if given.teacher is None else igdm.Model.load(given.teacher, exact=given.exact)
    data = _part(open_specification(given.data), given.split)
    if given.attacks == "corruptions":
        _tell(given, _measure_corruptions(given, model, data))
        return
    measure = _measure_ensemble if given.attacks == "autoattack" else _measure
    result = measure(given, model, teacher, data)
    _tell(given, result)
    if given.report is not None:
        _write_report(given.report, model, teacher, data, result)


def _require_outputs(given: argparse.Namespace, names: Sequence[str], inputs: list[tuple[str, str | None]]) -> None:
    """Refuses files that could not be written, and any that would take the place of another file of the call."""
    taken = {os.path.realpath(path): name for name, path in inputs if path}
    for name in names:
        path = getattr(given, name)
        if path is None:
            continue
        require_writable(name, Path(path))
        # Of a sweep each radius has a state file of its own.
        is_swept = name == "state" and _is_sweep(given)
        for one in [f"{path}.{i}" for i in range(given.eps.count(",") + 1)] if is_swept else [path]:
            if (other := taken.setdefault(os.path.realpath(one), name)) != name:
                raise igdm.InvalidArgument(f"{name}: got {one}, which is {other} too, want a file of its own")


def _measure(
    given: argparse.Namespace, model: igdm.Model, teacher: igdm.Model | None, data: Dataset
) -> Evaluation | igdm.Sweep:
    for name in ("version", "state"):
        if getattr(given, name) is not None:
            raise igdm.InvalidArgument(f"{name}: got {getattr(given, name)!r}, want none without --attacks autoattack")
    names = (
        "attacks", "step", "norm", "restarts", "count", "batch_size", "seed", "target", "eot", "loss", "kappa",
        "targets", "random_start",
    )  # fmt: skip
    options = {name: getattr(given, name) for name in names} | {"teacher": teacher, "progress": not given.quiet}
    options["tuning"] = None if given.tuning is None else dict(given.tuning)
    if given.target is not None and given.target.endswith(".npy"):
        options["target"] = _array(given.target, "target")
    with _telling_partial(given):
        if _is_sweep(given):
            return igdm.sweep(model, data, given.eps.split(","), **options)
        return igdm.evaluate(model, data, eps=given.eps, keep_samples=given.samples is not None, **options)


def _array(path: str, argument: str) -> NDArray[Any]:
    try:
        return np.load(path)
    except FileNotFoundError:
        raise igdm.NotFoundError(f"{argument}: {path} does not exist") from None
    except ValueError as error:
        raise igdm.InvalidArgument(f"{argument}: got {path}, want an array that numpy.save has written") from error


def _measure_ensemble(
    given: argparse.Namespace, model: igdm.Model, teacher: igdm.Model | None, data: Dataset
) -> igdm.AutoAttack | igdm.Sweep:
    for name in ("teacher", "step", "target", "loss", "kappa", "random_start"):
        if getattr(given, name) is not None:
            raise igdm.InvalidArgument(f"{name}: got {getattr(given, name)!r}, want none with --attacks autoattack")
    names = ("norm", "count", "batch_size", "seed", "state", "eot", "restarts", "targets")
    options = {name: getattr(given, name) for name in names} | {"progress": not given.quiet}
    options["tuning"] = None if given.tuning is None else dict(given.tuning)
    with _telling_partial(given):
        if _is_sweep(given):
            radii = given.eps.split(",")
            return igdm.sweep(model, data, radii, attacks="autoattack", version=given.version, **options)
        return igdm.autoattack(model, data, eps=given.eps, **version_options(given.version), **options)


def _refuse_with_corruptions(given: argparse.Namespace) -> None:
    others = (
        "version", "state", "eps", "step", "target", "samples", "report", "norm", "restarts", "random_start", "eot",
        "loss", "kappa", "targets", "tuning", "teacher",
    )  # fmt: skip
    for name in others:
        if getattr(given, name) is not None:
            raise igdm.InvalidArgument(f"{name}: got {getattr(given, name)!r}, want none with --attacks corruptions")


def _measure_corruptions(given: argparse.Namespace, model: igdm.Model, data: Dataset) -> igdm.Corruptions:
    options = {name: getattr(given, name) for name in ("batch_size", "seed") if getattr(given, name) is not None}
    with _telling_partial(given):
        return igdm.evaluate_corruptions(model, data, count=given.count, progress=not given.quiet, **options)


def _is_sweep(given: argparse.Namespace) -> bool:
    """Whether there are several radii."""
    if given.eps is None or "," not in given.eps:
        return False
    if given.samples is not None:
        raise igdm.InvalidArgument("samples: got a file with several eps, want one eps")
    return True


@contextmanager
def _telling_partial(given: argparse.Namespace) -> Generator[None, None, None]:
    """Tells what was found before an exception."""
    try:
        yield
    except BaseException as error:
        if getattr(error, "partial", None) is not None:
            _tell(given, error.partial)  # type: ignore[attr-defined]
        raise


def _tell(given: argparse.Namespace, result: Evaluation | igdm.Sweep | igdm.AutoAttack | igdm.Corruptions) -> None:
    """Prints the table and writes the samples."""
    print(json.dumps(result.to_dict(), indent=2) if given.json else result)
    if given.samples is not None and not isinstance(result, igdm.Sweep | igdm.Corruptions):
        igdm.save_samples(given.samples, result)


def _write_report(
    path: str, model: igdm.Model, teacher: igdm.Model | None, data: Dataset,
    result: Evaluation | igdm.AutoAttack | igdm.Sweep,
) -> None:  # fmt: skip
    swept = result if isinstance(result, igdm.Sweep) else None
    evaluation = result.evaluations[-1] if isinstance(result, igdm.Sweep) else result
    info = model.info
    facts = {
        "Model": f"{info.architecture}, {info.parameter_count:,} parameters" + ", exact" * model.exact,
        "Data": f"{evaluation.count:,} images of {data.source['kind']}",
        "Seed": str(evaluation.options["seed"]),
    }
    norm = evaluation.options["norm"]
    shown = None if norm == "l0" else {"eps": evaluation.options["eps"], "norm": norm, "steps": 20}  # PGD has no L0
    gallery = report.Gallery(data, shown, "PGD-20", teacher)
    report.write(
        path, f"{info.architecture} on {data.source['kind']}",
        [report.Contender(info.architecture, model, evaluation=evaluation, sweep=swept)],
        configuration=facts, gallery=gallery,
    )  # fmt: skip


def _part(data: TrainTest | Dataset, split: str) -> Dataset:
    if isinstance(data, TrainTest):
        return data.train if split == "train" else data.test
    return data


# -- report


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="one page on one or several runs",
        description="Attacks the students of run folders and writes a page: table with the gain of IGDM, curves, "
        "accuracy over the radius, images, input gradients beside the teacher's.",
    )
    parser.set_defaults(run=_report)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder")
    parser.add_argument("--output", metavar="FILE", help="the page; by default report.html in the (first) folder")
    parser.add_argument("--checkpoint", choices=comparison.CHECKPOINTS, default="last", help="which of each run (last)")
    parser.add_argument("--data", metavar="DATA", help=f"by default the first run's validation data: {SPECIFICATIONS}")
    parser.add_argument("--teacher", metavar="FILE", help="by default the first run's that has one")
    parser.add_argument("--attacks", metavar="LIST", help=f"of the table ({','.join(comparison.ATTACKS)})")
    parser.add_argument("--eps", metavar="NUMBER", help="by default the first run's")
    parser.add_argument("--radii", metavar="LIST", help='of the curves: "0.02,0.05,0.1"; "" = no curves')
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="the first N images (1000); 0 = all")
    _add_common(parser)


def _report(given: argparse.Namespace) -> None:
    page = Path(given.output) if given.output is not None else Path(given.runs[0]) / "report.html"
    radii = None if given.radii is None else [one for one in given.radii.split(",") if one]
    contenders = comparison.write_comparison(
        page, given.runs, checkpoint=given.checkpoint, attacks=given.attacks, eps=given.eps, radii=radii,
        count=given.count, data=None if given.data is None else _part(open_specification(given.data), "test"),
        teacher=None if given.teacher is None else igdm.Model.load(given.teacher), progress=not given.quiet,
    )  # fmt: skip
    for one in contenders:
        print(f"{one.name}:\n{one.evaluation}\n")
    print(f"wrote {page}")


# -- convert


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert",
        help="weights from and to files of PyTorch, safetensors and Keras; models to ONNX",
        description="Converts weights between checkpoints and files of PyTorch, safetensors and Keras; models to ONNX.",
    )
    parser.set_defaults(run=conversion.run)
    conversion.add_arguments(parser)
    _add_common(parser)


# -- info


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info", help="describe a checkpoint, or the library", description="Describes a checkpoint, or the library."
    )
    parser.set_defaults(run=_info)
    parser.add_argument("file", nargs="?", metavar="FILE", help="checkpoint (.h5); without it: build and defaults")
    parser.add_argument("--digest", action="store_true", help="load the weights too, for a digest of what they compute")
    parser.add_argument("--verify", action="store_true", help="load them and compare with the golden block")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    _add_common(parser)


def _info(given: argparse.Namespace) -> None:
    facts, table = _library_facts() if given.file is None else _checkpoint_facts(given)
    if given.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if not isinstance(value, (dict, list)):
            print(_printable(f"{name + ':':22}{f'{value:,}' if isinstance(value, int) else value}"))
    for key, text in facts.get("metadata", {}).items():
        lines = text.splitlines() or [""]
        print(_printable(f"{key + ':':22}{lines[0]}{' ...' if len(lines) > 1 else ''}"))
    print(_printable(f"\n{table}"))


def _library_facts() -> tuple[dict[str, Any], str]:
    defaults = igdm.default_options()
    facts: dict[str, Any] = dict(igdm.build_info())
    facts |= {
        "architectures": ", ".join(igdm.architectures()),
        "attacks": ", ".join(igdm.attacks.names()),
        "methods": ", ".join(igdm.methods()),
        "training_defaults": defaults,
    }
    rows = [
        [name, "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)]
        for name, value in defaults.items()
    ]
    return facts, format_table(["training option", "default"], rows)


def _checkpoint_facts(given: argparse.Namespace) -> tuple[dict[str, Any], str]:
    found = igdm.describe(given.file)
    info = found.model
    facts: dict[str, Any] = {
        "file": given.file,
        "bytes": found.bytes,
        "format version": found.format_version,
        "architecture": info.architecture,
        "classes": info.classes,
        "input shape": "x".join(map(str, info.input_shape)),
        "width": info.width,
        "parameter count": info.parameter_count,
        "multiply-adds": info.multiply_adds,
        "mean": "none" if info.mean is None else ", ".join(f"{value:.4g}" for value in info.mean),
        "std": "none" if info.std is None else ", ".join(f"{value:.4g}" for value in info.std),
        **({"shortcut input": info.shortcut_input, "final bn": info.final_bn} if info.shortcut_input else {}),
        "golden samples": found.golden_count,
    }
    if found.golden_count:
        facts["golden source"] = found.golden_source or "unknown"
    if given.digest or given.verify:
        model = igdm.Model.load(given.file, allow_not_finite=True)
        facts["digest"] = model.digest()
        if given.verify:
            worst = model.verify()
            facts["worst difference"], facts["worst sample"] = worst.worst_difference, worst.worst_sample
    facts["metadata"] = found.metadata
    facts["parameters"] = [
        {"name": name, "shape": list(one.shape), "trainable": one.trainable} for name, one in found.parameters.items()
    ]
    rows = [
        [name, "x".join(map(str, one.shape)), f"{math.prod(one.shape):,}", "yes" if one.trainable else "no"]
        for name, one in found.parameters.items()
    ]
    return facts, format_table(["parameter", "shape", "numbers", "trained"], rows)


def _printable(text: str) -> str:
    """Names and texts of files without what would command the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute; by default all processors")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


if __name__ == "__main__":
    sys.exit(main())
