"""What the parts of a report know of: models, what was measured of them, and images to show them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .datasets import Dataset
from .ensemble import AutoAttack
from .evaluation import Evaluation
from .models import Model
from .sweep import Sweep

GALLERY_SIZE = 10

Measured = Evaluation | AutoAttack


@dataclass(frozen=True)
class Contender:
    """A model in a report. What is left out does not appear: a teacher has no history, say."""

    name: str
    model: Model | None = None
    """Shown in the gallery and by its input gradients."""
    history: Sequence[Mapping[str, Any]] = ()
    """Rows of Run.history, for the curves."""
    evaluation: Measured | None = None
    """For the table."""
    sweep: Sweep | None = None
    """For the curves of accuracy over the radius."""
    base: Contender | None = None
    """The same without IGDM, say: the table has the difference to it."""


@dataclass(frozen=True)
class Gallery:
    """Where the gallery's images come from and how they are attacked."""

    data: Dataset
    attack: Mapping[str, Any] | None = field(default_factory=dict)
    """Keyword arguments of igdm.attack(). None: no attacked images."""
    attack_name: str = "PGD"
    teacher: Model | None = None
    """With whose input gradients those of the contenders are shown."""

    def first_of_each_class(self) -> list[int]:
        """Indices of the first image of each of the first ten classes: no choosing by result."""
        _, first = np.unique(self.data.labels, return_index=True)
        return [int(index) for index in first[:GALLERY_SIZE]]


def attack_title(name: str) -> str:
    """An attack's name as papers write it."""
    titles = {"clean": "clean", "fgsm": "FGSM", "cw": "C&W"}
    return titles.get(name, name.upper().replace("CW", "C&W"))
