"""The numbers that both sides compute with, the same in every process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .works import Work

EPSILON, STEP_SIZE = 8 / 255, 2 / 255
AUTOATTACK_EPSILON = 0.5 / 255
"""Random weights give way at once to more: with this two fifths of the samples break, early and late."""

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
"""The learning rate is small because the same batch is trained on again and again; the work does not depend on it."""

IGDM_WEIGHT = 1.0


def check_step_size(steps: int) -> float:
    """So small that an attack never reaches the border of its ball from the centre: there every step leaves its mark on
    the result, while at the border it does not show whether one is missing."""
    return EPSILON / (2 * steps)


class Inputs:
    """A batch of random images with labels, a cotangent of the logits, and adversarial images for comparisons."""

    def __init__(self, work: Work) -> None:
        random = np.random.default_rng(1)
        size = (work.batch, *work.shape)
        self.images: NDArray[np.float32] = random.random(size, np.float32)
        self.labels: NDArray[np.int64] = random.integers(0, work.classes, work.batch)
        self.cotangent: NDArray[np.float32] = random.standard_normal((work.batch, work.classes), np.float32)
        noise = np.float32(EPSILON) * random.choice(np.array([-1, 1], np.float32), size)
        self.adversarial: NDArray[np.float32] = (self.images + noise).clip(0, 1)


def random_weights(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Weights that keep activations and logits near 1 in every architecture, and BatchNorm statistics that are not
    trivial, so that a comparison of logits means something."""
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith(("running_mean", "bias")):
        return random.normal(0, 0.1, shape).astype(np.float32)
    if len(shape) == 1:
        return random.uniform(0.3, 0.9, shape).astype(np.float32)
    deviation = np.float32(np.sqrt((2 if len(shape) == 4 else 1) / np.prod(shape[1:])))
    return random.standard_normal(shape, np.float32) * deviation
