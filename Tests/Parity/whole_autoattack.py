"""The whole of AutoAttack, by igdm and by the authors' code, on the same network: which attack breaks which image."""

from __future__ import annotations

import igdm
import numpy as np
import torch
from fashion import RADIUS
from pyautoattack import AutoAttack as ReferenceAutoAttack
from random_attacks import NORMS, Comparison

Verdicts = list[str | None]
"""For each image the attack that broke it, or None."""


def ours(on: Comparison, first: int, last: int, version: str, norm: str, seed: int = 0) -> Verdicts:
    """Of the images from `first` up to `last`, as igdm ships it."""
    data = igdm.datasets.from_arrays(on.images, on.labels, classes=10)[first:last]
    return igdm.autoattack(
        on.model, data, version=version, eps=RADIUS[norm], norm=norm, seed=seed, progress=False
    ).broken_by


def authors(on: Comparison, first: int, last: int, version: str, norm: str, seed: int = 0) -> Verdicts:
    """The same by the authors' package. Its attacks run one by one on what those before have left, as its own loop has
    them, because that loop does not say which attack broke an image."""
    whole = ReferenceAutoAttack(
        on.predict, norm=NORMS[norm], eps=RADIUS[norm], version=version, seed=seed + first, device="cpu"
    )
    verdicts: Verdicts = [None] * (last - first)
    for attack in list(whole.attacks_to_run):
        left = np.array([i for i, verdict in enumerate(verdicts) if verdict is None])
        if not len(left):
            break
        whole.attacks_to_run = [attack]
        x, y = torch.from_numpy(on.images[first + left]), torch.from_numpy(on.labels[first + left])
        found, _ = whole.run_standard_evaluation(x, y, batch_size=len(x))
        for i in left[(on.predict(found).argmax(1) != y).numpy()]:
            verdicts[i] = attack
    return verdicts


SIDES = {"igdm": ours, "authors": authors}
