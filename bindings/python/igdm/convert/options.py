"""What the user says about a source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidArgument
from . import robustbench
from .weight_map import Given


@dataclass(frozen=True)
class Options:
    """What a source file does not say. None: taken from the file, as far as it tells."""

    architecture: str | None = None
    """A name of igdm.architectures(); guessed from the weights' names where that is possible."""
    classes: int | None = None
    input_shape: Sequence[int] | None = None
    """(channels, height, width). Weights tell the channels only; for 3 of them 32 x 32 is assumed, and 224 x 224 for
    the ImageNet networks."""
    width: int | None = None
    mean: Sequence[float] | None = None
    """Per-channel normalisation on the [0,1] scale, which becomes a part of the model."""
    std: Sequence[float] | None = None
    shortcut_input: str | None = None
    """Of preact_resnet18, which must be told: "raw" or "activated". Names and shapes are the same."""
    final_bn: bool | None = None
    """Of preact_resnet18; as the names tell where left out."""
    robustbench: str | None = None
    """Id of a RobustBench model, which says all of the above."""
    dataset: str | None = None
    """What the model was trained on: cifar10, cifar100 or imagenet for RobustBench ids, else any text."""
    threat_model: str | None = None
    """Linf, L2 or corruptions, where a RobustBench id has several."""
    key: str | None = None
    """Under which key of a PyTorch file the weights are ("best", "ema/state_dict")."""
    weight_map: Given | None = None
    """Where an HDF5 file has the weights: a map or the JSON file with it (docs/weight-map.md)."""
    ignore: Sequence[str] = ()
    """Arrays whose names begin with one of these are left out."""
    bn_epsilon: float | None = None
    """Epsilon of the source's BatchNorm, where it is not 1e-5. Keras's default is 1e-3."""
    allow_not_finite: bool = False
    """Whether NaN and infinities are taken as they are, to look at a training that diverged. They are an error else."""

    def __post_init__(self) -> None:
        if isinstance(self.ignore, str):
            raise InvalidArgument(f"ignore: got the text {self.ignore!r}, want a list of prefixes")
        if self.bn_epsilon is not None and not math.isfinite(self.bn_epsilon):
            raise InvalidArgument(f"bn_epsilon: got {self.bn_epsilon}, want a finite number")

    def with_known(self) -> Options:
        """With what the RobustBench id stands for."""
        if self.robustbench is None:
            if self.threat_model is not None:
                raise InvalidArgument(f'threat_model: got "{self.threat_model}" without a RobustBench id')
            return self
        for name in ("architecture", "classes", "width", "mean", "std", "shortcut_input", "final_bn"):
            if getattr(self, name) is not None:
                raise InvalidArgument(f"{name}: got {getattr(self, name)} beside a RobustBench id, which says it")
        known = robustbench.lookup(self.robustbench, self.dataset, self.threat_model)
        return Options(
            architecture=known.architecture, classes=known.classes, input_shape=self.input_shape or known.input_shape,
            mean=known.mean, std=known.std, shortcut_input=known.shortcut_input, final_bn=known.final_bn,
            robustbench=known.id, dataset=known.dataset, threat_model=known.threat_model, key=self.key or known.key,
            ignore=self.ignore, bn_epsilon=self.bn_epsilon, allow_not_finite=self.allow_not_finite,
        )  # fmt: skip
