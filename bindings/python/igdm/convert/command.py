"""``python -m igdm convert``."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path

from ..errors import InvalidArgument
from . import conversion, files, robustbench
from .options import Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command."""
    parser.add_argument("source", metavar="SOURCE", help="PyTorch, safetensors, Keras, other HDF5, or checkpoint")
    parser.add_argument(
        "destination", nargs="?", metavar="DEST", help="checkpoint (.h5), .pt, .safetensors, .weights.h5, .onnx"
    )
    parser.add_argument("--to", choices=files.WRITTEN, help="what to write; by the ending of DEST where left out")
    parser.add_argument("--arch", dest="architecture", metavar="NAME", help="architecture; guessed where names tell it")
    parser.add_argument("--classes", type=int, metavar="N", help="number of logits; as the last layer has them")
    parser.add_argument("--input-shape", type=_integers, metavar="C,H,W", help="of an image; 3,32,32 for 3 channels")
    parser.add_argument(
        "--width", type=int, metavar="N", help="channels of the first stage; as the first layer has them"
    )
    parser.add_argument("--mean", type=_numbers, metavar="LIST", help="normalisation, one number a channel, on [0,1]")
    parser.add_argument("--std", type=_numbers, metavar="LIST", help="with --mean")
    parser.set_defaults(final_bn=None)  # names tell it
    parser.add_argument(
        "--shortcut-input", choices=["raw", "activated"], help="of preact_resnet18; weights do not tell"
    )
    parser.add_argument("--robustbench", metavar="ID", help="a RobustBench model, which says all of the above")
    parser.add_argument("--dataset", metavar="NAME", help=f"{', '.join(robustbench.CLASSES)}; or any, for the metadata")
    parser.add_argument("--threat-model", choices=robustbench.THREAT_MODELS, help="where an id has several")
    parser.add_argument("--key", metavar="KEY", help="under which key of a PyTorch file the weights are")
    parser.add_argument("--map", dest="weight_map", metavar="FILE", help="weight map (JSON) of an HDF5 file")
    parser.add_argument("--draft-map", metavar="FILE", help="write a weight map for a Keras file, to be read, and stop")
    parser.add_argument("--template", metavar="FILE", help="file of Keras whose weights are replaced in a copy, DEST")
    parser.add_argument("--ignore", action="append", default=[], metavar="PREFIX", help="leave out names that begin so")
    parser.add_argument("--bn-epsilon", type=float, metavar="X", help="of the source's BatchNorm; 1e-5, Keras 1e-3")
    parser.add_argument("--allow-not-finite", action="store_true", help="take NaN and infinities as they are")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(given: argparse.Namespace) -> None:
    """Converts and prints a summary."""
    options = {one.name: getattr(given, one.name) for one in fields(Options)}
    if given.draft_map is not None:
        _draft(given)
        return
    if given.destination is None:
        raise InvalidArgument("destination: got none, want a file to write")
    done = conversion.convert(given.source, given.destination, to=given.to, template=given.template, **options)
    print(json.dumps(done.to_dict(), indent=2) if given.json else done)


def _draft(given: argparse.Namespace) -> None:
    for name in ("architecture", "classes"):
        if getattr(given, name) is None:
            raise InvalidArgument(f"{name}: got none; a draft of a weight map needs it")
    channels = given.input_shape[0] if given.input_shape else 3
    drafted = conversion.draft_weight_map(given.source, given.architecture, given.classes, channels, width=given.width)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(place)}" for name, place in drafted.items())
    with files.replacing(Path(given.draft_map)) as temporary:
        temporary.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    print(f"wrote {given.draft_map}: {len(drafted)} weights paired by order; read it before you use it")


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]
