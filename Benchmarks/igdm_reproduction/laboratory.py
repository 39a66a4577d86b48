"""What is measured, and how: a training, then attacks on its student."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import igdm

from . import gradient_matching
from .experiments import EPS, TEACHER, Experiment, Scale

ATTACKS = ["fgsm", "pgd-20", "cw"]


@dataclass(frozen=True)
class Measurement:
    """Of a student trained by `experiment` from `seed`; of the teacher where there is no experiment."""

    scale: Scale
    experiment: Experiment | None
    seed: int = 0

    @property
    def title(self) -> str:
        return self.experiment.title if self.experiment else "teacher"

    @property
    def is_choice(self) -> bool:
        """Whether alpha is chosen by it."""
        return self.seed in self.scale.choice_seeds

    @property
    def options(self) -> dict[str, Any]:
        """Of the training."""
        return self.experiment.training(self.scale, self.seed) if self.experiment else {}

    @property
    def key(self) -> str:
        """Changes with what is asked for: options, students, data, teacher; not with the library and its defaults."""
        scale = self.scale
        if self.is_choice:
            measured = {"choice": scale.choice_count, "attacks": ["pgd-20"]}
        else:
            measured = {"test": scale.test_count, "attacks": ATTACKS, "autoattack": scale.autoattack_count}
        trained = None
        if self.experiment:
            trained = {"student": self.experiment.student, "train": scale.train_count, **self.options}
        text = json.dumps([trained, measured, EPS, _checksum()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self) -> tuple[dict[str, float], float]:
        """Trains and measures with one thread: accuracies in [0,1], GD and GC; and the seconds that it took."""
        began = time.monotonic()
        igdm.set_threads(1)
        scale, data, teacher = self.scale, igdm.datasets.fashion_mnist(), igdm.Model.load(TEACHER)
        model = teacher
        if self.experiment:
            model = igdm.Model(**self.experiment.student, classes=10, input_shape=(1, 28, 28), seed=self.seed)
            guide = teacher if self.experiment.needs_teacher else None
            train, alpha = data.train[: scale.train_count], self.experiment.matching_weight
            if alpha is None:
                igdm.distill(model, guide, train, progress=None, **self.options)
            else:
                gradient_matching.train(model, teacher, train, alpha, self.options)
        if self.is_choice:
            result = _attack(model, data.train[-scale.choice_count :], ["pgd-20"])
        else:
            result = _attack(model, data.test[: scale.test_count], ATTACKS, teacher if self.experiment else None)
            attacked = data.test[: scale.autoattack_count]
            result["autoattack"] = igdm.autoattack(model, attacked, eps=EPS, progress=None).robust
        return result, time.monotonic() - began


def _attack(
    model: igdm.Model, images: igdm.Dataset, attacks: list[str], teacher: igdm.Model | None = None
) -> dict[str, float]:
    found = igdm.evaluate(model, images, attacks=attacks, eps=EPS, teacher=teacher, progress=None)
    result = dict(found.accuracy)
    if found.gradient_distance is not None and found.gradient_cosine is not None:
        result |= {"GD": found.gradient_distance, "GC": found.gradient_cosine}
    return result


@cache
def _checksum() -> str:
    return hashlib.sha256(TEACHER.read_bytes()).hexdigest()
