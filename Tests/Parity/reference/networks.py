"""The networks in PyTorch, under the parameter names of the field's own definitions.

All end in a global average over whatever spatial size is left, so any input size works. Normalisation (x - mean) / std
comes before the first convolution and is no part of the state dict.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class Classifier(nn.Module):
    """Normalises, extracts features (N, C', H', W'), averages them over space, applies the linear layer."""

    head = "linear"

    def __init__(self, mean: Tensor | None, std: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("mean", None if mean is None else mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", None if std is None else std.view(1, -1, 1, 1), persistent=False)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.mean is None else (images - self.mean) / self.std
        return getattr(self, self.head)(self.features(x).mean(dim=(2, 3)))

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class BasicBlock(nn.Module):
    """He et al. 2016: two 3x3 convolutions beside a shortcut, which is a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, relu: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet(Classifier):
    """CIFAR residual network: 3x3 stem, stages of basic blocks, each stage but the first halving the image."""

    def __init__(self, channels: int, classes: int, width: int, stages: list[int], **normalisation) -> None:
        super().__init__(**normalisation)
        self.conv1 = conv3x3(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.stage_names = []
        inputs = width
        for stage, blocks in enumerate(stages):
            outputs = width * 2**stage
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layer.append(BasicBlock(inputs, outputs, stride, self.relu))
                inputs = outputs
            self.stage_names.append(f"layer{stage + 1}")
            self.add_module(self.stage_names[-1], layer)
        self.linear = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.stage_names:
            x = getattr(self, name)(x)
        return x


class WideBlock(nn.Module):
    """Zagoruyko and Komodakis 2016, pre-activation. A projection sees the activated input, an identity the raw one."""

    def __init__(self, inputs: int, outputs: int, stride: int, relu: nn.Module) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut = None if inputs == outputs else conv1x1(inputs, outputs, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        kept = x if self.convShortcut is None else self.convShortcut(active)
        return kept + self.conv2(self.relu(self.bn2(self.conv1(active))))


class WideGroup(nn.Module):
    """Blocks of one width; exists for the names block1.layer.0 and so on."""

    def __init__(self, blocks: list[WideBlock]) -> None:
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(Classifier):
    """wrn_D_K: depth D = 6n + 4, widths 16, 16K, 32K, 64K."""

    head = "fc"

    def __init__(self, channels: int, classes: int, depth: int, factor: int, **normalisation) -> None:
        super().__init__(**normalisation)
        blocks = (depth - 4) // 6
        widths = [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = conv3x3(channels, widths[0])
        for group in (1, 2, 3):
            first = WideBlock(widths[group - 1], widths[group], 1 if group == 1 else 2, self.relu)
            others = [WideBlock(widths[group], widths[group], 1, self.relu) for _ in range(blocks - 1)]
            self.add_module(f"block{group}", WideGroup([first, *others]))
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)

    def features(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))


class SmallCNN(Classifier):
    """Four 3x3 convolutions, the second and fourth with stride 2."""

    head = "fc"

    def __init__(self, channels: int, classes: int, width: int, **normalisation) -> None:
        super().__init__(**normalisation)
        widths = [channels, width, 2 * width, 2 * width, 4 * width]
        for layer in range(1, 5):
            self.add_module(f"conv{layer}", conv3x3(widths[layer - 1], widths[layer], 2 - layer % 2))
            self.add_module(f"bn{layer}", nn.BatchNorm2d(widths[layer]))
        self.fc = nn.Linear(widths[4], classes)

    def features(self, x: Tensor) -> Tensor:
        for layer in range(1, 5):
            x = self.relu(getattr(self, f"bn{layer}")(getattr(self, f"conv{layer}")(x)))
        return x


class InvertedResidual(nn.Module):
    """Sandler et al. 2018: widen, filter each channel, project; at stride 1 beside a shortcut. No ReLU last."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, relu: nn.Module) -> None:
        super().__init__()
        inner = inputs * expansion
        self.conv1 = conv1x1(inputs, inner)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv1x1(inner, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride == 1 and inputs != outputs:
            self.shortcut = nn.Sequential(conv1x1(inputs, outputs), nn.BatchNorm2d(outputs))
        self.stride = stride
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        projected = self.bn3(self.conv3(inner))
        return projected + self.shortcut(x) if self.stride == 1 else projected


class MobileNetV2(Classifier):
    """The CIFAR form: ReLU, and a stem and second stage of stride 1. Widths are the paper's times width / 32."""

    # Outputs, expansion and stride of each of the 17 blocks.
    BLOCKS = (
        [(16, 1, 1), (24, 6, 1), (24, 6, 1), (32, 6, 2), (32, 6, 1), (32, 6, 1)]
        + [(64, 6, 2), *[(64, 6, 1)] * 3]
        + [(96, 6, 1)] * 3
        + [(160, 6, 2), *[(160, 6, 1)] * 2]
        + [(320, 6, 1)]
    )

    def __init__(self, channels: int, classes: int, width: int, **normalisation) -> None:
        super().__init__(**normalisation)
        inputs = width
        self.conv1 = conv3x3(channels, inputs)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.layers = nn.Sequential()
        for paper, expansion, stride in self.BLOCKS:
            outputs = math.ceil(paper * width / 32)
            self.layers.append(InvertedResidual(inputs, outputs, expansion, stride, self.relu))
            inputs = outputs
        self.conv2 = conv1x1(inputs, 40 * width)
        self.bn2 = nn.BatchNorm2d(40 * width)
        self.linear = nn.Linear(40 * width, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.layers(self.relu(self.bn1(self.conv1(x))))
        return self.relu(self.bn2(self.conv2(x)))


def network(
    architecture: str,
    channels: int,
    classes: int,
    width: int = 0,
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> Classifier:
    """A network by its igdm name; width 0 is the architecture's own."""
    normalisation = {"mean": mean, "std": std}
    if architecture in ("resnet8", "resnet14", "resnet20"):
        n = (int(architecture.removeprefix("resnet")) - 2) // 6
        return ResNet(channels, classes, width or 16, [n, n, n], **normalisation)
    if architecture == "resnet18":
        return ResNet(channels, classes, width or 64, [2, 2, 2, 2], **normalisation)
    if architecture == "small_cnn":
        return SmallCNN(channels, classes, width or 32, **normalisation)
    if architecture == "mobilenet_v2":
        return MobileNetV2(channels, classes, width or 32, **normalisation)
    kind, depth, factor = architecture.split("_")
    if kind != "wrn":
        raise ValueError(f"architecture: got {architecture!r}")
    return WideResNet(channels, classes, int(depth), int(factor), **normalisation)
