"""The cases' networks and trainers as igdm makes them."""

from __future__ import annotations

import igdm
from cases import ModelSpec, StepCase

exact = False
"""Whether the models made here are exact; conftest.py runs each test both ways."""


def empty_model(spec: ModelSpec) -> igdm.Model:
    """The network with igdm's own random weights."""
    return igdm.Model(
        spec.architecture,
        classes=spec.classes,
        input_shape=spec.shape,
        width=spec.width,
        mean=spec.mean,
        std=spec.std,
        shortcut_input=spec.shortcut_input,
        final_bn=spec.final_bn,
        exact=exact,
    )


def model(spec: ModelSpec) -> igdm.Model:
    """The network with the weights of its spec."""
    made = empty_model(spec)
    for name, shape in made.parameters.shapes.items():
        made.parameters[name] = spec.parameter(name, shape)
    return made


def teacher(case: StepCase) -> igdm.Model | None:
    return None if case.teacher is None else model(case.teacher)


def trainer(case: StepCase, student: igdm.Model, teacher: igdm.Model | None) -> igdm.Trainer:
    """A trainer for the case, at the start; one step makes an epoch."""
    return igdm.Trainer(
        student,
        teacher,
        method=case.method,
        igdm=case.igdm,
        igdm_distance=case.distance,
        mirror=case.mirror,
        mirror_statistics=case.mirror_statistics,
        temperature=case.temperature,
        adversarial_weight=case.adversarial_weight,
        learning_rate=case.learning_rate,
        momentum=case.momentum,
        weight_decay=case.weight_decay,
        nesterov=case.nesterov,
        schedule="multistep" if case.milestones else "constant",
        milestones=case.milestones or None,
        epochs=case.epochs,
        steps_per_epoch=1,
    )
