"""The committed results of Pillow, with which the engine's operations are compared, are those of the Pillow here."""

from __future__ import annotations

import importlib.util

from conftest import CHECKOUT


def test_the_fixture_is_current() -> None:
    path = CHECKOUT / "Tests" / "Parity" / "make_image_operations.py"
    specification = importlib.util.spec_from_file_location("make_image_operations", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.FIXTURE.read_text().splitlines() == list(module.lines())
