"""From the arrays of a source to a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import Floats
from ..errors import FormatError, InvalidArgument, ShapeError
from ..models import Model
from . import names
from .detection import Table, guess, has_final_bn
from .entries import CONVERTED, Entry, Source, single_precision
from .options import Options

EPSILON = 1e-5
"""Of igdm's BatchNorm, as of PyTorch's."""


def assemble(source: Source, given: Options, notes: list[str]) -> Model:
    """The model with the weights of a source. `notes` receives what was assumed and converted.

    Raises FormatError (a name is missing, unexpected or misshapen, a type is not converted), NotFiniteError, and
    InvalidArgument where something must be given.
    """
    if "graph" in source.facts:
        return _of_graph(source, given, notes)
    entries, buffers = _simplified(source, given)
    arguments, entries = _arguments(entries, given, source, notes)
    if buffers is not None:
        if given.robustbench is None and (given.mean is not None or given.std is not None):
            raise InvalidArgument("mean, std: got them, but the source has its own; leave them out")
        # They hold against those of a table, as in RobustBench.
        arguments |= zip(("mean", "std"), _normalisation(buffers), strict=True)
        notes.append("mean and std are those of the source's buffers")
    elif given.mean is not None or given.std is not None:
        arguments |= {"mean": given.mean, "std": given.std}
    model = Model(**arguments)
    names.compare(entries, model.parameters.shapes, model.info.architecture)
    model.allow_not_finite = given.allow_not_finite
    for name, values in _values(entries, given, notes):
        model.parameters[name] = values
    return model


def _of_graph(source: Source, given: Options, notes: list[str]) -> Model:
    """The model of a file that carries its layer graph."""
    for name in ("architecture", "classes", "input_shape", "width", "mean", "std", "shortcut_input", "final_bn"):
        if getattr(given, name) is not None:
            raise InvalidArgument(
                f"{name}: got {getattr(given, name)}, but the source has a layer graph, which says it"
            )
    model = Model.from_graph(source.facts["graph"])
    model.allow_not_finite = given.allow_not_finite
    fill(model, source, given, notes)
    return model


def fill(model: Model, source: Source, given: Options, notes: list[str]) -> None:
    """Replaces all weights of a model by those of a source, or none. Raises as assemble."""
    entries, buffers = _simplified(source, given)
    if source.loose_axes:
        entries = _fitted(entries, model.parameters.shapes)
    names.compare(entries, model.parameters.shapes, model.info.architecture)
    if buffers is not None:
        for name, found in zip(("mean", "std"), _normalisation(buffers), strict=True):
            have = getattr(model.info, name)
            if have is None or list(have) != found:
                raise InvalidArgument(f"{name}: the source has {found}, but the model {have}")
    allowed = model.allow_not_finite
    model.allow_not_finite = allowed or given.allow_not_finite
    for name, values in list(_values(entries, given, notes)):
        model.parameters[name] = values
    model.allow_not_finite = allowed


def _simplified(source: Source, given: Options) -> tuple[Mapping[str, Entry], tuple[Entry, Entry] | None]:
    ignored = tuple(given.ignore)
    entries, buffers = names.simplify(
        {name: entry for name, entry in source.entries.items() if not (ignored and name.startswith(ignored))}
    )
    if not entries:
        raise FormatError("source: it has no weights")
    return entries, buffers


def _values(entries: Mapping[str, Entry], given: Options, notes: list[str]) -> Iterator[tuple[str, Floats]]:
    """Each array as it goes into the model; at the end notes of what was converted."""
    shift = 0.0 if given.bn_epsilon is None else given.bn_epsilon - EPSILON
    wild = 0
    for name, entry in entries.items():
        values = single_precision(name, entry, given.allow_not_finite)
        wild += not np.isfinite(values).all()
        yield name, _variances(name, values, shift) if name.endswith("running_var") else values
    converted = Counter(entry.dtype for entry in entries.values() if entry.dtype in CONVERTED)
    notes += [f"{count} of {len(entries)} arrays were {dtype} and became float32" for dtype, count in converted.items()]
    if wild:
        notes.append(f"{wild} of {len(entries)} arrays have NaN or infinities; nothing can be computed with them")
    if shift:
        notes.append(f"running variances are {shift:g} larger than in the source, for its BatchNorm's epsilon")


def _variances(name: str, values: Floats, shift: float) -> Floats:
    """1 / sqrt(variance + epsilon) is all that inference makes of both: what one has less the other may have more."""
    if (values < 0).any():
        raise FormatError(f"{name}: got the variance {np.nanmin(values):g}, want none below 0")
    moved = values if shift == 0 else (values.astype(np.float64) + shift).astype(np.float32)
    if (moved < 0).any():
        raise InvalidArgument(f"bn_epsilon: {name} would have the variance {np.nanmin(moved):g}, want none below 0")
    return moved


def _arguments(
    entries: Mapping[str, Entry], given: Options, source: Source, notes: list[str]
) -> tuple[dict[str, Any], Mapping[str, Entry]]:
    """The arguments of igdm.Model, once names and shapes are known to be those of the architecture (no model is made
    that is larger than the source), and the entries with the axes that they shall have."""
    facts = source.facts

    def told(name: str) -> Any:
        value = getattr(given, name)
        return facts.get(name) if value is None else value

    architecture = told("architecture") or guess(entries)
    final_bn = told("final_bn")
    if final_bn is None:
        final_bn = has_final_bn(architecture, entries)
    table = Table(architecture, final_bn)
    if table.factor is not None and given.width is not None:
        raise InvalidArgument(f"width: got {given.width}, but {architecture} has it in its name")
    found = table.options_of(entries)
    classes, width = told("classes") or found.get("classes"), table.factor or told("width") or found.get("width")
    if classes is None or width is None or "channels" not in found:
        names.compare(entries, table.small, architecture, shapes=False)
        bad = next(name for name in (table.stem, table.head) if len(entries[name].shape) != len(table.small[name]))
        raise FormatError(
            f"the weights are not those of {architecture}; misshapen: {bad} {entries[bad].shape}, "
            f"want {len(table.small[bad])} axes"
        )
    shape = _image_shape(architecture, told("input_shape"), found["channels"], notes)
    expected = table.shapes(classes, shape[0], width)
    if source.loose_axes:
        entries = _fitted(entries, expected)
    names.compare(entries, expected, architecture)
    arguments = {"architecture": architecture, "classes": classes, "input_shape": shape}
    if table.factor is None:
        arguments["width"] = width
    if table.is_preactivated:
        if told("shortcut_input") is None:
            raise InvalidArgument(
                'shortcut_input: got none, want "raw" or "activated": the weights do not tell what the convolutions on '
                "the shortcuts see"
            )
        arguments |= {"shortcut_input": told("shortcut_input"), "final_bn": final_bn}
    elif given.shortcut_input is not None or given.final_bn is not None:
        raise InvalidArgument(f"shortcut_input, final_bn: got them, but {architecture} has no such options")
    return arguments | {name: facts[name] for name in ("mean", "std") if name in facts}, entries


def _fitted(entries: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Entry]:
    """The entries with axes of length 1 added or left out where only these keep them from the shapes."""

    def fitted(entry: Entry, shape: tuple[int, ...]) -> Entry:
        if [axis for axis in entry.shape if axis != 1] != [axis for axis in shape if axis != 1]:
            return entry
        return Entry(shape, entry.dtype, lambda: entry.read().reshape(shape))

    return {name: fitted(entry, shapes.get(name, entry.shape)) for name, entry in entries.items()}


def _image_shape(
    architecture: str, shape: Sequence[int] | None, channels: int, notes: list[str]
) -> tuple[int, int, int]:
    if shape is not None:
        if len(shape) != 3:
            raise ShapeError(f"input_shape: got {tuple(shape)}, want (channels, height, width)")
        return (shape[0], shape[1], shape[2])
    if channels != 3:
        raise InvalidArgument(
            f"input_shape: got none; the weights take {channels} channels and do not tell the image's size"
        )
    size = 224 if architecture.startswith("imagenet") else 32
    notes.append(f"input 3x{size}x{size} is assumed: weights do not tell the image's size")
    return (3, size, size)


def _normalisation(buffers: tuple[Entry, Entry]) -> tuple[list[float], list[float]]:
    """Mean and std that a file has beside its weights."""
    mean, std = (single_precision(name, entry).ravel() for name, entry in zip(("mean", "std"), buffers, strict=True))
    return mean.tolist(), std.tolist()
