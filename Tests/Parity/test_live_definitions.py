"""The reference's networks against the field's own definitions: torchvision's, timm's and RobustBench's (2021).

Same names in the same order, and from the same weights in double precision the same logits, input gradients and weight
gradients. What igdm computes is then compared with the reference (test_parity_models.py, test_parity_steps.py).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from cases import CIFAR, ModelSpec, uniform
from graphs import DEIT_TINY
from numpy.typing import NDArray
from reference.compute import build, stored_names
from test_live_transformers import parameter, reference
from torch import nn


def torchvision_models() -> ModuleType:
    """torchvision.models. The package's operators for detection do not load beside a PyTorch for the CPU; it only asks
    for their names, and no classifier calls them."""
    try:
        import torchvision
    except RuntimeError:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.operators_by_name_only = operators  # what it defined ends with it
    return torchvision.models


def robustbench(module: str) -> ModuleType:
    """One file of RobustBench's architectures, without the rest of the package and what that imports."""
    package = importlib.util.find_spec("robustbench")
    assert package and package.submodule_search_locations
    path = f"{package.submodule_search_locations[0]}/model_zoo/architectures/{module}.py"
    spec = importlib.util.spec_from_file_location(f"robustbench_{module}", path)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pre_activation(classes: int = 10, **form: bool) -> nn.Module:
    definitions = robustbench("resnet")
    return definitions.PreActResNet(definitions.PreActBlock, [2, 2, 2, 2], classes, **form)


@dataclass(frozen=True)
class Definition:
    """A network of the reference and who else defines it."""

    spec: ModelSpec
    make: Callable[[], nn.Module]


def deep_mind(spec: ModelSpec, name: str, **size: int) -> Definition:
    """With its normalisation, which the class applies itself."""

    def make() -> nn.Module:
        kind = getattr(robustbench("dm_wide_resnet"), name)
        mean, std = (tuple(map(float, values)) for values in (spec.mean, spec.std))
        return kind(spec.classes, activation_fn=nn.SiLU, mean=mean, std=std, **size)

    return Definition(spec, make)


DEFINITIONS = [
    Definition(ModelSpec("resnet18", CIFAR), lambda: robustbench("resnet").ResNet18()),
    Definition(ModelSpec("resnet34", CIFAR), lambda: robustbench("resnet").ResNet34()),
    Definition(ModelSpec("resnet50", CIFAR), lambda: robustbench("resnet").ResNet50()),
    Definition(
        ModelSpec("wrn_16_2", CIFAR), lambda: robustbench("wide_resnet").WideResNet(16, 10, 2, sub_block1=False)
    ),
    Definition(ModelSpec("preact_resnet18", CIFAR), lambda: pre_activation(out_shortcut=True)),
    Definition(ModelSpec("preact_resnet18", CIFAR, shortcut_input="raw"), pre_activation),
    Definition(
        ModelSpec("preact_resnet18", CIFAR, classes=100, final_bn=True),
        lambda: pre_activation(100, out_shortcut=True, bn_before_fc=True),
    ),
    Definition(
        ModelSpec("preact_resnet18", CIFAR, shortcut_input="raw", final_bn=True),
        lambda: pre_activation(bn_before_fc=True),
    ),
    deep_mind(ModelSpec("dm_wrn_16_2", CIFAR, normalised=True), "DMWideResNet", depth=16, width=2),
    deep_mind(ModelSpec("dm_preact_resnet18", CIFAR, normalised=True), "DMPreActResNet", depth=18),
    *(
        Definition(
            ModelSpec(f"imagenet_{name}", (3, 75, 64), classes=1000),
            lambda name=name: getattr(torchvision_models(), name)(),
        )
        for name in ("resnet18", "resnet34", "resnet50")
    ),
]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.spec.id)
def test_the_reference_is_what_others_define(definition: Definition) -> None:
    spec = definition.spec
    ours, theirs = build(spec, torch.float64), definition.make().double().eval()
    names = [name for name in stored_names(theirs) if name not in ("mean", "std")]
    assert names == stored_names(ours)
    theirs.load_state_dict(theirs.state_dict() | ours.state_dict(), strict=True)
    compare(ours, theirs, uniform(f"{spec.id}/definition", (2, *spec.shape)), spec.classes)


def test_deit_tiny_is_timms() -> None:
    """timm imports torchvision, which has to be there in the way that works."""
    assert torchvision_models()
    from timm.models.deit import deit_tiny_patch16_224

    ours, theirs = reference(DEIT_TINY).double().eval(), deit_tiny_patch16_224().double().eval()
    shapes = {name: tuple(values.shape) for name, values in theirs.state_dict().items()}
    assert shapes == {name: tuple(values.shape) for name, values in ours.state_dict().items()}
    state = {name: torch.tensor(parameter(DEIT_TINY, name, shape)) for name, shape in shapes.items()}
    for model in (ours, theirs):
        model.load_state_dict(state, strict=True)
    compare(ours, theirs, uniform("deit-tiny/definition", (1, *DEIT_TINY.shape)), DEIT_TINY.classes)


def compare(ours: nn.Module, theirs: nn.Module, images: NDArray, classes: int) -> None:
    """Logits, input gradients and weight gradients, in double precision."""
    results = []
    for model in (ours, theirs):
        x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
        parameters = dict(model.named_parameters())
        logits = model(x)
        (logits * torch.linspace(-1, 1, classes, dtype=torch.float64)).sum().backward()
        results.append([logits, x.grad, *(parameters[name].grad for name, _ in ours.named_parameters())])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9 * float(other.detach().abs().max()))
