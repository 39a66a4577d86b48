"""Every architecture in inference mode: names, logits, input gradients."""

from __future__ import annotations

import ours
from cases import ModelCase
from conftest import Parity
from report import BEYOND_KINKS, INPUT_GRADIENT, KINKED_INPUT_GRADIENT, LOGITS


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
    if parity.references.is_smooth(model_case):
        parity.check(model_case, INPUT_GRADIENT, {"gradient": gradient})
        return
    parity.check(model_case, KINKED_INPUT_GRADIENT, {"gradient": gradient})
    parity.check(model_case, BEYOND_KINKS, {"gradient": gradient}, parity.wanted(model_case)["allowance"])
