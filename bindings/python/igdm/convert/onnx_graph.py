"""An ONNX graph under construction: nodes, initialisers, and tensors in the layout that a layer wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats
from ..errors import InternalError
from . import files

INPUT, OUTPUT = "images", "logits"


@dataclass(frozen=True)
class Tensor:
    """The output of a layer, (channels, height, width) for one image."""

    shape: tuple[int, int, int]
    layouts: dict[str, str]
    """ONNX names of it by layout: "image" (N, C, H, W), "tokens" (N, H·W, C), and "vector" (N, C) of one pixel.
    What a layer asks for and is not here is made once and noted here."""

    @property
    def any(self) -> tuple[str, str]:
        """A layout that is there, and the name in it."""
        return next(iter(self.layouts.items()))


class Builder:
    """Collects the nodes of a graph. Names of layers and parameters have no slash, so that `layer/part` is new."""

    def __init__(self, parameters: Mapping[str, Floats]) -> None:
        self._onnx = files.required("onnx")
        self._parameters = parameters
        self._taken = {INPUT, OUTPUT}
        # Before any layer: where one is called like a parameter, the parameter keeps its name.
        self._names = {name: self._fresh(name) for name in parameters}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def _fresh(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def node(self, name: str, kind: str, inputs: Iterable[str], outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node called after a layer, or a part of one; gives the name of its output, or of several as a list."""
        name = self._fresh(name)
        names = [name] if outputs == 1 else [self._fresh(f"{name}/{index}") for index in range(outputs)]
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, values: Any) -> str:
        """Adds an array of float32 or of integers."""
        name, array = self._fresh(name), np.asarray(values)
        self._store(name, array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
        return name

    def values(self, name: str) -> Floats:
        """A copy of one of the model's parameters."""
        return self._parameters[name]

    def parameter(self, name: str) -> str:
        """Adds one of the model's parameters as it is, under its own name."""
        self._store(self._names[name], self._parameters[name])
        return self._names[name]

    def _store(self, name: str, array: NDArray[Any]) -> None:
        self.initializers.append(self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))

    def laid_out(self, x: Tensor, layout: str) -> str:
        """The tensor in any of the layouts."""
        return {"image": self.image, "tokens": self.tokens, "vector": self.vector}[layout](x)

    def image(self, x: Tensor) -> str:
        """The tensor as (N, C, H, W)."""
        if "image" not in x.layouts:
            layout, name = x.any
            if layout == "tokens":
                name = self.node(f"{name}/channels_first", "Transpose", [name], perm=[0, 2, 1])
            x.layouts["image"] = self.reshape(f"{x.any[1]}/image", name, [0, *x.shape])
        return x.layouts["image"]

    def tokens(self, x: Tensor) -> str:
        """The tensor as (N, H·W, C): pixels row by row."""
        if "tokens" not in x.layouts:
            layout, name = x.any
            channels, height, width = x.shape
            if layout == "vector":
                x.layouts["tokens"] = self.reshape(f"{name}/tokens", name, [0, 1, channels])
            else:
                flat = self.reshape(f"{name}/pixels", name, [0, channels, height * width])
                x.layouts["tokens"] = self.node(f"{name}/tokens", "Transpose", [flat], perm=[0, 2, 1])
        return x.layouts["tokens"]

    def vector(self, x: Tensor) -> str:
        """The tensor, of one pixel, as (N, C)."""
        if "vector" not in x.layouts:
            name = x.any[1]
            x.layouts["vector"] = self.node(f"{name}/vector", "Flatten", [name], axis=1)
        return x.layouts["vector"]

    def finish(self, x: Tensor) -> None:
        """Makes the output of the graph of what the last layer gives."""
        name = self.vector(x)
        last = self.nodes[-1]
        if last.output[0] != name:
            raise InternalError(f"the node that was added last gives {last.output[0]}, want {name}")
        last.output[0] = OUTPUT

    def reshape(self, name: str, x: str, shape: list[int]) -> str:
        """Another shape for the same numbers; 0 keeps a size, which the batch's always is."""
        return str(self.node(name, "Reshape", [x, self.constant(f"{name}/shape", shape)]))
