"""Layer graphs of DenseNet, MobileNetV3 and Inception against torchvision's classes: logits, input gradients, gradients
of every parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import igdm
import numpy as np
import pytest
import torch
from cases import random_labels, uniform
from convnets import MOBILENET_V3_SMALL, Bottleneck, dense_net, inception, mobile_net_v3
from report import INPUT_GRADIENT, LOGITS, LOSS, PARAMETER_GRADIENT
from test_live_definitions import torchvision_models
from torch import nn
from torch.nn import functional


def mobilenet(blocks: list[Bottleneck], last: int, classes: int) -> nn.Module:
    definitions = torchvision_models().mobilenetv3
    settings = [
        definitions.InvertedResidualConfig(
            *one[:5], {"relu": "RE", "hard_swish": "HS"}[one.activation], one.stride, one.dilation, 1.0
        )
        for one in blocks
    ]
    return definitions.MobileNetV3(settings, last, classes, dropout=0.0)


class Inception(nn.Module):
    """Three blocks of torchvision's."""

    def __init__(self, width: int, narrow: int, classes: int) -> None:
        super().__init__()
        definitions = torchvision_models().inception
        self.stem = definitions.BasicConv2d(3, width, kernel_size=3, padding=1)
        self.a = definitions.InceptionA(width, narrow)
        self.c = definitions.InceptionC(224 + narrow, narrow)
        self.d = definitions.InceptionD(768)
        self.fc = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.d(self.c(self.a(self.stem(x)))).mean((2, 3)))


@dataclass(frozen=True)
class Case:
    name: str
    graph: dict[str, Any]
    torch: Callable[[], nn.Module]
    count: int = 4


DILATED = [
    Bottleneck(16, 3, 16, 16, True, "relu", 1),
    Bottleneck(16, 3, 40, 24, False, "hard_swish", 2),
    Bottleneck(24, 5, 56, 24, True, "hard_swish", 1, 2),
    Bottleneck(24, 3, 72, 32, True, "hard_swish", 1, 3),
]
CASES = [
    Case(
        "densenet",
        dense_net((3, 64, 48), 7, growth=5, blocks=(2, 3, 2, 2), width=10),
        lambda: torchvision_models().densenet.DenseNet(5, (2, 3, 2, 2), 10, num_classes=7),
    ),
    Case("mobilenetv3", mobile_net_v3((3, 33, 30), 6, DILATED, 40), lambda: mobilenet(DILATED, 40, 6)),
    Case("inception", inception((3, 9, 11), 5, 20, 12), lambda: Inception(20, 12, 5), count=3),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def parameter(case: Case, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Activations stay near 1; so do deviations, that no BatchNorm magnifies rounding."""
    stream = f"{case.name}/{name}"
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return uniform(stream, shape, 0.5, 1.5)
    if len(shape) == 1:
        return uniform(stream, shape, -0.5, 0.5)
    bound = float(np.sqrt(6 / np.prod(shape[1:])))
    return uniform(stream, shape, -bound, bound)


def pair(case: Case) -> tuple[igdm.Model, nn.Module]:
    """The same network twice, PyTorch's in double precision."""
    ours, theirs = igdm.Model.from_graph(case.graph), case.torch()
    shapes = shapes_of(theirs)
    assert dict(ours.parameters.shapes) == shapes
    for name, shape in shapes.items():
        ours.parameters[name] = parameter(case, name, shape)
    state = {name: torch.tensor(parameter(case, name, shape)) for name, shape in shapes.items()}
    theirs.load_state_dict(state, strict=False)
    return ours, theirs.double().eval()


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(values.shape)
        for name, values in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v3_small"])
def test_names_and_sizes_of_the_full_networks(name: str) -> None:
    graphs = {
        "densenet121": lambda: dense_net((3, 224, 224), 1000, growth=32, blocks=(6, 12, 24, 16), width=64),
        "mobilenet_v3_small": lambda: mobile_net_v3((3, 224, 224), 1000, MOBILENET_V3_SMALL, 1024),
    }
    model = igdm.Model.from_graph(graphs[name]())
    assert dict(model.parameters.shapes) == shapes_of(getattr(torchvision_models(), name)())


@each
def test_logits_and_input_gradients(case: Case) -> None:
    ours, theirs = pair(case)
    shape, classes = ours.info.input_shape, ours.info.classes
    images = uniform(f"{case.name}/images", (case.count, *shape))
    cotangent = uniform(f"{case.name}/cotangent", (case.count, classes), -1, 1)
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    logits = theirs(x)
    (logits * torch.tensor(cotangent)).sum().backward()
    assert LOGITS.error(ours.predict(images), logits.detach().numpy()) <= LOGITS.tolerance
    gradient = ours.input_gradient(images, cotangent)
    assert INPUT_GRADIENT.error(gradient, x.grad.numpy()) <= INPUT_GRADIENT.tolerance


@each
def test_gradients_of_parameters(case: Case) -> None:
    """Of the cross-entropy on a batch with its own statistics, as a training step computes them."""
    ours, theirs = pair(case)
    theirs.train()
    images = uniform(f"{case.name}/images", (case.count, *ours.info.input_shape))
    labels = random_labels(f"{case.name}/labels", case.count, ours.info.classes)
    loss = functional.cross_entropy(theirs(torch.tensor(images, dtype=torch.float64)), torch.tensor(labels))
    loss.backward()
    trainer = igdm.Trainer(ours, None, method="pgd-at", epochs=1, steps_per_epoch=1)
    report = trainer.step(images, labels, adversarial=images, update=False)
    assert LOSS.error(report.loss, loss.item()) <= LOSS.tolerance
    largest = max(float(value.grad.abs().max()) for value in theirs.parameters())
    for name, value in theirs.named_parameters():
        got, wanted = trainer.gradient(name), value.grad.numpy()
        if np.abs(wanted).max() < 1e-9 * largest:
            # What every BatchNorm after it takes away.
            assert np.abs(got).max() < 1e-5 * largest, name
            continue
        assert PARAMETER_GRADIENT.error(got, wanted) <= PARAMETER_GRADIENT.tolerance, name


@each
def test_gradients_with_the_exact_convolutions(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made = igdm.Model.from_graph
    monkeypatch.setattr(igdm.Model, "from_graph", lambda graph: made(graph, exact=True))
    test_logits_and_input_gradients(case)
    test_gradients_of_parameters(case)
