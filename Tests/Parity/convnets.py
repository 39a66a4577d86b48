"""Convolutional networks that igdm has as layer graphs only, under torchvision's names (docs/graph-format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Layers:
    """A graph under construction; what adds a layer gives its name."""

    def __init__(self, shape: tuple[int, int, int], epsilon: float) -> None:
        self.shape, self.epsilon = shape, epsilon
        self.layers: list[dict[str, Any]] = []

    def add(self, kind: str, *inputs: str, name: str | None = None, **keys: Any) -> str:
        name = name or f"{kind}_{len(self.layers)}"
        self.layers.append({"name": name, "type": kind, "inputs": list(inputs), **keys})
        return name

    def conv(self, name: str, x: str, channels: int, kernel: int | Sequence[int], **keys: Any) -> str:
        """Padded so that stride 1 keeps the size, if nothing else is asked for."""
        down, across = (kernel, kernel) if isinstance(kernel, int) else kernel
        keys = {"padding": [down // 2, across // 2] * 2} | keys
        return self.add("conv", x, name=name, channels=channels, kernel=kernel, **keys)

    def norm(self, name: str, x: str) -> str:
        return self.add("batch_norm", x, name=name, epsilon=self.epsilon)

    def finished(self, output: str) -> dict[str, Any]:
        return {
            "format": "igdm-graph", "version": 1, "input": list(self.shape), "layers": self.layers, "output": output
        }  # fmt: skip


def dense_net(
    shape: tuple[int, int, int], classes: int, growth: int, blocks: Sequence[int], width: int
) -> dict[str, Any]:
    """DenseNet-BC (Huang et al., arXiv 1608.06993), bottlenecks four times as wide as what a layer adds."""
    g = Layers(shape, epsilon=1e-5)

    def activated(name: str, x: str) -> str:
        return g.add("relu", g.norm(name, x))

    x = activated("features.norm0", g.conv("features.conv0", "input", width, 7, stride=2))
    x = g.add("max_pool", x, window=3, stride=2, padding=1)
    for number, layers in enumerate(blocks, 1):
        found = [x]
        for index in range(1, layers + 1):
            name = f"features.denseblock{number}.denselayer{index}"
            y = g.add("concat", *found) if len(found) > 1 else x
            y = g.conv(f"{name}.conv1", activated(f"{name}.norm1", y), 4 * growth, 1)
            found.append(g.conv(f"{name}.conv2", activated(f"{name}.norm2", y), growth, 3))
        x, width = g.add("concat", *found), width + layers * growth
        if number < len(blocks):
            width //= 2
            name = f"features.transition{number}"
            x = g.conv(f"{name}.conv", activated(f"{name}.norm", x), width, 1)
            x = g.add("average_pool", x, window=2, stride=2)
    x = g.add("global_average_pool", activated("features.norm5", x))
    return g.finished(g.add("linear", x, name="classifier", outputs=classes))


class Bottleneck(NamedTuple):
    """A line of tables 1 and 2 of MobileNetV3's paper; the dilation is torchvision's."""

    inputs: int
    kernel: int
    hidden: int
    outputs: int
    excited: bool
    activation: str
    stride: int
    dilation: int = 1


MOBILENET_V3_SMALL = [
    Bottleneck(16, 3, 16, 16, True, "relu", 2),
    Bottleneck(16, 3, 72, 24, False, "relu", 2),
    Bottleneck(24, 3, 88, 24, False, "relu", 1),
    Bottleneck(24, 5, 96, 40, True, "hard_swish", 2),
    *[Bottleneck(40, 5, 240, 40, True, "hard_swish", 1)] * 2,
    Bottleneck(40, 5, 120, 48, True, "hard_swish", 1),
    Bottleneck(48, 5, 144, 48, True, "hard_swish", 1),
    Bottleneck(48, 5, 288, 96, True, "hard_swish", 2),
    *[Bottleneck(96, 5, 576, 96, True, "hard_swish", 1)] * 2,
]


def mobile_net_v3(shape: tuple[int, int, int], classes: int, blocks: Sequence[Bottleneck], last: int) -> dict[str, Any]:
    """MobileNetV3 (Howard et al., arXiv 1905.02244): depthwise convolutions, squeeze-and-excitation, hard-swish."""
    g = Layers(shape, epsilon=1e-3)

    def block(name: str, x: str, channels: int, kernel: int, activation: str | None, **keys: Any) -> str:
        reach = keys.get("dilation", 1) * (kernel - 1) + 1
        y = g.norm(f"{name}.1", g.conv(f"{name}.0", x, channels, kernel, padding=reach // 2, **keys))
        return g.add(activation, y) if activation else y

    x = block("features.0", "input", blocks[0].inputs, 3, "hard_swish", stride=2)
    for number, one in enumerate(blocks, 1):
        y, parts = x, iter(range(9))

        def part(number: int = number, parts: Any = parts) -> str:
            return f"features.{number}.block.{next(parts)}"

        if one.hidden != one.inputs:
            y = block(part(), y, one.hidden, 1, one.activation)
        stride = 1 if one.dilation > 1 else one.stride
        y = block(
            part(), y, one.hidden, one.kernel, one.activation, stride=stride, dilation=one.dilation, groups=one.hidden
        )
        if one.excited:
            name = part()
            # A quarter of the channels, a multiple of 8 and not much less than asked for.
            squeezed = max(8, (one.hidden // 4 + 4) // 8 * 8)
            squeezed += 8 * (squeezed < 0.9 * (one.hidden // 4))
            z = g.conv(f"{name}.fc1", g.add("global_average_pool", y), squeezed, 1, bias=True)
            z = g.conv(f"{name}.fc2", g.add("relu", z), one.hidden, 1, bias=True)
            y = g.add("multiply", y, g.add("hard_sigmoid", z))
        y = block(part(), y, one.outputs, 1, None)
        x = g.add("add", y, x) if one.stride == 1 and one.inputs == one.outputs else y
    outputs = blocks[-1].outputs
    x = block(f"features.{len(blocks) + 1}", x, 6 * outputs, 1, "hard_swish")
    x = g.add("linear", g.add("global_average_pool", x), name="classifier.0", outputs=last)
    return g.finished(g.add("linear", g.add("hard_swish", x), name="classifier.3", outputs=classes))


def inception(shape: tuple[int, int, int], classes: int, width: int, narrow: int) -> dict[str, Any]:
    """Blocks A, C and D of Inception-v3 (Szegedy et al., arXiv 1512.00567, figures 5, 6 and 10) in a row."""
    g = Layers(shape, epsilon=1e-3)

    def block(name: str, x: str, channels: int, kernel: int | Sequence[int], **keys: Any) -> str:
        return g.add("relu", g.norm(f"{name}.bn", g.conv(f"{name}.conv", x, channels, kernel, **keys)))

    def chain(name: str, x: str, *steps: tuple[int, int | Sequence[int]], **last: Any) -> str:
        for index, (channels, kernel) in enumerate(steps, 1):
            x = block(f"{name}_{index}", x, channels, kernel, **(last if index == len(steps) else {}))
        return x

    reduce = {"stride": 2, "padding": 0}
    x = block("stem", "input", width, 3)
    pooled = g.add("average_pool", x, window=3, padding=1)
    x = g.add(
        "concat", block("a.branch1x1", x, 64, 1), chain("a.branch5x5", x, (48, 1), (64, 5)),
        chain("a.branch3x3dbl", x, (64, 1), (96, 3), (96, 3)), block("a.branch_pool", pooled, narrow, 1),
    )  # fmt: skip
    pooled = g.add("average_pool", x, window=3, padding=1)
    across, down = [1, 7], [7, 1]
    x = g.add(
        "concat", block("c.branch1x1", x, 192, 1), chain("c.branch7x7", x, (narrow, 1), (narrow, across), (192, down)),
        chain("c.branch7x7dbl", x, (narrow, 1), (narrow, down), (narrow, across), (narrow, down), (192, across)),
        block("c.branch_pool", pooled, 192, 1),
    )  # fmt: skip
    x = g.add(
        "concat", chain("d.branch3x3", x, (192, 1), (320, 3), **reduce),
        chain("d.branch7x7x3", x, (192, 1), (192, across), (192, down), (192, 3), **reduce),
        g.add("max_pool", x, window=3, stride=2),
    )  # fmt: skip
    return g.finished(g.add("linear", g.add("global_average_pool", x), name="fc", outputs=classes))
