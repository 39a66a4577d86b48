"""Every architecture in inference mode: names, logits, input gradients."""

from __future__ import annotations

import ours
from cases import ModelCase
from conftest import Parity
from report import INPUT_GRADIENT, LOGITS


def test_names_and_shapes_are_those_of_the_state_dict(model_case: ModelCase, parity: Parity) -> None:
    wanted = parity.wanted(model_case)
    shapes = ours.empty_model(model_case.model).parameters.shapes
    assert list(shapes) == wanted["names"].tolist()
    assert ["x".join(map(str, shape)) for shape in shapes.values()] == wanted["shapes"].tolist()


def test_logits(model_case: ModelCase, parity: Parity) -> None:
    model = ours.model(model_case.model)
    parity.check(model_case, LOGITS, {"logits": model.predict(model_case.images)})


def test_input_gradient(model_case: ModelCase, parity: Parity) -> None:
    model = ours.model(model_case.model)
    gradient = model.input_gradient(model_case.images, model_case.cotangent)
    parity.check(model_case, INPUT_GRADIENT, {"gradient": gradient})
