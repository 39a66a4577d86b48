"""A training step of networks of full size on images of full size: loss, every gradient, weights, running statistics.

Some of their millions of ReLU inputs lie within rounding of 0, whatever the seed; there the reference takes igdm's side
(reference/sides.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cases
import numpy as np
import ours
import pytest
import torch
from conftest import Parity
from numpy.typing import NDArray
from reference.compute import Training
from reference.networks import network
from reference.sides import Sides
from test_parity_steps import VANISHING, compare_gradients, compare_losses, compare_state


@dataclass
class Found:
    """The results of one reference, for Parity."""

    results: cases.Arrays

    def of(self, _: cases.Case) -> cases.Arrays:
        return self.results

    def single_precision(self, _: cases.Case) -> None:
        """PyTorch's float32 is on sides of its own."""


@pytest.mark.parametrize("case", cases.FULL_SIZE_STEPS, ids=lambda case: case.id)
def test_step(case: cases.StepCase, parity: Parity) -> None:
    student = ours.model(case.student)
    trainer = ours.trainer(case, student, None)
    batch = case.images(1), case.labels(1)
    trainer.step(*batch, adversarial=case.adversarial(1), update=False)
    sides = Sides({name: trainer.gradient(name) for name in student.parameters.trainable})
    training = Training(case, torch.float64)
    sides.watch(training.student)
    results = training.step(1, case.adversarial(1))
    assert sides.switched <= sides.doubtful < 1e-4 * sides.units

    beside = Parity(Found({f"1/{name}": values for name, values in results.items()}), parity.report)
    report = trainer.step(*batch, adversarial=case.adversarial(1))
    compare_losses(case, 1, report, beside)
    compare_gradients(case, 1, trainer, student, beside)
    compare_state(case, 1, student, beside)


def test_ill_conditioned_networks_lose_little_more_than_pytorch() -> None:
    """MobileNetV2 with biases of either sign has depthwise channels that ReLU turns off: BatchNorm divides by next to
    nothing, and no float32 computation is within 1e-4 (`ModelSpec`). Igdm's and PyTorch's errors, each against a
    reference in double precision on its own side of the kinks, over several seeds: single ones say little."""
    spec = next(spec for spec in cases.FULL_SIZE if spec.architecture == "mobilenet_v2")
    igdms, pytorchs = [], []
    for seed in range(8):
        one = dataclasses.replace(spec, positive=False, seed=seed)
        case = cases.StepCase(f"ill-{one.id}", "pgd-at", one, learning_rate=0.01, count=2)
        student = ours.model(one)
        trainer = ours.trainer(case, student, None)
        trainer.step(case.images(1), case.labels(1), adversarial=case.adversarial(1), update=False)
        names = student.parameters.trainable
        igdms.append(np.median(errors(case, {name: trainer.gradient(name) for name in names})))
        rounded = Training(case, torch.float32).step(1, case.adversarial(1))
        pytorchs.append(np.median(errors(case, {name: rounded[f"gradient/{name}"] for name in names})))
    assert np.median(igdms) < 4 * np.median(pytorchs)
    assert np.median(igdms) < 1e-3


def errors(case: cases.StepCase, gradients: cases.Arrays) -> NDArray[np.float64]:
    """Of each gradient that is not 0 in exact arithmetic: its largest error as a part of its largest value."""
    sides = Sides(gradients)
    training = Training(case, torch.float64)
    sides.watch(training.student)
    results = training.step(1, case.adversarial(1))
    wanted = {name: results[f"gradient/{name}"] for name in gradients}
    largest = max(np.abs(values).max() for values in wanted.values())
    return np.array(
        [
            np.abs(gradients[name] - values).max() / np.abs(values).max()
            for name, values in wanted.items()
            if np.abs(values).max() > VANISHING * largest
        ]
    )


def test_the_reference_is_on_its_own_side() -> None:
    """Its own gradients, given as igdm's, switch nothing."""
    model = network("resnet8", 3, 10, 4).double()
    images = torch.tensor(cases.uniform("sides", (4, 3, 16, 16)), dtype=torch.float64)
    model(images).square().sum().backward()
    wanted = {name: one.grad.numpy().copy() for name, one in model.named_parameters()}
    sides = Sides(wanted)
    sides.watch(model)
    model.zero_grad()
    model(images).square().sum().backward()
    assert sides.switched == 0
    assert sides.units > 0
    for name, one in model.named_parameters():
        np.testing.assert_allclose(one.grad.numpy(), wanted[name], rtol=1e-9, atol=1e-12)


def test_only_doubtful_units_are_switched() -> None:
    """Of four units at 1e-9 beside large ones the sum tells which are on; no sum moves a unit that is not doubtful."""
    values = torch.tensor([[1.0, -2.0, 1e-9, -1e-9, 1e-9, -1e-9]], dtype=torch.float64).view(1, 1, 1, 6)
    slope = torch.tensor([5.0, 7.0, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64).view(1, 1, 1, 6)
    for bits in range(16):
        on = torch.tensor([1.0, 0, *((bits >> place) & 1 for place in range(4))], dtype=torch.float64)
        sides = Sides({"bn.bias": np.array([float((slope.flatten() * on).sum())])})
        assert torch.equal(sides.choose("bn", values, slope).flatten(), on)
    wrong = Sides({"bn.bias": np.array([-100.0])}).choose("bn", values, slope).flatten()
    assert wrong[:2].tolist() == [1.0, 0.0]
