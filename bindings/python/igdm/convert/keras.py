"""Weights saved by Keras: ``.weights.h5`` of Keras 3, and ``.h5`` of ``model.save`` and of older versions.

Keras has convolutions as (height, width, input, output), depthwise ones as (height, width, channels, 1), dense layers
as (input, output). Layers with the names of ours (conv1, bn1, layer1.0.conv1 or layer1_0_conv1) need no weight map.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Floats
from ..errors import FormatError, InvalidArgument
from ..models import Model
from . import files, hdf5
from .detection import Table
from .entries import joined
from .options import Options
from .weight_map import Place, WeightMap

_MOST_DEPTH = 8
# By Keras's class and number of variables: the last part of our name for each. BatchNormalization without scale or
# center has fewer, and no counterpart here.
_ROLES: dict[str, dict[int, tuple[str, ...]]] = {
    "batch_normalization": {4: ("weight", "bias", "running_mean", "running_var")},
    "conv2d": {1: ("weight",), 2: ("weight", "bias")},
    "depthwise_conv2d": {1: ("weight",), 2: ("weight", "bias")},
    "dense": {1: ("weight",), 2: ("weight", "bias")},
}
# The same by the names of older files.
_LEGACY = {
    "kernel": "weight", "depthwise_kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layer:
    """A layer with variables."""

    kind: str
    name: str
    variables: Mapping[str, str]
    """Our "weight", "bias", ... to the dataset's path."""
    shapes: Shapes


def is_keras(path: Path) -> bool:
    """Whether an HDF5 file has Keras's groups."""
    with hdf5.opened(path) as file, hdf5.undamaged(path):
        return "layer_names" in file.attrs or any(name in file for name in ("layers", "model_weights"))


def automatic_map(path: Path, given: Options) -> dict[str, Place]:
    """The map of a file whose layers have our names. Raises FormatError where they have not, or other variables."""
    if given.architecture is None:
        raise InvalidArgument("architecture: got none, and Keras's files do not tell it")
    table = Table(given.architecture, bool(given.final_bn))
    found = {_plain(layer.name): layer for layer in layers(path)}
    have = {f"{name}.{role}" for name, layer in found.items() for role in layer.variables}
    want = {_plain(owner) + "." + role: (owner, role) for owner, role in map(_split, table.small)}
    missing, unexpected = [name for name in want if name not in have], sorted(have - set(want))
    if missing or unexpected:
        said = [
            f"{what}: {joined(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise FormatError(
            f"source: the layers of {path} are not called as those of {given.architecture}; {'; '.join(said)}; give a "
            "weight map (draft_weight_map or --draft-map makes one to start from)"
        )
    return {
        f"{owner}.{role}": Place(found[_plain(owner)].variables[role], _turn(table.small[f"{owner}.{role}"]))
        for owner, role in want.values()
    }


def _split(name: str) -> tuple[str, str]:
    owner, _, role = name.rpartition(".")
    return owner, role


def _plain(name: str) -> str:
    return name.replace(".", "_")


def draft_map(path: Path, table: Table, wanted: Shapes) -> dict[str, Place]:
    """A map that pairs the layers of each kind in the order in which Keras made them with ours in our order, as long as
    shapes fit. Order is a guess: read the map before you use it."""
    waiting: dict[str, list[Layer]] = {}
    for layer in layers(path):
        waiting.setdefault(layer.kind, []).append(layer)
    owners: dict[str, dict[str, str]] = {}
    for name in wanted:
        owner, role = _split(name)
        owners.setdefault(owner, {})[role] = name
    places: dict[str, Place] = {}
    for owner, roles in owners.items():
        turns = {role: _turn(table.small[name]) for role, name in roles.items()}
        shapes = {role: _before(wanted[name], turns[role]) for role, name in roles.items()}
        fitting = [queue for queue in waiting.values() if queue and queue[0].shapes == shapes]
        if not fitting:
            have = joined([f"{queue[0].name} {dict(queue[0].shapes)}" for queue in waiting.values() if queue])
            raise FormatError(f"source: {path} has no layer like {owner} {shapes} next in order, but {have or 'none'}")
        layer = fitting[0].pop(0)
        places |= {name: Place(layer.variables[role], turns[role]) for role, name in roles.items()}
    if left := [layer.name for queue in waiting.values() for layer in queue]:
        raise FormatError(f"source: {path} has more layers than the architecture: {joined(left)}")
    return places


def _turn(ours: tuple[int, ...]) -> tuple[int, ...] | None:
    """How Keras's axes become ours. `ours` has more than one input channel, unless the convolution is depthwise."""
    if len(ours) == 4:
        return (2, 3, 0, 1) if ours[1] == 1 else (3, 2, 0, 1)
    return (1, 0) if len(ours) == 2 else None


def _before(ours: tuple[int, ...], turn: tuple[int, ...] | None) -> tuple[int, ...]:
    return ours if turn is None else tuple(ours[turn.index(axis)] for axis in range(len(ours)))


def layers(path: Path) -> list[Layer]:
    """The layers of a file that have variables, in the order in which Keras made them as far as the file tells."""
    with hdf5.opened(path) as file, hdf5.undamaged(path):
        if "layer_names" in file.attrs or "model_weights" in file:
            return list(_legacy_layers(file if "layer_names" in file.attrs else hdf5.child(file, "model_weights")))
        return list(_saved_layers(file, 0))


