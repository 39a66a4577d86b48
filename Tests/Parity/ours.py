"""The cases' networks and trainers as igdm makes them."""

from __future__ import annotations

from typing import Any

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


def teachers(case: StepCase) -> igdm.Model | list[igdm.Model] | None:
    if case.teacher is None or case.clean_teacher is None:
        return teacher(case)
    return [model(case.clean_teacher), model(case.teacher)]


def trainer(
    case: StepCase, student: igdm.Model, teacher: igdm.Model | list[igdm.Model] | None, **options: Any
) -> igdm.Trainer:
    """A trainer for the case, at the start; one step makes an epoch."""
    names = (
        "method",
        "igdm",
        "mirror",
        "mirror_statistics",
        "temperature",
        "adversarial_weight",
        "distillation_weight",
        "trades_beta",
        "introspection_start",
        "balance_rate",
        "consistency_weight",
        "entropy_scale",
        "entropy_order",
        "clean_weight",
        "optimiser",
        "learning_rate",
        "momentum",
        "weight_decay",
        "nesterov",
        "gradient_clip",
        "awp",
        "average",
        "ema_decay",
        "swa_start",
        "epochs",
    )
    return igdm.Trainer(
        student,
        teacher,
        **{name: getattr(case, name) for name in names},
        igdm_distance=case.distance,
        igdm_term=case.term,
        igdm_ramp=case.ramp,
        schedule="multistep" if case.milestones else "constant",
        milestones=case.milestones or None,
        batch_size=case.count,
        steps_per_epoch=1,
        **options,
    )
