"""Every member of igdm_attack_tuning and igdm_search_tuning changes what its attack does."""

from __future__ import annotations

from typing import Any

import igdm
import numpy as np
import pytest
from conftest import make_arrays
from igdm import _structures as structures

# With these each attack breaks something within a few steps: samples that hold out are given back unmoved.
BASE: dict[str, float] = {
    "spsa_directions": 4, "spsa_rate": 0.3, "jump_directions": 10, "cw_searches": 3, "cw_constant": 1, "cw_rate": 0.1,
}  # fmt: skip
APGD = {"attack": "apgd-t", "norm": "linf", "eps": 0.2, "steps": 30}
FAB = {"attack": "fab-t", "norm": "l2", "eps": 3.0, "steps": 6}
DDN = {"attack": "ddn", "norm": "l2", "eps": 8.0, "steps": 8}
FMN = {"attack": "fmn", "norm": "l2", "eps": 8.0, "steps": 8}
SPSA = {"attack": "spsa", "norm": "linf", "eps": 0.5, "steps": 10}
JUMP = {"attack": "hopskipjump", "norm": "l2", "eps": 8.0, "steps": 3}
CW = {"attack": "cw-l2", "norm": "l2", "eps": 8.0, "steps": 20}

CASES: dict[str, tuple[dict[str, Any], float]] = {
    "reference_quirks": (APGD, 1),
    "rho": (APGD, 0.2),
    "fab_alpha": (FAB, 0.5),
    "fab_eta": (FAB, 1.3),
    "fab_beta": (FAB, 0.5),
    "square_share": ({"attack": "square", "norm": "linf", "eps": 0.2, "steps": 30}, 0.2),
    "large_radii": ({"attack": "apgd-ce", "norm": "l1", "eps": 6.0, "steps": 10}, 1),
    "momentum_decay": ({"attack": "mi-fgsm", "norm": "l2", "eps": 2.0, "steps": 4}, 0.2),
    "deepfool_overshoot": ({"attack": "deepfool", "norm": "l2", "eps": 8.0, "steps": 4}, 0.3),
    "ddn_gamma": (DDN, 0.3),
    "ddn_radius": (DDN, 3),
    "fmn_step": (FMN, 2),
    "fmn_last_step": (FMN, 0.5),
    "fmn_gamma": (FMN, 0.3),
    "fmn_last_gamma": (FMN, 0.05),
    "spsa_delta": (SPSA, 0.1),
    "spsa_rate": (SPSA, 0.1),
    "spsa_directions": (SPSA, 7),
    "jump_directions": (JUMP, 20),
    "jump_most_directions": (JUMP, 8),
    "jump_gamma": (JUMP, 100),
    "cw_rate": (CW, 0.2),
    "cw_constant": (CW, 20),
    "cw_searches": (CW, 5),
    "cw_confidence": (CW, 1),
    "cw_abort_early": (CW, 0),
}
"""By name: an attack that heeds it, and another value than its default or BASE's."""


def test_every_member_is_in_the_table() -> None:
    assert set(CASES) == set(structures.AttackTuning().values()) | set(structures.SearchTuning().values())


@pytest.mark.parametrize("name", CASES)
def test_it_changes_its_own_attack(teacher: igdm.Model, name: str) -> None:
    options, value = CASES[name]
    images, labels = make_arrays(12)

    def run(**tuning: float) -> igdm.Adversarial:
        return igdm.attack(teacher, images, labels, **options, tuning=BASE | tuning, progress=False)

    plain, tuned = run(), run(**{name: value})
    passes = [np.stack([one.forwards, one.backwards]) for one in (plain, tuned)]
    assert np.any(plain.images != tuned.images) or np.any(passes[0] != passes[1])


@pytest.mark.parametrize("name", CASES)
def test_it_changes_no_other_attack(teacher: igdm.Model, name: str) -> None:
    images, labels = make_arrays(6)
    plain, tuned = (
        igdm.attack(teacher, images, labels, "pgd", eps=0.1, steps=3, tuning=tuning, progress=False)
        for tuning in (None, {name: CASES[name][1]})
    )
    np.testing.assert_array_equal(plain.images, tuned.images)