def _saved_layers(group: Any, depth: int) -> Iterator[Layer]:
    """Keras 3: ``layers/conv2d_1/vars/0``. The number follows the order of making, and the layer's own name is an
    attribute of its variables."""
    if depth > _MOST_DEPTH:
        raise FormatError(f"{group.name}: groups are nested more than {_MOST_DEPTH} deep")
    h5py = files.required("h5py")

    def number(name: str) -> tuple[str, int]:
        kind, _, count = name.rpartition("_")
        return (kind, int(count)) if count.isdecimal() else (name, 0)

    for name in sorted(group, key=number):
        inside = hdf5.child(group, name)
        if name == "optimizer" or not isinstance(inside, h5py.Group):
            continue
        variables = hdf5.child(inside, "vars")
        kinds = _ROLES.get(number(name)[0], {})
        roles = kinds.get(len(variables)) if isinstance(variables, h5py.Group) else None
        if roles:
            found = {role: hdf5.dataset(inside, f"vars/{index}") for index, role in enumerate(roles)}
            own = variables.attrs.get("name", name)
            yield _layer(number(name)[0], own if isinstance(own, str) else name, found)
        elif name != "vars":
            yield from _saved_layers(inside, depth + 1)


def _legacy_layers(group: Any) -> Iterator[Layer]:
    """Older files: the attributes layer_names and weight_names list layers and variables in order."""
    for layer_name in _texts(group, "layer_names"):
        inside = hdf5.member(group, layer_name)
        found = {}
        for variable in _texts(inside, "weight_names"):
            role = _LEGACY.get(re.sub(r":\d+$", "", variable.rpartition("/")[2]))
            if role is not None:
                found[role] = hdf5.dataset(inside, variable)
        if found:
            yield _layer("+".join(sorted(found)), layer_name, found)  # the kind is not told; its variables are


def _texts(group: Any, attribute: str) -> list[str]:
    values = np.ravel(group.attrs.get(attribute, []))
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _layer(kind: str, name: str, found: Mapping[str, Any]) -> Layer:
    paths = {role: one.name.removeprefix("/") for role, one in found.items()}
    return Layer(kind, name, paths, {role: one.shape for role, one in found.items()})


def with_epsilon(path: Path, given: Options, notes: list[str]) -> Options:
    """The options with the epsilon of BatchNormalization, which a file has beside the weights where it has the model's
    configuration."""
    if given.bn_epsilon is not None:
        return given
    with hdf5.opened(path) as file, hdf5.undamaged(path):
        text = file.attrs.get("model_config", "{}")
    try:
        found = sorted(set(_epsilons(json.loads(text))))
    except (ValueError, TypeError, KeyError, RecursionError):
        found = []
    if len(found) != 1:
        why = (
            f"the layers have different ones: {found}"
            if found
            else "the file does not tell it, Keras's default is 1e-3"
        )
        raise InvalidArgument(f"bn_epsilon: got none; give that of the BatchNormalization layers ({why})")
    notes.append(f"the epsilon of BatchNormalization is {found[0]:g} by the file's configuration")
    return replace(given, bn_epsilon=found[0])


def _epsilons(config: Any) -> Iterator[float]:
    if isinstance(config, dict):
        if config.get("class_name") == "BatchNormalization":
            yield float(config["config"]["epsilon"])
        for value in config.values():
            yield from _epsilons(value)
    elif isinstance(config, list):
        for value in config:
            yield from _epsilons(value)


def write(model: Model, path: Path, places: WeightMap, epsilon_difference: float, template: Path | None) -> None:
    """The weights at the places of a map, turned back, for ``keras_model.load_weights``.

    epsilon_difference  what Keras's epsilon has more than ours; running variances get that much less
    template            a file that Keras wrote for such a model, which is copied and its weights replaced; needed for
                        the older format. Without one the file has the weights alone, which Keras 3 takes
    """
    h5py = files.required("h5py")
    parameters = model.parameters
    if set(places) != set(parameters):
        raise FormatError(f"map: its names are not those of the model: {joined(sorted(set(places) ^ set(parameters)))}")
    with files.replacing(path) as temporary:
        if template is not None:
            shutil.copyfile(template, temporary)
        with h5py.File(temporary, "w" if template is None else "r+") as file:
            for name, place in places.items():
                values = _turned_back(name, parameters[name], place, epsilon_difference)
                if template is None:
                    if place.path in file:
                        raise FormatError(f"map: {name} has the place of another weight, {place.path}")
                    file[place.path] = values
                    continue
                found = hdf5.dataset(file, place.path)
                if found.shape != values.shape or found.dtype.kind != "f":
                    raise FormatError(f"template: {place.path} is {found.dtype} {found.shape}, want {values.shape}")
                found[...] = values


def _turned_back(name: str, values: Floats, place: Place, epsilon_difference: float) -> Floats:
    if name.endswith("running_var"):
        moved = values.astype(np.float64) - epsilon_difference
        if (moved < 0).any():
            raise InvalidArgument(f"bn_epsilon: {name} would have the variance {np.nanmin(moved):g}, want none below 0")
        values = moved.astype(np.float32)
    return values if place.transpose is None else values.transpose(np.argsort(place.transpose))
