"""Trainings of many steps against PyTorch: on igdm's own adversaries, and with PyTorch's schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cases
import igdm
import numpy as np
import ours
import pytest
import torch
from reference.compute import Training
from torch.optim import lr_scheduler


@pytest.mark.parametrize("case", cases.CURVES, ids=lambda case: case.id)
def test_curves_on_the_trainers_own_adversaries(case: cases.CurveCase, exact: bool) -> None:
    """Fifty steps of adversarial training: PyTorch is given the adversaries that igdm finds on the way."""
    case = replace(case, epsilon=0.1)
    trainer = ours.trainer(case, ours.model(case.student), ours.teachers(case), eps=case.epsilon, steps=3)
    reference = Training(case, torch.float64)
    got, wanted = [], []
    for step in range(1, case.steps + 1):
        got.append(trainer.step(case.images(step), case.labels(step)).loss)
        wanted.append(reference.step(step, trainer.adversarial())["loss"])
    np.testing.assert_allclose(got, wanted, rtol=1e-2)


EPOCHS, STEPS_PER_EPOCH = 6, 5
Make = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
SCHEDULES: dict[str, tuple[dict, Make]] = {
    "multistep": (
        {"milestones": [2, 5], "decay": 0.2},
        lambda sgd: lr_scheduler.MultiStepLR(sgd, [2 * STEPS_PER_EPOCH, 5 * STEPS_PER_EPOCH], gamma=0.2),
    ),
    "cosine": ({}, lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, EPOCHS * STEPS_PER_EPOCH)),
    "onecycle": (
        {"warmup": 0.4},
        lambda sgd: lr_scheduler.OneCycleLR(
            sgd, 0.1, total_steps=EPOCHS * STEPS_PER_EPOCH, pct_start=0.4, cycle_momentum=False
        ),
    ),
    "constant": ({}, lambda sgd: lr_scheduler.ConstantLR(sgd, factor=1)),
}


def warmed_up(make: Make, steps: int) -> Make:
    """A linear warm-up times the schedule, which PyTorch's recursive forms allow."""

    def both(sgd: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(sgd, start_factor=1 / steps, total_iters=steps - 1)
        return lr_scheduler.ChainedScheduler([make(sgd), rise], sgd)

    return both


@pytest.mark.parametrize("warmup_epochs", [0, 1.6], ids=["", "warmed-up"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, warmup_epochs: float) -> None:
    options, make = SCHEDULES[name]
    if warmup_epochs and name == "onecycle":
        with pytest.raises(igdm.InvalidArgument, match="warmup_epochs"):
            igdm.Trainer(small_student(), method="pgd-at", schedule=name, warmup_epochs=warmup_epochs)
        return
    if warmup_epochs:
        make = warmed_up(make, round(warmup_epochs * STEPS_PER_EPOCH))
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    schedule = make(sgd)
    trainer = igdm.Trainer(
        small_student(), method="pgd-at", schedule=name, learning_rate=0.1, epochs=EPOCHS,
        steps_per_epoch=STEPS_PER_EPOCH, warmup_epochs=warmup_epochs, **options,
    )  # fmt: skip
    images, labels = cases.uniform("schedules", (2, 1, 8, 8)), np.array([0, 1])
    for _ in range(EPOCHS * STEPS_PER_EPOCH):
        rate = trainer.step(images, labels, adversarial=images).learning_rate
        assert rate == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-6, abs=1e-12)
        sgd.step()
        schedule.step()


def small_student() -> igdm.Model:
    return igdm.Model("resnet8", classes=2, input_shape=(1, 8, 8), width=2)
