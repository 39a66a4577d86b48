"""Classifiers: create, load, save, predict, differentiate, and read or write weights by name."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays as arrays
from . import _structures as structures
from ._arrays import Floats, pointer
from ._library import Handle, ask, call, file_path
from .errors import InvalidArgument, NotFoundError, ShapeError

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
class _Parameter:
    shape: tuple[int, ...]
    trainable: bool


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
        normalisation = [None if values is None else np.array(values, dtype=np.float32) for values in (mean, std)]
        for name, values in zip(("mean", "std"), normalisation, strict=True):
            if values is not None:
                if values.shape != (options.channels,):
                    raise ShapeError(f"{name}: got shape {values.shape}, want ({options.channels},), one per channel")
                setattr(options, name, pointer(values))
                options.normalisation_count = options.channels
        created = structures.Model()
        call("igdm_model_create", structures.text("architecture", architecture), options, created)
        self._adopt(created)
        self.exact = exact

    @classmethod
    def load(cls, path: Path_, *, exact: bool = False) -> Model:
        """Loads a checkpoint written by save(). A checkpoint does not say whether the model was exact."""
        loaded = structures.Model()
        call("igdm_model_load", file_path("path", path), loaded)
        model = cls.__new__(cls)
        model._adopt(loaded)
        model.loaded_from = Path(path)
        model.exact = exact
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

    def copy(self) -> Model:
        """An independent model with the same weights, exact where this one is."""
        copied = structures.Model()
        call("igdm_model_copy", self._handle, copied)
        model = Model.__new__(Model)
        model._adopt(copied)
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

    def digest(self) -> str:
        """SHA-256 over architecture, names, shapes and values: equal for models that compute the same bits, if they are
        both exact or both not."""
        info = self.info
        facts: list[object] = [info.architecture, info.classes, info.input_shape, info.mean, info.std]
        if info.shortcut_input is not None:
            facts += [info.shortcut_input, info.final_bn]
        sha = hashlib.sha256(repr(tuple(facts)).encode())
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
        mean, std = np.empty(info.channels, np.float32), np.empty(info.channels, np.float32)
        call("igdm_model_get_normalisation", self._handle, pointer(mean), pointer(std))
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

    def _read_parameter_table(self) -> dict[str, _Parameter]:
        count = ctypes.c_size_t()
        call("igdm_model_parameter_count", self._handle, count)
        name, shape = ctypes.c_char_p(), (ctypes.c_int64 * 4)()
        dimensions, trainable = ctypes.c_int64(), ctypes.c_int32()
        table = {}
        for index in range(count.value):
            call("igdm_model_parameter_info", self._handle, index, name, shape, dimensions, trainable)
            table[(name.value or b"").decode()] = _Parameter(tuple(shape[: dimensions.value]), bool(trainable.value))
        return table


class Parameters(Mapping[str, Floats]):
    """The parameters of a model, by their PyTorch names and in state_dict order.

    ``model.parameters["fc.weight"]`` is a copy; ``model.parameters["fc.weight"] = array`` writes to the model;
    ``dict(model.parameters)`` reads all.
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

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        array = arrays.floats(name, values, self._known(name).shape)
        call("igdm_model_set_parameter", self._model._handle, structures.text("name", name), pointer(array), array.size)

    def __iter__(self) -> Iterator[str]:
        return iter(self._model._parameters)

    def __len__(self) -> int:
        return len(self._model._parameters)

    def __repr__(self) -> str:
        return f"<igdm.Parameters of {self._model!r}: {len(self)} arrays>"

    def _known(self, name: str) -> _Parameter:
        try:
            return self._model._parameters[name]
        except KeyError:
            names = ", ".join(self)
            raise NotFoundError(f'name: got "{name}", want one of {names}') from None


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
