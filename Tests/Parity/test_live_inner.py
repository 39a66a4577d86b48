"""The steps of every method's inner maximisation against PyTorch, which begins each at igdm's own iterate."""

from __future__ import annotations

from itertools import pairwise

import cases
import numpy as np
import ours
import pytest
import torch
from reference.compute import build
from reference.inner import OBJECTIVES

EPSILON, STEP, STEPS = 0.1, 0.03, 4
CASES = [case for case in cases.CURVES if case.igdm == 0]


def adversary(case: cases.CurveCase, steps: int) -> np.ndarray:
    """igdm's iterate after so many steps from the same start."""
    trainer = ours.trainer(
        case, ours.model(case.student), ours.teachers(case), eps=EPSILON, step=STEP, steps=steps, seed=3
    )
    trainer.step(case.images(1), case.labels(1), update=False)
    return trainer.adversarial()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)
def test_steps_of_the_adversary(case: cases.CurveCase) -> None:
    student = build(case.student, torch.float64).eval()
    teacher = None if case.teacher is None else build(case.teacher, torch.float64).eval()
    x, labels = torch.tensor(case.images(1), dtype=torch.float64), torch.tensor(case.labels(1))
    iterates = [adversary(case, steps) for steps in range(1, STEPS + 1)]
    moved = 0
    for before, after in pairwise(iterates):
        point = torch.tensor(before, dtype=torch.float64, requires_grad=True)
        objective = OBJECTIVES[case.method](student, teacher, x, point, labels)
        (gradient,) = torch.autograd.grad(objective.sum(), point)
        wanted = (point + STEP * gradient.sign()).detach()
        wanted = (x + (wanted - x).clamp(-EPSILON, EPSILON)).clamp(0, 1).numpy()
        # Where the gradient is all but 0, rounding decides its sign.
        clear = (gradient.abs() > 1e-4 * gradient.abs().max()).numpy()
        assert clear.mean() > 0.8
        np.testing.assert_allclose(after[clear], wanted[clear], atol=1e-6)
        moved += int((after != before).sum())
    assert moved > 0
