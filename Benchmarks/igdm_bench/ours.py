"""igdm's side of each piece of work, through the Python package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import igdm
import numpy as np

from .inputs import (
    EPSILON,
    IGDM_WEIGHT,
    LEARNING_RATE,
    MOMENTUM,
    STEP_SIZE,
    WEIGHT_DECAY,
    Inputs,
    random_weights,
)
from .works import ATTACK, FORWARD, GRADIENT, LOAD, STEP, TRAINING, Work

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
        """Results to compare with the other side's; it also warms up."""
        raise NotImplementedError


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
        return {"logits": self.model.predict(self.inputs.images), "input gradient": gradient}


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
        gradients = {"first layer's gradient": self.trainer.gradient(names[0]), "last layer's gradients": last}
        return {"logits": logits, "loss": report.loss, **gradients}


class Attack(Job):
    def run(self) -> None:
        self._attack(random_start=True)

    def check(self) -> Results:
        logits = self.model.predict(self.inputs.images)
        attacked = self._attack(random_start=False)
        return {"logits": logits, "loss after the attack": _cross_entropy(self.model.predict(attacked), self.inputs)}

    def _attack(self, random_start: bool) -> Any:
        return igdm.attack(
            self.model, self.inputs.images, self.inputs.labels, "pgd", eps=EPSILON, step=STEP_SIZE,
            steps=self.work.steps, random_start=random_start, progress=False,
        ).images  # fmt: skip


class Step(Job):
    """A whole distillation step with IGDM: adversary, outer passes, update."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        self.trainer = igdm.Trainer(
            self.model, self.teacher, method=work.method, igdm=IGDM_WEIGHT, mirror="paper", eps=EPSILON, step=STEP_SIZE,
            steps=work.steps, **_options(),
        )  # fmt: skip

    def run(self) -> None:
        self.trainer.step(self.inputs.images, self.inputs.labels)

    def check(self) -> Results:
        inputs = self.inputs
        logits = {"logits": self.model.predict(inputs.images), "teacher logits": self.teacher.predict(inputs.images)}
        self.trainer.step(inputs.images, inputs.labels, update=False)
        attacked = self.trainer.adversarial()
        after = self.model.predict(attacked)
        loss = (
            _kl(self.teacher.predict(attacked), after) if self.work.method == "adaad" else _cross_entropy(after, inputs)
        )
        report = self.trainer.step(inputs.images, inputs.labels, adversarial=inputs.adversarial, update=False)
        losses = {"loss": report.loss, "base loss": report.base_loss, "IGDM loss": report.igdm_loss}
        return {**logits, **losses, "loss after the attack": loss}


class Load(Job):
    """Reading a checkpoint from the page cache."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str]) -> None:
        super().__init__(work, checkpoints)
        self.path = checkpoints[work.model]

    def run(self) -> None:
        igdm.Model.load(self.path).close()


JOBS = {FORWARD: Forward, GRADIENT: Gradient, TRAINING: Training, ATTACK: Attack, STEP: Step, LOAD: Load}


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


def _log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _cross_entropy(logits: Any, inputs: Inputs) -> float:
    return float(-_log_softmax(logits)[np.arange(len(logits)), inputs.labels].mean())


def _kl(target: Any, model: Any) -> float:
    log_p, log_q = _log_softmax(target), _log_softmax(model)
    return float((np.exp(log_p) * (log_p - log_q)).sum(1).mean())
