"""The layers of docs/graph-format.md as nodes of ONNX (opset 17), one function for each type.

Each takes a builder, the name of the layer, its inputs, and by keyword its attributes: one that is not known here is a
TypeError, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .onnx_graph import Builder, Tensor

Pair = int | Sequence[int]
"""[down, across], or one for both; of a padding [top, left, bottom, right], or one for all."""


def conv(
    b: Builder, name: str, x: Tensor, *, channels: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = 1,
    groups: int, bias: bool,
) -> Tensor:  # fmt: skip
    inputs = [b.image(x), b.parameter(f"{name}.weight"), *_bias(b, name, bias)]
    windows = Windows(_each(kernel, 2), _each(stride, 2), _each(padding, 4), _each(dilation, 2))
    y = b.node(name, "Conv", inputs, group=groups, **windows.attributes)
    return Tensor((channels, *windows.over(x)), {"image": y})


def batch_norm(b: Builder, name: str, x: Tensor, *, epsilon: float, momentum: float) -> Tensor:
    """`momentum` is for training only."""
    parts = ("weight", "bias", "running_mean", "running_var")
    inputs = [b.image(x), *(b.parameter(f"{name}.{part}") for part in parts)]
    return Tensor(x.shape, {"image": b.node(name, "BatchNormalization", inputs, epsilon=epsilon)})


def relu(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Relu", [value])})


def relu6(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    bounds = [b.constant(f"{name}/{bound}", float(bound)) for bound in (0, 6)]
    return Tensor(x.shape, {layout: b.node(name, "Clip", [value, *bounds])})


def leaky_relu(b: Builder, name: str, x: Tensor, *, slope: float) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "LeakyRelu", [value], alpha=slope)})


def silu(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Mul", [value, b.node(f"{name}/sigmoid", "Sigmoid", [value])])})


def gelu(b: Builder, name: str, x: Tensor) -> Tensor:
    """x·(1 + erf(x/√2))/2: the operator Gelu is opset 20's."""
    layout, value = x.any
    scaled = b.node(f"{name}/scaled", "Div", [value, b.constant(f"{name}/root", math.sqrt(2))])
    shifted = b.node(f"{name}/shifted", "Add", [b.node(f"{name}/erf", "Erf", [scaled]), b.constant(f"{name}/one", 1.0)])
    product = b.node(f"{name}/product", "Mul", [value, shifted])
    return Tensor(x.shape, {layout: b.node(name, "Mul", [product, b.constant(f"{name}/half", 0.5)])})


def sigmoid(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Sigmoid", [value])})


def tanh(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Tanh", [value])})


def hard_sigmoid(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "HardSigmoid", [value], alpha=1 / 6, beta=0.5)})


def hard_swish(b: Builder, name: str, x: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "HardSwish", [value])})


def add(b: Builder, name: str, x: Tensor, other: Tensor) -> Tensor:
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Add", [value, b.laid_out(other, layout)])})


def multiply(b: Builder, name: str, x: Tensor, other: Tensor) -> Tensor:
    """ONNX too repeats what has one pixel; the layouts have to be the same."""
    layout, value = x.any
    return Tensor(x.shape, {layout: b.node(name, "Mul", [value, b.laid_out(other, layout)])})


def concat(b: Builder, name: str, *xs: Tensor) -> Tensor:
    channels = sum(x.shape[0] for x in xs)
    return Tensor((channels, *xs[0].shape[1:]), {"image": b.node(name, "Concat", [b.image(x) for x in xs], axis=1)})


def average_pool(
    b: Builder, name: str, x: Tensor, *, window: Pair, stride: Pair, padding: Pair, count_padding: bool = True
) -> Tensor:
    return _pool(b, name, x, "AveragePool", window, stride, padding, count_include_pad=int(count_padding))


def max_pool(b: Builder, name: str, x: Tensor, *, window: Pair, stride: Pair, padding: Pair) -> Tensor:
    return _pool(b, name, x, "MaxPool", window, stride, padding)


def global_average_pool(b: Builder, name: str, x: Tensor) -> Tensor:
    return Tensor((x.shape[0], 1, 1), {"image": b.node(name, "GlobalAveragePool", [b.image(x)])})


def flatten(b: Builder, name: str, x: Tensor) -> Tensor:
    return Tensor((math.prod(x.shape), 1, 1), {"vector": b.node(name, "Flatten", [b.image(x)], axis=1)})


def linear(b: Builder, name: str, x: Tensor, *, outputs: int, bias: bool) -> Tensor:
    inputs = [b.vector(x), b.parameter(f"{name}.weight"), *_bias(b, name, bias)]
    return Tensor((outputs, 1, 1), {"vector": b.node(name, "Gemm", inputs, transB=1)})


def layer_norm(b: Builder, name: str, x: Tensor, *, epsilon: float) -> Tensor:
    inputs = [b.tokens(x), b.parameter(f"{name}.weight"), b.parameter(f"{name}.bias")]
    return Tensor(x.shape, {"tokens": b.node(name, "LayerNormalization", inputs, axis=-1, epsilon=epsilon)})


