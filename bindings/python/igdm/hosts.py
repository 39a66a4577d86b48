"""Classifiers that Python computes, under the library's attacks."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _structures as structures
from ._callbacks import Callback
from ._library import call
from ._structures import positive
from .errors import InvalidArgument, NotFiniteError, ShapeError
from .models import Model, require_model

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HostModel:
    """A classifier of any framework: two functions on arrays.

    PyTorch, for example::

        def forward(images):
            return module(torch.tensor(images)).detach().numpy()

        def gradient(images, cotangent):
            x = torch.tensor(images, requires_grad=True)
            return torch.autograd.grad(module(x), x, torch.tensor(cotangent))[0].numpy()

        igdm.attack(igdm.HostModel(forward, gradient, classes=10, input_shape=(3, 32, 32)), images, labels, "apgd-ce")

    The arrays are the library's own and cannot be written to: torch.tensor() and numpy's copy() make arrays that can. A
    sample's logits should not depend on the others of its batch, nor on the moment. What the functions raise comes
    out of the call that runs them.
    """

    forward: Callable[[Floats], ArrayLike]
    """Images (N, C, H, W) in [0,1], read-only and valid during the call, to logits (N, classes)."""
    gradient: Callable[[Floats, Floats], ArrayLike] | None = None
    """Images and a cotangent (N, classes) to the gradient of sum(cotangent * logits) by the images, which are those of
    the forward() before. None: black-box attacks only (square, spsa, hopskipjump, noise-*, corruptions)."""
    classes: int = 10
    input_shape: tuple[int, int, int] = (3, 32, 32)

    def __post_init__(self) -> None:
        for name, function in (("forward", self.forward), ("gradient", self.gradient)):
            if not callable(function) and not (name == "gradient" and function is None):
                raise TypeError(f"{name}: got {type(function).__name__}, want a function of arrays")
        if positive("classes", self.classes) < 2:
            raise InvalidArgument(f"classes: got {self.classes}, want at least 2")
        if not isinstance(self.input_shape, Sequence) or len(self.input_shape) != 3:
            raise ShapeError(f"input_shape: got {self.input_shape!r}, want (channels, height, width)")
        for size in self.input_shape:
            positive("input_shape", size)


@dataclass(frozen=True)
class Attacked:
    """What a function of the library is given for a model."""

    handle: Any
    classes: int
    input_shape: tuple[int, int, int]
    is_host: bool

    def function(self, ours: str, hosts: str) -> str:
        """The name of the function for this kind of model."""
        return hosts if self.is_host else ours


@contextmanager
def attacked(name: str, model: object) -> Generator[Attacked, None, None]:
    """Lends `model` to a call of the library."""
    if isinstance(model, Model):
        require_model(name, model)
        yield Attacked(model._handle, model.info.classes, model.info.input_shape, False)
        return
    if not isinstance(model, HostModel):
        raise TypeError(f"{name}: got {type(model).__name__}, want igdm.Model or igdm.HostModel")
    structure = structures.HostModel()
    call("igdm_host_model_init", structure)
    channels, height, width = model.input_shape
    structure.assign(
        classes=model.classes, channels=channels, height=height, width=width,
        has_gradient=int(model.gradient is not None),
    )  # fmt: skip
    with Callback(structures.HostCallback, lambda event: _evaluate(model, event)) as callback:
        structure.evaluate = callback.pointer
        yield Attacked(ctypes.byref(structure), model.classes, model.input_shape, True)


def _evaluate(model: HostModel, event: structures.HostPass) -> None:
    count = event.count
    images = _read_only(event.images, (count, *model.input_shape))
    logits_shape = (count, model.classes)
    if event.cotangent:
        assert model.gradient is not None
        result = model.gradient(images, _read_only(event.cotangent, logits_shape))
        _store("gradient", result, event.gradient, images.shape)
    else:
        _store("forward", model.forward(images), event.logits, logits_shape)


def host_logits(model: HostModel, images: Floats, first: int) -> Floats:
    """One forward pass outside the library, of images of which the first has that number."""
    view = images.view()
    view.flags.writeable = False
    with np.errstate(over="ignore"):
        logits = _checked("forward", model.forward(view), (len(images), model.classes)).astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise NotFiniteError(f"forward: sample {first + broken[0]}: got {logits[broken[0]]}, want finite numbers")
    return logits


def _view(address: Any, shape: tuple[int, ...]) -> Floats:
    return np.ctypeslib.as_array(address, shape)


def _read_only(address: Any, shape: tuple[int, ...]) -> Floats:
    """What a host changed there, the attack would go on with."""
    view = _view(address, shape)
    view.flags.writeable = False
    return view


def _store(name: str, result: ArrayLike, address: Any, shape: tuple[int, ...]) -> None:
    _view(address, shape)[...] = _checked(name, result, shape)


def _checked(name: str, result: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(result)
    if array.shape != shape:
        raise ShapeError(f"{name}: returned shape {array.shape}, want {shape}")
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: returned dtype {array.dtype}, want floats")
    return array
