"""Vision transformers from a layer graph against PyTorch: logits, input gradients, gradients of every parameter."""

from __future__ import annotations

import igdm
import numpy as np
import pytest
import torch
from cases import random_labels, uniform
from graphs import DEIT_TINY, TRANSFORMERS, TransformerSpec
from reference.transformers import VisionTransformer
from report import INPUT_GRADIENT, LOGITS, LOSS, PARAMETER_GRADIENT, VANISHING_GRADIENT
from torch.nn import functional

each = pytest.mark.parametrize("spec", TRANSFORMERS, ids=lambda spec: spec.name)


def reference(spec: TransformerSpec) -> VisionTransformer:
    hidden = spec.ratio * spec.width
    return VisionTransformer(
        spec.shape[0], spec.patch, spec.tokens, spec.width, spec.depth, spec.heads, hidden, spec.classes
    )


def parameter(spec: TransformerSpec, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Activations stay near 1, and attention neither uniform nor all on one token."""
    stream = f"{spec.name}/{name}"
    if name.endswith("bias"):
        return uniform(stream, shape, -0.5, 0.5)
    if len(shape) == 1:
        return uniform(stream, shape, 0.5, 1.0)
    bound = 1.0 if len(shape) == 3 else float(np.sqrt(3 / np.prod(shape[1:])))
    return uniform(stream, shape, -bound, bound)


def pair(spec: TransformerSpec) -> tuple[igdm.Model, VisionTransformer]:
    """The same network twice, PyTorch's in double precision."""
    ours, theirs = igdm.Model.from_graph(spec.graph()), reference(spec)
    shapes = {name: tuple(values.shape) for name, values in theirs.state_dict().items()}
    assert ours.parameters.shapes.keys() == shapes.keys()
    assert dict(ours.parameters.shapes) == shapes
    for name, shape in shapes.items():
        ours.parameters[name] = parameter(spec, name, shape)
    theirs.load_state_dict({name: torch.tensor(parameter(spec, name, shape)) for name, shape in shapes.items()})
    return ours, theirs.double().eval()


def test_names_and_sizes_of_deit_tiny() -> None:
    model = igdm.Model.from_graph(DEIT_TINY.graph())
    assert model.info.parameter_count == 5_717_416
    assert model.parameters.shapes["blocks.11.attn.qkv.weight"] == (576, 192)
    assert model.parameters.shapes["pos_embed"] == (1, 197, 192)


@each
def test_logits_and_input_gradients(spec: TransformerSpec) -> None:
    ours, theirs = pair(spec)
    images = uniform(f"{spec.name}/images", (spec.count, *spec.shape))
    cotangent = uniform(f"{spec.name}/cotangent", (spec.count, spec.classes), -1, 1)
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    logits = theirs(x)
    (logits * torch.tensor(cotangent)).sum().backward()
    assert LOGITS.error(ours.predict(images), logits.detach().numpy()) <= LOGITS.tolerance
    gradient = ours.input_gradient(images, cotangent)
    assert INPUT_GRADIENT.error(gradient, x.grad.numpy()) <= INPUT_GRADIENT.tolerance


@each
def test_gradients_of_parameters(spec: TransformerSpec) -> None:
    """Of the cross-entropy on a batch, as a training step computes them."""
    ours, theirs = pair(spec)
    images = uniform(f"{spec.name}/images", (spec.count, *spec.shape))
    labels = random_labels(f"{spec.name}/labels", spec.count, spec.classes)
    loss = functional.cross_entropy(theirs(torch.tensor(images, dtype=torch.float64)), torch.tensor(labels))
    loss.backward()
    trainer = igdm.Trainer(ours, None, method="pgd-at", epochs=1, steps_per_epoch=1)
    report = trainer.step(images, labels, adversarial=images, update=False)
    assert LOSS.error(report.loss, loss.item()) <= LOSS.tolerance
    largest = max(float(value.grad.abs().max()) for value in theirs.parameters())
    for name, value in theirs.named_parameters():
        got, wanted = trainer.gradient(name), value.grad.numpy()
        if name.endswith("qkv.bias"):
            # A bias of the keys adds the same to all scores of a query, which softmax takes away.
            width = spec.width
            keys = slice(width, 2 * width)
            assert np.abs(wanted[keys]).max() < 1e-10 * largest
            assert VANISHING_GRADIENT.error(got[keys], wanted[keys]) <= VANISHING_GRADIENT.tolerance * largest
        assert PARAMETER_GRADIENT.error(got, wanted) <= PARAMETER_GRADIENT.tolerance, name
