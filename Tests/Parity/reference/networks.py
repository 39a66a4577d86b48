"""The networks in PyTorch, under the parameter names of the field's own definitions.

All end in a global average over whatever spatial size is left, so any input size works. Normalisation (x - mean) / std
comes before the first convolution and is no part of the state dict.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional


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


class ResidualBlock(nn.Module):
    """A block beside a shortcut, which is a projection where the shape changes."""

    def project(self, name: str, inputs: int, outputs: int, stride: int) -> None:
        self.projection = name if stride != 1 or inputs != outputs else None
        if self.projection:
            self.add_module(name, nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs)))

    def kept(self, x: Tensor) -> Tensor:
        return getattr(self, self.projection)(x) if self.projection else x


class BasicBlock(ResidualBlock):
    """He et al. 2016: two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, relu: nn.Module, projection: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.project(projection, inputs, width, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.kept(x))


class Bottleneck(ResidualBlock):
    """He et al. 2016: 1x1, 3x3, 1x1; with the stride in the 3x3 convolution."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, relu: nn.Module, projection: str) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.project(projection, inputs, outputs, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.kept(x))


class ResNet(Classifier):
    """CIFAR residual network: 3x3 stem, stages of blocks, each stage but the first halving the image."""

    projection = "shortcut"

    def __init__(
        self, channels: int, classes: int, width: int, stages: list[int], block: type = BasicBlock, **normalisation
    ) -> None:
        super().__init__(**normalisation)
        self.conv1 = conv3x3(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.stage_names = []
        inputs = width
        for stage, blocks in enumerate(stages):
            layer = nn.Sequential()
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(block(inputs, width * 2**stage, stride, self.relu, self.projection))
                inputs = width * 2**stage * block.expansion
            self.stage_names.append(f"layer{stage + 1}")
            self.add_module(self.stage_names[-1], layer)
        self.add_module(self.head, nn.Linear(inputs, classes))

    def stem(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.conv1(x)))

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for name in self.stage_names:
            x = getattr(self, name)(x)
        return x


class ImageNetResNet(ResNet):
    """The same with ImageNet's stem, and torchvision's names for shortcuts and head."""

    head = "fc"
    projection = "downsample"

    def __init__(self, channels: int, classes: int, width: int, *arguments, **normalisation) -> None:
        super().__init__(channels, classes, width, *arguments, **normalisation)
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(super().stem(x))


class PreActBlock(nn.Module):
    """He et al. 2016b: BatchNorm and ReLU before each convolution; a projection has no BatchNorm of its own."""

    def __init__(self, inputs: int, outputs: int, stride: int, relu: nn.Module, shortcut_input: str) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(conv1x1(inputs, outputs, stride))
        self.shortcut_sees_activated = len(self.shortcut) > 0 and {"raw": False, "activated": True}[shortcut_input]
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu(self.bn1(x))
        kept = self.shortcut(active if self.shortcut_sees_activated else x)
        return kept + self.conv2(self.relu(self.bn2(self.conv1(active))))


class PreActResNet(Classifier):
    """preact_resnet18 in its four forms."""

    def __init__(
        self, channels: int, classes: int, width: int, shortcut_input: str, final_bn: bool, **normalisation
    ) -> None:
        super().__init__(**normalisation)
        self.conv1 = conv3x3(channels, width)
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            first = PreActBlock(inputs, outputs, 1 if stage == 0 else 2, self.relu, shortcut_input)
            second = PreActBlock(outputs, outputs, 1, self.relu, shortcut_input)
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, second))
            inputs = outputs
        self.bn = nn.BatchNorm2d(inputs) if final_bn else None
        self.linear = nn.Linear(inputs, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return x if self.bn is None else self.relu(self.bn(x))


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's SAME padding: an odd line goes to the bottom and the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        lines = [max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]]
        top, left = (count // 2 for count in lines)
        return super().forward(functional.pad(x, (left, lines[1] - left, top, lines[0] - top)))


class DeepMindBlock(nn.Module):
    """Gowal et al. 2020. Wide networks project the activated input (1x1), the others the raw one (3x3)."""

    def __init__(self, inputs: int, outputs: int, stride: int, wide: bool) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.add_module("conv_0" if wide else "conv_2d_1", SameConv2d(inputs, outputs, 3, stride))
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.add_module("conv_1" if wide else "conv_2d_2", SameConv2d(outputs, outputs, 3, 1))
        self.shortcut = None if inputs == outputs else SameConv2d(inputs, outputs, 1 if wide else 3, stride)
        self.wide = wide

    def forward(self, x: Tensor) -> Tensor:
        first, second = (getattr(self, name) for name in self._modules if name.startswith("conv"))
        active = functional.silu(self.batchnorm_0(x))
        inner = second(functional.silu(self.batchnorm_1(first(active))))
        if self.shortcut is None:
            return x + inner
        return self.shortcut(active if self.wide else x) + inner


class DeepMindGroup(nn.Module):
    """Blocks of one width; exists for the names layer.0.block.0 and so on."""

    def __init__(self, blocks: list[DeepMindBlock]) -> None:
        super().__init__()
        self.block = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class DeepMindNetwork(Classifier):
    """What dm_wrn_D_K and dm_preact_resnet18 have in common: SiLU, the last BatchNorm, the head."""

    head = "logits"

    def groups(self, widths: list[int], blocks: int, wide: bool) -> list[list[DeepMindBlock]]:
        """The groups' blocks; `widths` begins with the stem's."""
        return [
            [
                DeepMindBlock(widths[group] if block == 0 else width, width, 2 if group and block == 0 else 1, wide)
                for block in range(blocks)
            ]
            for group, width in enumerate(widths[1:])
        ]

    def finish(self, outputs: int, classes: int) -> None:
        self.batchnorm = nn.BatchNorm2d(outputs)
        self.logits = nn.Linear(outputs, classes)


class DeepMindWideResNet(DeepMindNetwork):
    """dm_wrn_D_K."""

    def __init__(self, channels: int, classes: int, depth: int, factor: int, **normalisation) -> None:
        super().__init__(**normalisation)
        widths = [16, 16 * factor, 32 * factor, 64 * factor]
        self.init_conv = conv3x3(channels, widths[0])
        groups = self.groups(widths, (depth - 4) // 6, wide=True)
        self.layer = nn.Sequential(*(DeepMindGroup(blocks) for blocks in groups))
        self.finish(widths[3], classes)

    def features(self, x: Tensor) -> Tensor:
        return functional.silu(self.batchnorm(self.layer(self.init_conv(x))))


class DeepMindPreActResNet(DeepMindNetwork):
    """dm_preact_resnet18."""

    def __init__(self, channels: int, classes: int, width: int, **normalisation) -> None:
        super().__init__(**normalisation)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.conv_2d = conv3x3(channels, width)
        for group, blocks in enumerate(self.groups(widths, 2, wide=False)):
            self.add_module(f"layer_{group}", nn.Sequential(*blocks))
        self.finish(widths[4], classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.layer_3(self.layer_2(self.layer_1(self.layer_0(self.conv_2d(x)))))
        return functional.silu(self.batchnorm(x))


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


# Blocks of each stage.
STAGES = {"resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3], "resnet50": [3, 4, 6, 3]}


def network(
    architecture: str,
    channels: int,
    classes: int,
    width: int = 0,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    shortcut_input: str = "activated",
    final_bn: bool = False,
) -> Classifier:
    """A network by its igdm name; width 0 is the architecture's own."""
    normalisation = {"mean": mean, "std": std}
    if architecture in ("resnet8", "resnet14", "resnet20"):
        n = (int(architecture.removeprefix("resnet")) - 2) // 6
        return ResNet(channels, classes, width or 16, [n, n, n], **normalisation)
    if (size := architecture.removeprefix("imagenet_")) in STAGES:
        kind = ResNet if size == architecture else ImageNetResNet
        block = Bottleneck if size == "resnet50" else BasicBlock
        return kind(channels, classes, width or 64, STAGES[size], block, **normalisation)
    if architecture == "preact_resnet18":
        return PreActResNet(channels, classes, width or 64, shortcut_input, final_bn, **normalisation)
    if architecture == "dm_preact_resnet18":
        return DeepMindPreActResNet(channels, classes, width or 64, **normalisation)
    if architecture == "small_cnn":
        return SmallCNN(channels, classes, width or 32, **normalisation)
    if architecture == "mobilenet_v2":
        return MobileNetV2(channels, classes, width or 32, **normalisation)
    *kind, depth, factor = architecture.split("_")
    networks = {("wrn",): WideResNet, ("dm", "wrn"): DeepMindWideResNet}
    if tuple(kind) not in networks:
        raise ValueError(f"architecture: got {architecture!r}")
    return networks[tuple(kind)](channels, classes, int(depth), int(factor), **normalisation)
