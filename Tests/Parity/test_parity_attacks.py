"""Attacks from the image itself (no random start), step by step."""

from __future__ import annotations

import igdm
import numpy as np
import ours
from cases import AttackCase
from conftest import Parity
from report import ITERATE


def test_iterates(attack_case: AttackCase, parity: Parity) -> None:
    """The k-th iterate is the result of k steps."""
    case = attack_case
    model = ours.model(case.model)
    results = [
        igdm.attack(
            model,
            case.images,
            case.labels,
            case.attack,
            eps=case.epsilon,
            step=case.step,
            steps=steps,
            norm=case.norm,
            loss=case.loss,
            kappa=case.kappa,
            random_start=False,
            target_logits=case.targets,
            progress=False,
        )
        for steps in range(1, case.steps + 1)
    ]
    parity.check(case, ITERATE, {"iterates": np.stack([result.images for result in results])})
    assert results[-1].success.tolist() == parity.wanted(case)["success"].astype(bool).tolist()
