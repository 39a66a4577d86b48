"""Classifiers: create, load, save, predict, differentiate, and read or write weights by name."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays as arrays
from . import _structures as structures
from ._arrays import Floats, pointer
from ._library import Handle, ask, call, file_path
from .errors import InvalidArgument, NotFoundError, ShapeError
from .provenance import Golden, Metadata, Verification

Path_ = str | os.PathLike[str]


@dataclass(frozen=True)
class ModelInfo:
    """What a model is."""

    architecture: str
    classes: int
    input_shape: tuple[int, int, int]
    """Channels, height, width."""
    width: int
    """Channels of the first stage."""
    parameter_count: int
    """Trainable numbers; running statistics are not counted."""
    multiply_adds: int
    """Of one forward pass of one sample: convolutions and linear layers."""
    mean: tuple[float, ...] | None
    """Per-channel mean that the model subtracts from its input, or None."""
    std: tuple[float, ...] | None
    shortcut_input: str | None
    """What the convolutions on the shortcuts see, "raw" or "activated", where the architecture has this option."""
    final_bn: bool
    """Whether BatchNorm and ReLU follow the last block, where the architecture has this option."""


@dataclass(frozen=True)
class Parameter:
    """What is known of a parameter besides its values."""

    shape: tuple[int, ...]
    """Convolutions OIHW, linear layers (out, in)."""
    trainable: bool
    """False for running statistics."""


class Model(Handle):
    """A classifier with its weights. Images go in as float32 (N, C, H, W) in [0,1], logits come out as (N, classes)."""

    _instead = "Use save() and Model.load(), or copy()."

    def __init__(
        self,
        architecture: str,
        *,
        classes: int | None = None,
        input_shape: Sequence[int] | None = None,
        width: int | None = None,
        seed: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        shortcut_input: str | None = None,
        final_bn: bool | None = None,
        exact: bool = False,
    ) -> None:
        """A new model with random weights.

        architecture    one of architectures(): "resnet8", "wrn_16_2", ...
        classes         number of logits
        input_shape     (channels, height, width)
        width           channels of the first stage; the architecture's own where left out
        seed            of the random weights
        mean, std       per-channel normalisation that the model applies to its input; both or neither
        shortcut_input  of preact_resnet18: its shortcuts' convolutions see the "activated" or the "raw" input
        final_bn        of preact_resnet18: BatchNorm and ReLU after the last block
        exact           see the property
        What is left out has the library's default.
        """
        options = structures.ModelOptions()
        call("igdm_model_options_init", options)
        options.assign(classes=classes, base_width=width, seed=seed, shortcut_input=shortcut_input, final_bn=final_bn)
        if input_shape is not None:
            if len(input_shape) != 3:
                raise ShapeError(f"input_shape: got {tuple(input_shape)}, want (channels, height, width)")
            options.assign(**dict(zip(("channels", "height", "width"), input_shape, strict=True)))
        _normalise(options, mean, std, options.channels)
        created = structures.Model()
        call("igdm_model_create", structures.text("architecture", architecture), options, created)
        self._adopt(created)
        self.exact = exact

    @classmethod
    def from_graph(
        cls,
        graph: str | Mapping[str, object],
        *,
        seed: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        exact: bool = False,
    ) -> Model:
        """A new model with random weights from a layer graph (docs/graph-format.md): any convolutional network.

        graph      the description, as JSON or as json.loads() gives it
        seed       of the random weights
        mean, std  normalisation, one number per channel, where the graph has none
        exact      see the property
        """
        text = _json("graph", graph)
        options = structures.ModelOptions()
        call("igdm_model_options_init", options)
        options.assign(seed=seed)
        _normalise(options, mean, std, None)
        created = structures.Model()
        call("igdm_model_create_from_graph", text, options, created)
        model = cls.__new__(cls)
        model._adopt(created)
        model.exact = exact
        return model

    @property
    def graph(self) -> dict[str, Any]:
        """The layer graph of this model, whatever it was made from: Model.from_graph() makes of it a model with the
        same parameters, which with the same weights computes the same bits."""
        return json.loads(self._graph_text())

    def _graph_text(self) -> str:
        value = ctypes.c_char_p()
        call("igdm_model_get_graph", self._handle, value)
        return (value.value or b"").decode()

    @classmethod
    def load(cls, path: Path_, *, exact: bool = False, verify: bool = False, allow_not_finite: bool = False) -> Model:
        """Loads a checkpoint written by save(). A checkpoint does not say whether the model was exact.

        verify            whether to compare with the golden block, which the checkpoint must have then; see verify()
        allow_not_finite  whether weights may be NaN or infinite, to look at a training that diverged
        """
        options = structures.LoadOptions()
        call("igdm_load_options_init", options)
        options.assign(allow_not_finite=bool(allow_not_finite))
        loaded = structures.Model()
        call("igdm_model_load_with_options", file_path("path", path), options, loaded)
        model = cls.__new__(cls)
        model._adopt(loaded)
        model.loaded_from = Path(path)
        model.exact = exact
        if verify:
            model.verify()
        return model

    def _adopt(self, handle: object) -> None:
        super().__init__(handle, "igdm_model_release")
        self.loaded_from: Path | None = None
        """The checkpoint that load() read, else None."""
        self._parameters = self._read_parameter_table()
        self.info = self._read_info()
        """Architecture, shapes and size: a ModelInfo."""

    def save(self, path: Path_) -> None:
        """Writes a checkpoint (HDF5). `path` holds either the old file or the whole new one, whatever happens."""
        call("igdm_model_save", self._handle, file_path("path", path))

    def load_weights(self, path: Path_) -> None:
        """Replaces the weights by those that an HDF5 file has under "weights/<name>", such as one written by h5py."""
        call("igdm_model_load_weights", self._handle, file_path("path", path))

    def load_mapped(self, path: Path_, map: str | Mapping[str, object]) -> None:
        """Replaces the weights by those of an HDF5 file of any origin (Keras, MATLAB, Julia, ...).

        map  where the file has each parameter, and how its axes are to be turned (docs/weight-map.md), as JSON or as
             json.loads() gives it: {"conv1.weight": {"path": "layers/conv/kernel", "transpose": [3, 2, 0, 1]}, ...}
        """
        call("igdm_model_load_mapped", self._handle, file_path("path", path), _json("map", map))

    def copy(self) -> Model:
        """An independent model with the same weights, exact where this one is."""
        copied = structures.Model()
        call("igdm_model_copy", self._handle, copied)
        return Model._of(copied)

    @classmethod
    def _of(cls, handle: object) -> Model:
        """The model behind a handle that the library has made."""
        model = cls.__new__(cls)
        model._adopt(handle)
        return model

    def __copy__(self) -> Model:
        return self.copy()

    def __deepcopy__(self, _: object) -> Model:
        return self.copy()

    @property
    def exact(self) -> bool:
        """Whether 3x3 convolutions are plain sums of products, without Winograd's algorithm: smaller rounding errors,
        two to four times the time. Everything that computes with the model follows it, and it may be changed at any
        time; a trainer keeps its teacher as it was."""
        value = ctypes.c_int32()
        call("igdm_model_get_exact", self._handle, value)
        return bool(value.value)

    @exact.setter
    def exact(self, value: bool) -> None:
        call("igdm_model_set_exact", self._handle, structures.integer("exact", value, ctypes.c_int32))

    @property
    def allow_not_finite(self) -> bool:
        """Whether weights that are assigned to this model or loaded into it, and those that it saves, may be NaN or
        infinite: to look at a training that diverged. Copies inherit it, checkpoints do not hold it."""
        value = ctypes.c_int32()
        call("igdm_model_get_allow_not_finite", self._handle, value)
        return bool(value.value)

    @allow_not_finite.setter
    def allow_not_finite(self, value: bool) -> None:
        allow = structures.integer("allow_not_finite", value, ctypes.c_int32)
        call("igdm_model_set_allow_not_finite", self._handle, allow)

    def predict(self, images: ArrayLike) -> Floats:
        """Logits (N, classes) in inference mode.

        images  (N, C, H, W) in [0,1]: float32, C-contiguous; other types and layouts are refused, not converted
        """
        batch = arrays.images("images", images, self.info.input_shape)
        logits = np.empty((len(batch), self.info.classes), np.float32)
        call("igdm_model_predict", self._handle, pointer(batch), len(batch), pointer(logits))
        return logits

    def input_gradient(self, images: ArrayLike, cotangent: ArrayLike) -> Floats:
        """d(sum(cotangent * logits)) / d(images) in inference mode, (N, C, H, W).

        images     as for predict()
        cotangent  float32 (N, classes): the gradient of a loss by the logits
        """
        batch = arrays.images("images", images, self.info.input_shape)
        weights = arrays.floats("cotangent", cotangent, (len(batch), self.info.classes))
        gradient = np.empty_like(batch)
        call(
            "igdm_model_input_gradient",
            self._handle,
            pointer(batch),
            pointer(weights),
            len(batch),
            None,
            pointer(gradient),
        )
        return gradient

    @property
    def parameters(self) -> Parameters:
        """Weights, biases and running statistics by name: read gives copies, assignment writes to the model."""
        return Parameters(self)

    @contextmanager
    def edit(self, name: str) -> Iterator[Floats]:
        """A parameter to be changed in place: ``with model.edit("fc.bias") as bias: bias[3] = 0``.

        The array is a copy, which the model takes over as a whole at the end of the block: other threads see the old
        values or the new ones. After an exception, or where the new values are refused, the model keeps the old ones.
        """
        values = self.parameters[name]
        yield values
        self.parameters[name] = values

    @property
    def metadata(self) -> Metadata:
        """Free texts by key, which save(), load() and copy() keep: where the model comes from, and what you like."""
        return Metadata(self)

    @property
    def golden(self) -> Golden | None:
        """A copy of the golden block, or None: see set_golden()."""
        count, source = ctypes.c_size_t(), ctypes.c_char_p()
        call("igdm_model_golden_info", self._handle, count, source)
        if count.value == 0:
            return None
        text = (source.value or b"").decode()
        inputs = np.empty((count.value, *self.info.input_shape), np.float32)
        logits = np.empty((count.value, self.info.classes), np.float32)
        call("igdm_model_get_golden", self._handle, pointer(inputs), pointer(logits), count.value)
        return Golden(inputs, logits, text)

    def set_golden(self, inputs: ArrayLike | None, logits: ArrayLike | None = None, source: str = "") -> None:
        """Gives the model a golden block, which its checkpoints carry and verify() compares with. It goes when the
        weights change: set it when they are all there.

        inputs  images as for predict(); None removes the block
        logits  what the source of the weights computes for them, float32 (N, classes); this model's own where left out
        source  what computed the logits
        """
        if inputs is None:
            call("igdm_model_set_golden", self._handle, None, 0, None, None)
            return
        batch = arrays.images("inputs", inputs, self.info.input_shape)
        if len(batch) == 0:
            raise ShapeError("inputs: got no images, want at least one")
        wanted = None if logits is None else arrays.floats("logits", logits, (len(batch), self.info.classes))
        call(
            "igdm_model_set_golden",
            self._handle,
            pointer(batch),
            len(batch),
            None if wanted is None else pointer(wanted),
            structures.text("source", source),
        )

    def verify(self, tolerance: float | None = None) -> Verification:
        """Compares the model's logits with its golden block's. A difference beyond the tolerance is a MismatchError
        that names the sample, no golden block a NotFoundError.

        tolerance  relative to the largest magnitude among the golden logits; 1e-4 where left out
        """
        difference, sample = ctypes.c_double(), ctypes.c_size_t()
        allowed = 0.0 if tolerance is None else structures.number("tolerance", tolerance)
        call("igdm_model_verify", self._handle, allowed, difference, sample)
        return Verification(difference.value, sample.value)

    def digest(self) -> str:
        """SHA-256 over architecture, names, shapes and values: equal for models that compute the same bits, if they are
        both exact or both not."""
        info = self.info
        facts: list[object] = [info.architecture, info.classes, info.input_shape, info.mean, info.std]
        if info.shortcut_input is not None:
            facts += [info.shortcut_input, info.final_bn]
        sha = hashlib.sha256(repr(tuple(facts)).encode())
        if info.architecture == "graph":
            sha.update(self._graph_text().encode())
        for name, values in self.parameters.items():
            sha.update(f"{name}{values.shape}".encode())
            sha.update(values.tobytes())
        return sha.hexdigest()

    def __repr__(self) -> str:
        info = self.info
        shape = "x".join(map(str, info.input_shape))
        state = ", closed" if self.closed else ", exact" if self.exact else ""
        return (
            f"<igdm.Model {info.architecture}, width {info.width}, input {shape}, {info.classes} classes, "
            f"{info.parameter_count:,} parameters{state}>"
        )

    def _read_info(self) -> ModelInfo:
        info = structures.ModelInfo(struct_size=ctypes.sizeof(structures.ModelInfo))
        call("igdm_model_get_info", self._handle, info)
        return read_info("model", self._handle, info)

    def _read_parameter_table(self) -> dict[str, Parameter]:
        count = ctypes.c_size_t()
        call("igdm_model_parameter_count", self._handle, count)
        return read_parameter_table("model", self._handle, count.value)


def read_info(kind: str, handle: object, info: structures.ModelInfo | structures.CheckpointInfo) -> ModelInfo:
    """What the C struct of a handle of that kind ("model", "checkpoint") says of a model."""
    mean, std = np.empty(info.channels, np.float32), np.empty(info.channels, np.float32)
    call(f"igdm_{kind}_get_normalisation", handle, pointer(mean), pointer(std))
    normalised = bool(info.has_normalisation)
    return ModelInfo(
        architecture=info.architecture.decode(),
        classes=info.classes,
        input_shape=(info.channels, info.height, info.width),
        width=info.base_width,
        parameter_count=info.parameter_count,
        multiply_adds=info.multiply_adds,
        mean=tuple(mean.tolist()) if normalised else None,
        std=tuple(std.tolist()) if normalised else None,
        shortcut_input=info.shortcut_input and info.shortcut_input.decode(),
        final_bn=bool(info.final_bn),
    )


def read_parameter_table(kind: str, handle: object, count: int) -> dict[str, Parameter]:
    """Names, shapes and roles of the parameters of a handle of that kind."""
    name, shape = ctypes.c_char_p(), (ctypes.c_int64 * 4)()
    dimensions, trainable = ctypes.c_int64(), ctypes.c_int32()
    table = {}
    for index in range(count):
        call(f"igdm_{kind}_parameter_info", handle, index, name, shape, dimensions, trainable)
        table[(name.value or b"").decode()] = Parameter(tuple(shape[: dimensions.value]), bool(trainable.value))
    return table


class Parameters(Mapping[str, Floats]):
    """The parameters of a model, by their PyTorch names and in state_dict order.

    ``model.parameters["fc.weight"]`` is a copy; ``model.parameters["fc.weight"] = array`` writes to the model;
    ``dict(model.parameters)`` reads all. ``model.parameters.view("fc.weight")`` is the model's own memory.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each: convolutions OIHW, linear layers (out, in)."""
        return {name: parameter.shape for name, parameter in self._model._parameters.items()}

    @property
    def trainable(self) -> list[str]:
        """The names of weights and biases, without the running statistics."""
        return [name for name, parameter in self._model._parameters.items() if parameter.trainable]

    def __getitem__(self, name: str) -> Floats:
        values = np.empty(self._known(name).shape, np.float32)
        call(
            "igdm_model_get_parameter", self._model._handle, structures.text("name", name), pointer(values), values.size
        )
        return values

    def view(self, name: str) -> Floats:
        """The parameter where it lies, read-only, without a copy. It shows what training and assignment change, and
        stays valid as long as it is used, close() or not. Write with ``parameters[name] = ...`` or ``Model.edit``."""
        known, owner = self._known(name), self._model._owner
        values = ctypes.POINTER(ctypes.c_float)()
        call("igdm_model_parameter_data", self._model._handle, structures.text("name", name), values)
        memory = (ctypes.c_float * math.prod(known.shape)).from_address(ctypes.addressof(values.contents))
        memory._owner = owner
        return np.frombuffer(memoryview(memory).cast("B").toreadonly(), np.float32).reshape(known.shape)

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        array = arrays.floats(name, values, self._known(name).shape)
        call("igdm_model_set_parameter", self._model._handle, structures.text("name", name), pointer(array), array.size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._model._parameters)

    def __len__(self) -> int:
        return len(self._model._parameters)

    def __repr__(self) -> str:
        return f"<igdm.Parameters of {self._model!r}: {len(self)} arrays>"

    def _known(self, name: str) -> Parameter:
        try:
            return self._model._parameters[name]
        except KeyError:
            names = ", ".join(self)
            raise NotFoundError(f'name: got "{name}", want one of {names}') from None


