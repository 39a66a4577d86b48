"""igdm's side of each piece of work, through the Python package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import igdm
import numpy as np

from .equality import FIRST_ITERATE
from .inputs import (
    AUTOATTACK_EPSILON,
    EPSILON,
    IGDM_WEIGHT,
    LEARNING_RATE,
    MOMENTUM,
    STEP_SIZE,
    WEIGHT_DECAY,
    Inputs,
    check_step_size,
    random_weights,
)
from .works import ATTACK, AUTOATTACK, FORWARD, GRADIENT, LOAD, SHORT, STEP, TRAINING, Work

Results = dict[str, Any]


class Job:
    """Work that is ready to run. Both sides have one of each kind, with the same results."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        self.work, self.inputs = work, Inputs(work)
        self.model = igdm.Model.load(checkpoints[work.model])
        self.teacher = None if work.teacher is None else igdm.Model.load(checkpoints[work.teacher])

    def run(self) -> None:
        """What is timed."""
        raise NotImplementedError

    def check(self) -> Results:
        """Results to compare with the other side's."""
        raise NotImplementedError

    def passes(self) -> tuple[int, int] | None:
        """The library does not tell; that its attacks make their steps shows in the comparison."""
        return None


class Forward(Job):
    def run(self) -> None:
        self.model.predict(self.inputs.images)

    def check(self) -> Results:
        return {"logits": self.model.predict(self.inputs.images)}


class Gradient(Job):
    def run(self) -> None:
        self.model.input_gradient(self.inputs.images, self.inputs.cotangent)

    def check(self) -> Results:
        gradient = self.model.input_gradient(self.inputs.images, self.inputs.cotangent)
        return {
            "logits": self.model.predict(self.inputs.images),
            "input gradient": gradient,
        }


class Training(Job):
    """Forward in training mode, backward with all weight gradients, SGD update: PGD-AT with the adversary given."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        self.trainer = igdm.Trainer(self.model, method="pgd-at", **_options())

    def run(self) -> None:
        self.trainer.step(self.inputs.images, self.inputs.labels, adversarial=self.inputs.images)

    def check(self) -> Results:
        logits = self.model.predict(self.inputs.images)
        inputs = self.inputs
        report = self.trainer.step(inputs.images, inputs.labels, adversarial=inputs.images, update=False)
        names = self.model.parameters.trainable
        last = np.concatenate([self.trainer.gradient(name).ravel() for name in names[-2:]])
        gradients = {
            "first layer's gradient": self.trainer.gradient(names[0]),
            "last layer's gradients": last,
        }
        return {"logits": logits, "loss": report.loss, **gradients}


class Attack(Job):
    def run(self) -> None:
        self._attack(STEP_SIZE, random_start=True)

    def check(self) -> Results:
        logits = self.model.predict(self.inputs.images)
        attacked = self._attack(check_step_size(self.work.steps), random_start=False)
        return {"logits": logits, "adversarial images": attacked}

    def _attack(self, step_size: float, random_start: bool) -> Any:
        return igdm.attack(
            self.model, self.inputs.images, self.inputs.labels, "pgd", eps=EPSILON, step=step_size,
            steps=self.work.steps, random_start=random_start, progress=False,
        ).images  # fmt: skip


class AutoAttack(Job):
    """AutoAttack's four attacks, each on what is left. All samples are classified correctly at first."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        labels = self.model.predict(self.inputs.images).argmax(1)
        self.data = igdm.datasets.from_arrays(self.inputs.images, labels, classes=work.classes)

    def run(self) -> None:
        self._attack()

    def check(self) -> Results:
        return {"logits": self.model.predict(self.inputs.images), "robust samples": np.float64(self._attack().robust)}

    def _attack(self) -> igdm.AutoAttack:
        steps, queries = SHORT["steps"], SHORT["queries"]
        return igdm.autoattack(
            self.model, self.data, version="custom", eps=AUTOATTACK_EPSILON, targets=SHORT["targets"], progress=False,
            attacks=f"apgd-ce-{steps},apgd-t-{steps},fab-t-{steps},square-{queries}", batch_size=self.work.batch,
        )  # fmt: skip


class Step(Job):
    """A whole distillation step with IGDM: adversary, outer passes, update."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        self.trainer = self._trainer(STEP_SIZE, work.steps)

    def run(self) -> None:
        self.trainer.step(self.inputs.images, self.inputs.labels)

    def check(self) -> Results:
        inputs, step_size = self.inputs, check_step_size(self.work.steps)
        logits = {
            "logits": self.model.predict(inputs.images),
            "teacher logits": self.teacher.predict(inputs.images),
        }
        report = self.trainer.step(inputs.images, inputs.labels, adversarial=inputs.adversarial, update=False)
        losses = {
            "loss": report.loss,
            "base loss": report.base_loss,
            "IGDM loss": report.igdm_loss,
        }
        # Random starts cannot be compared: the other side goes on from our first iterate.
        attacks = {FIRST_ITERATE: self._attacked(step_size, 1)}
        attacks["adversarial images"] = self._attacked(step_size, self.work.steps)
        return {**logits, **losses, **attacks}

    def _attacked(self, step_size: float, steps: int) -> Any:
        """The adversary's images after so many steps; its random start depends on neither."""
        trainer = self._trainer(step_size, steps)
        trainer.step(self.inputs.images, self.inputs.labels, update=False)
        return trainer.adversarial()

    def _trainer(self, step_size: float, steps: int) -> igdm.Trainer:
        return igdm.Trainer(
            self.model, self.teacher, method=self.work.method, igdm=IGDM_WEIGHT, mirror="paper", eps=EPSILON,
            step=step_size, steps=steps, share_teacher=True, **_options(),
        )  # fmt: skip


class Load(Job):
    """Reading a checkpoint from the page cache."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        self.path = checkpoints[work.model]

    def run(self) -> None:
        igdm.Model.load(self.path).close()


JOBS = {
    FORWARD: Forward,
    GRADIENT: Gradient,
    TRAINING: Training,
    ATTACK: Attack,
    AUTOATTACK: AutoAttack,
    STEP: Step,
    LOAD: Load,
}


def prepare(work: Work, checkpoints: Mapping[str, str], config: str, threads: int) -> Job:
    igdm.set_threads(threads)
    return JOBS[work.kind](work, checkpoints)


def facts() -> dict[str, Any]:
    """About this side, for the record of the machine."""
    return igdm.build_info()


def make_checkpoint(architecture: str, classes: int, shape: list[int], path: str) -> int:
    """Writes a model with random weights for both sides to load; returns its multiply-adds per sample."""
    model = igdm.Model(architecture, classes=classes, input_shape=shape)
    random = np.random.default_rng(0)
    for name, dimensions in model.parameters.shapes.items():
        model.parameters[name] = random_weights(name, dimensions, random)
    model.save(path)
    return model.info.multiply_adds


def _options() -> dict[str, Any]:
    """A schedule that never moves, whatever the number of steps."""
    return dict(
        learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, schedule="constant", epochs=1,
        steps_per_epoch=10**6,
    )  # fmt: skip
