"""Whole training steps of every method, with and without IGDM: losses, gradients, weights, running statistics."""

from __future__ import annotations

import igdm
import numpy as np
import ours
import pytest
from cases import CurveCase, StepCase
from conftest import Parity
from report import LOSS, LOSS_CURVE, PARAMETER_GRADIENT, STATISTIC, VANISHING_GRADIENT, WEIGHT

# A parameter's gradient below this part of the largest gradient is 0 but for the reference's float64 rounding.
VANISHING = 1e-10


def test_steps(step_case: StepCase, parity: Parity) -> None:
    case = step_case
    student, teachers = ours.model(case.student), ours.teachers(case)
    trainer = ours.trainer(case, student, teachers)
    before = digests(teachers)
    for step in range(1, case.steps + 1):
        report = trainer.step(case.images(step), case.labels(step), adversarial=case.adversarial(step))
        compare_losses(case, step, report, parity)
        compare_gradients(case, step, trainer, student, parity)
        compare_state(case, step, student, parity)
        assert np.array_equal(trainer.adversarial(), case.adversarial(step))
    if case.average != "none":
        compare_averages(case, trainer, parity)
    assert digests(teachers) == before


def digests(teachers: igdm.Model | list[igdm.Model] | None) -> list[str]:
    if teachers is None:
        return []
    return [one.digest() for one in (teachers if isinstance(teachers, list) else [teachers])]


def compare_averages(case: StepCase, trainer: igdm.Trainer, parity: Parity) -> None:
    """The average as it is, and with running statistics taken anew from the images of the steps."""
    images = np.concatenate([case.images(step) for step in range(1, case.steps + 1)])
    labels = np.concatenate([case.labels(step) for step in range(1, case.steps + 1)])
    average = trainer.average()
    trainable = set(average.parameters.trainable)
    state = {f"average/{name}": values for name, values in average.parameters.items()}
    parity.check(case, WEIGHT, {name: one for name, one in state.items() if name.split("/")[1] in trainable})
    parity.check(case, STATISTIC, {name: one for name, one in state.items() if name.split("/")[1] not in trainable})
    estimated = trainer.average(igdm.datasets.from_arrays(images, labels, case.student.classes)).parameters
    parity.check(
        case, STATISTIC, {f"estimated/{name}": one for name, one in estimated.items() if name not in trainable}
    )


def test_curves(curve_case: CurveCase, parity: Parity) -> None:
    """Fifty steps in a row: the losses go the reference's way."""
    case = curve_case
    trainer = ours.trainer(case, ours.model(case.student), ours.teachers(case))
    losses = [
        trainer.step(case.images(step), case.labels(step), adversarial=case.adversarial(step)).loss
        for step in range(1, case.steps + 1)
    ]
    wanted = parity.wanted(case)["loss"]
    assert case.igdm or wanted[-5:].mean() < 0.8 * wanted[:5].mean(), "nothing was learned"
    parity.check(case, LOSS_CURVE, {"loss": losses})


def test_step_without_update(step_case: StepCase, parity: Parity) -> None:
    """Gives the same losses and gradients, and leaves weights and running statistics alone, to the bit."""
    case = step_case
    student = ours.model(case.student)
    trainer = ours.trainer(case, student, ours.teachers(case))
    before = student.digest()
    report = trainer.step(case.images(1), case.labels(1), adversarial=case.adversarial(1), update=False)
    assert report.step == 0
    compare_losses(case, 1, report, parity)
    compare_gradients(case, 1, trainer, student, parity)
    assert student.digest() == before


def compare_losses(case: StepCase, step: int, report: igdm.StepReport, parity: Parity) -> None:
    parts = ("loss", "base_loss", "igdm_loss")
    parity.check(case, LOSS, {f"{step}/{name}": getattr(report, name) for name in parts})
    wanted = parity.wanted(case)
    for name in ("igdm_weight", "learning_rate", "adversarial_accuracy", "mirror_outside"):
        assert getattr(report, name) == pytest.approx(float(wanted[f"{step}/{name}"]), rel=1e-9), name
    assert report.epoch == step


def compare_gradients(case: StepCase, step: int, trainer: igdm.Trainer, student: igdm.Model, parity: Parity) -> None:
    gradients = {f"{step}/gradient/{name}": trainer.gradient(name) for name in student.parameters.trainable}
    sizes = {name: np.abs(parity.wanted(case)[name]).max() for name in gradients}
    vanishing = {name for name, size in sizes.items() if size < VANISHING * max(sizes.values())}
    parity.check(case, VANISHING_GRADIENT, {name: gradients[name] for name in vanishing})
    parity.check(case, PARAMETER_GRADIENT, {name: gradients[name] for name in gradients.keys() - vanishing})


def compare_state(case: StepCase, step: int, student: igdm.Model, parity: Parity) -> None:
    trainable = set(student.parameters.trainable)
    state = dict(student.parameters)
    weights = {f"{step}/updated/{name}": values for name, values in state.items() if name in trainable}
    statistics = {f"{step}/updated/{name}": values for name, values in state.items() if name not in trainable}
    parity.check(case, WEIGHT, weights)
    parity.check(case, STATISTIC, statistics)
    assert len(weights) + len(statistics) == sum(name.startswith(f"{step}/updated/") for name in parity.wanted(case))