def _normalise(
    options: structures.ModelOptions,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int | None,
) -> None:
    """Gives the options mean and std, `channels` numbers each (None: as many as there are)."""
    options.arrays = []  # live as long as the options point to them
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            continue
        array = np.array(values, dtype=np.float32)
        if array.ndim != 1 or channels not in (None, array.size):
            wanted = "one number" if channels is None else f"({channels},), one"
            raise ShapeError(f"{name}: got shape {array.shape}, want {wanted} per channel")
        if options.normalisation_count not in (0, array.size):
            raise ShapeError(
                f"{name}: got {array.size} numbers, want {options.normalisation_count}, as many as mean has"
            )
        setattr(options, name, pointer(array))
        options.normalisation_count = array.size
        options.arrays.append(array)


def _json(name: str, value: str | Mapping[str, object]) -> bytes:
    """A JSON argument as the C library takes it."""
    if isinstance(value, str):
        return structures.text(name, value)
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: got {type(value).__name__}, want JSON as str or dict")
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain).encode()
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}") from None


def _plain(value: object) -> object:
    """What numpy has instead of Python's numbers and lists, and mappings that are no dict."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"got a {type(value).__name__}, want what JSON has: dict, list, str, numbers, bool")


def architectures() -> tuple[str, ...]:
    """The names of the architectures; in patterns such as wrn_D_K the capitals stand for numbers."""
    return tuple(ask("igdm_architectures").split(","))


def require_model(name: str, value: object) -> Model:
    """`value`, which must be a Model."""
    if not isinstance(value, Model):
        raise TypeError(f"{name}: got {type(value).__name__}, want igdm.Model")
    if value.closed:
        raise InvalidArgument(f"{name}: used after close()")
    return value
