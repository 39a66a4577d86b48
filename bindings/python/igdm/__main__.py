"""The command line: ``python -m igdm {distill,evaluate,convert,info}``.

Results go to stdout, progress and errors to stderr. Exit status: 0 done, 2 bad arguments, 130 Ctrl-C, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import igdm
from igdm import report, runs
from igdm.convert import command as conversion
from igdm.datasets import SPECIFICATIONS, Dataset, TrainTest, open_source, open_specification
from igdm.evaluation import Evaluation, format_table
from igdm.options import TrainingOptions

EXACT = "without Winograd's convolutions: smaller rounding errors, more time"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = _Parser(prog="igdm", description="Adversarially robust distillation with IGDM.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{distill,evaluate,convert,info}")
    _add_distill(commands)
    _add_evaluate(commands)
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
        description="Trains a student and writes a run folder: config.json, metrics.csv, student.h5, report.html. "
        "Options left out have the library's defaults, which `igdm info` lists.",
    )
    parser.set_defaults(run=_distill)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the run folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a run that the folder has already")
    parser.add_argument("--config", metavar="FILE", help="repeat the run of this config.json; other options change it")
    parser.add_argument("--data", metavar="DATA", help=f"training data: {SPECIFICATIONS}")
    parser.add_argument("--train-count", type=int, metavar="N", help="train on the first N samples")
    parser.add_argument(
        "--validation",
        metavar="DATA",
        help="validation data, or none; by default the test part of --data where it has one",
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
    config = runs.read_config(given.config) if given.config else None
    train, validation = _training_data(given, config)
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
    if clean_teacher is not None and teacher is None:
        raise igdm.InvalidArgument("teacher: got none beside the clean teacher; want the robust one")
    teachers = [clean_teacher, teacher] if clean_teacher is not None and teacher is not None else teacher
    run = igdm.distill(
        student, teachers, train, validation=validation, run_dir=given.output, overwrite=given.overwrite,
        progress=not given.quiet, **options,
    )  # fmt: skip
    evaluation = None
    if given.attacks is not None:
        if validation is None:
            raise igdm.InvalidArgument("attacks: got no validation data to evaluate on; give --validation")
        evaluation = igdm.evaluate(
            student, validation, attacks=given.attacks, eps=run.options["eps"], count=given.eval_count, teacher=teacher,
            progress=not given.quiet,
        )  # fmt: skip
        runs.write_json(Path(given.output) / "evaluation.json", evaluation.to_dict())
        print(evaluation)
    page = Path(given.output) / "report.html"
    gallery = None
    if validation is not None:
        gallery = report.Gallery(validation, {"eps": run.options["eps"], "steps": 20}, "PGD-20")
    report.write(
        page, f"{student.info.architecture} on {train.source['kind']}",
        [report.Contender("student", student, run.history, evaluation)],
        configuration=report.describe(student, teacher, train, run.options), gallery=gallery,
    )  # fmt: skip
    print(f"wrote {given.output}: config.json, metrics.csv, student.h5, report.html")


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
    return (train if given.train_count is None else train[: given.train_count]), validation


def _teacher(given: argparse.Namespace, config: dict[str, Any] | None, role: str) -> igdm.Model | None:
    file = getattr(given, role)
    if file is not None:
        return None if file == "none" else igdm.Model.load(file)
    if config is not None and config[role] is not None:
        return runs.load_recorded(role, config[role])
    return None


def _student(given: argparse.Namespace, config: dict[str, Any] | None, train: Dataset) -> igdm.Model:
    if given.student is not None and given.student.endswith(".h5"):
        return igdm.Model.load(given.student)
    if given.student is None and given.width is None and config is not None:
        return runs.load_recorded("student", config["student"])
    architecture = given.student or (config["student"]["architecture"] if config else None)
    if architecture is None:
        raise igdm.InvalidArgument("student: got none, want --student or --config")
    return igdm.Model(
        architecture, classes=train.classes, input_shape=train.image_shape, width=given.width, seed=given.seed
    )


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
        help='such as fgsm,pgd-20,cw or apgd-ce,square-1000; "" = clean only; autoattack alone: its table and warnings',
    )
    parser.add_argument(
        "--version", metavar="NAME", help="of autoattack: standard, plus, rand or custom:LIST (custom:apgd-ce,square)"
    )
    parser.add_argument("--state", metavar="FILE", help="of autoattack: keep its progress there, and go on from it")
    parser.add_argument("--eps", metavar="NUMBER", help='radius: a number or a fraction such as "8/255"')
    parser.add_argument("--step", metavar="NUMBER", help="step size; 0 = eps/4")
    parser.add_argument("--norm", metavar="NAME", help="linf, l2 or l1; l0 for fmn")
    parser.add_argument("--restarts", type=int, metavar="N", help="independent runs of each attack")
    parser.add_argument("--count", type=int, metavar="N", help="the first N samples; 0 = all")
    parser.add_argument("--batch-size", type=int, metavar="N", help="changes speed and memory only")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random starts")
    parser.add_argument("--teacher", metavar="FILE", help="compare the input gradients with this checkpoint's")
    parser.add_argument("--exact", action="store_true", help=f"model and teacher {EXACT}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _add_common(parser)


def _evaluate(given: argparse.Namespace) -> None:
    model = igdm.Model.load(given.model, exact=given.exact)
    teacher = None if given.teacher is None else igdm.Model.load(given.teacher, exact=given.exact)
    data = _part(open_specification(given.data), given.split)
    if given.attacks == "autoattack":
        _autoattack(given, model, data)
        return
    for name in ("version", "state"):
        if getattr(given, name) is not None:
            raise igdm.InvalidArgument(f"{name}: got {getattr(given, name)!r}, want none without --attacks autoattack")
    names = ("attacks", "eps", "step", "norm", "restarts", "count", "batch_size", "seed")
    evaluation: Evaluation = igdm.evaluate(
        model, data, teacher=teacher, progress=not given.quiet, **{name: getattr(given, name) for name in names}
    )
    print(json.dumps(evaluation.to_dict(), indent=2) if given.json else evaluation)


def _autoattack(given: argparse.Namespace, model: igdm.Model, data: Dataset) -> None:
    for name in ("teacher", "step", "restarts"):
        if getattr(given, name) is not None:
            raise igdm.InvalidArgument(f"{name}: got {getattr(given, name)!r}, want none with --attacks autoattack")
    version, _, attacks = (given.version or "").partition(":")
    names = ("eps", "norm", "count", "batch_size", "seed", "state")
    result = igdm.autoattack(
        model, data, version=version or None, attacks=attacks or None, progress=not given.quiet,
        **{name: getattr(given, name) for name in names},
    )  # fmt: skip
    print(json.dumps(result.to_dict(), indent=2) if given.json else result)


def _part(data: TrainTest | Dataset, split: str) -> Dataset:
    if isinstance(data, TrainTest):
        return data.train if split == "train" else data.test
    return data


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