def token_linear(b: Builder, name: str, x: Tensor, *, outputs: int, bias: bool) -> Tensor:
    """The weight is stored transposed: for a matrix product, not a node before it, is what optimisers look for."""
    weight = b.constant(f"{name}.weight/transposed", b.values(f"{name}.weight").T)
    value = b.node(f"{name}/product" if bias else name, "MatMul", [b.tokens(x), weight])
    if bias:
        value = b.node(name, "Add", [value, b.parameter(f"{name}.bias")])
    return Tensor((outputs, *x.shape[1:]), {"tokens": value})


def attention(b: Builder, name: str, x: Tensor, *, heads: int) -> Tensor:
    """softmax(Q Kᵀ/√D) V for each head (arXiv 1706.03762, eq. 1)."""
    channels = x.shape[0] // 3
    depth = channels // heads
    sizes = b.constant(f"{name}/sizes", [channels] * 3)
    parts = b.node(f"{name}/split", "Split", [b.tokens(x), sizes], outputs=3, axis=2)
    # Queries and values (N, heads, T, D), keys (N, heads, D, T).
    q, k, v = (
        b.node(
            f"{name}/{part}", "Transpose", [b.reshape(f"{name}/{part}_heads", value, [0, 0, heads, depth])], perm=axes
        )
        for part, value, axes in zip("qkv", parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scores = b.node(f"{name}/scores", "MatMul", [q, k])
    scaled = b.node(f"{name}/scaled", "Div", [scores, b.constant(f"{name}/root", math.sqrt(depth))])
    weights = b.node(f"{name}/softmax", "Softmax", [scaled], axis=-1)
    mixed = b.node(f"{name}/mixed", "MatMul", [weights, v])
    rows = b.node(f"{name}/rows", "Transpose", [mixed], perm=[0, 2, 1, 3])
    return Tensor((channels, *x.shape[1:]), {"tokens": b.reshape(name, rows, [0, 0, channels])})


def class_token(b: Builder, name: str, x: Tensor) -> Tensor:
    channels, height, width = x.shape
    tokens = b.tokens(x)
    batch = b.node(f"{name}/batch", "Shape", [tokens], start=0, end=1)
    shape = b.node(f"{name}/shape", "Concat", [batch, b.constant(f"{name}/sizes", [1, channels])], axis=0)
    token = b.node(f"{name}/repeated", "Expand", [b.parameter(name), shape])
    y = b.node(f"{name}/joined", "Concat", [token, tokens], axis=1)
    return Tensor((channels, height * width + 1, 1), {"tokens": y})


def position_embedding(b: Builder, name: str, x: Tensor) -> Tensor:
    return Tensor(x.shape, {"tokens": b.node(f"{name}/sum", "Add", [b.tokens(x), b.parameter(name)])})


def select_token(b: Builder, name: str, x: Tensor, *, index: int) -> Tensor:
    y = b.node(name, "Gather", [b.tokens(x), b.constant(f"{name}/index", index)], axis=1)
    return Tensor((x.shape[0], 1, 1), {"vector": y})


LAYERS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        conv, batch_norm, relu, relu6, leaky_relu, silu, gelu, sigmoid, tanh, hard_sigmoid, hard_swish, add, multiply,
        concat, average_pool, max_pool, global_average_pool, flatten, linear, layer_norm, token_linear,
        attention, class_token, position_embedding, select_token,
    )
}  # fmt: skip
"""By the name of their type."""


def _bias(b: Builder, name: str, there: bool) -> list[str]:
    return [b.parameter(f"{name}.bias")] if there else []


def _pool(
    b: Builder, name: str, x: Tensor, kind: str, window: Pair, stride: Pair, padding: Pair, **more: int
) -> Tensor:
    windows = Windows(_each(window, 2), _each(stride, 2), _each(padding, 4))
    return Tensor(
        (x.shape[0], *windows.over(x)), {"image": b.node(name, kind, [b.image(x)], **windows.attributes, **more)}
    )


@dataclass(frozen=True)
class Windows:
    """How a window moves over an image."""

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int] | None = None

    @property
    def attributes(self) -> dict[str, list[int]]:
        """Those of ONNX."""
        dilations = {} if self.dilation is None else {"dilations": self.dilation}
        return {"kernel_shape": self.kernel, "strides": self.stride, "pads": self.padding, **dilations}

    def over(self, x: Tensor) -> tuple[int, int]:
        """How many windows fit, down and across."""
        down, across = (
            (x.shape[1 + d] + self.padding[d] + self.padding[d + 2] - (step * (self.kernel[d] - 1) + 1))
            // self.stride[d] + 1
            for d, step in enumerate(self.dilation or [1, 1])
        )  # fmt: skip
        return down, across


def _each(value: Pair, count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)
