"""Whole training steps of every method, with and without IGDM: losses, gradients, weights, running statistics."""

from __future__ import annotations

import igdm
import numpy as np
import ours
import pytest
from cases import StepCase
from conftest import Parity
from report import LOSS, PARAMETER_GRADIENT, STATISTIC, VANISHING_GRADIENT, WEIGHT

# A parameter's gradient below this part of the largest gradient is 0 but for the reference's float64 rounding.
VANISHING = 1e-10


def test_steps(step_case: StepCase, parity: Parity) -> None:
    case = step_case
    student, teacher = ours.model(case.student), ours.teacher(case)
    trainer = ours.trainer(case, student, teacher)
    teacher_before = teacher and teacher.digest()
    for step in range(1, case.steps + 1):
        report = trainer.step(case.images(step), case.labels(step), adversarial=case.adversarial(step))
        compare_losses(case, step, report, parity)
        compare_gradients(case, step, trainer, student, parity)
        compare_state(case, step, student, parity)
        assert np.array_equal(trainer.adversarial(), case.adversarial(step))
    assert (teacher and teacher.digest()) == teacher_before


def test_step_without_update(step_case: StepCase, parity: Parity) -> None:
    """Gives the same losses and gradients, and leaves weights and running statistics alone, to the bit."""
    case = step_case
    student = ours.model(case.student)
    trainer = ours.trainer(case, student, ours.teacher(case))
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
