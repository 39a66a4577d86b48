"""What is trained: the scale, the paper's seven base methods with and without IGDM, and its ablations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import ROOT

EPS = 0.1
BASE = "alone"
IGDM = "+ IGDM"


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    name: str
    train_count: int
    """First training images."""
    choice_count: int
    """Last training images, on which alpha is chosen; never trained on."""
    test_count: int
    """First test images, for all but AutoAttack."""
    autoattack_count: int
    epochs: int
    seeds: tuple[int, ...]
    choice_seeds: tuple[int, ...]
    """Of the trainings among which alpha is chosen: none of those that are reported."""
    grid: tuple[float, ...]
    """alpha; a tenth of it for RSLAD, whose loss has a factor of 1/10."""


FULL = Scale("full", 2_000, 1_000, 1_000, 250, 20, (0, 1, 2), (100, 101), (3.0, 10.0, 30.0))
"""Few images and many epochs, where IGDM has something to tell: see the document."""

QUICK = Scale("quick", 500, 100, 100, 10, 1, (0,), (100,), (1.0, 10.0))

TEACHER = ROOT / "examples" / "data" / "fashion_teacher.h5"
"""A resnet8 of width 32, from `make teacher`."""

STUDENT: dict[str, Any] = dict(architecture="resnet8", width=8)

TRAINING: dict[str, Any] = dict(
    eps=EPS, step=0.03, steps=5, batch_size=128, schedule="onecycle", learning_rate=0.2, weight_decay=5e-4,
    crop_padding=2, validation_steps=0, mirror="clip", mirror_statistics=False,
)  # fmt: skip
"""Common to all; the mirror is clipped because most pixels of Fashion-MNIST lie on the border of [0,1]."""

METHODS = ("pgd-at", "trades", "ard", "iad", "akd", "rslad", "adaad")
"""The paper's, in its order."""

OTHER_DISTANCE_WEIGHTS = (0.3, 1.0)
"""α of L1 and L2, whose terms are some ten times as large as that of KL."""

MATCHING_WEIGHTS = (0.0, 0.3, 1.0, 3.0)
"""α of the gradients matched directly, whose distance is about as large as ARD's loss; 0: what PyTorch's training gives
without."""

NAMES = {
    "pgd-at": "PGD-AT", "trades": "TRADES", "ard": "ARD", "iad": "IAD", "akd": "AKD", "rslad": "RSLAD",
    "adaad": "AdaAD",
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """A training that is repeated with each seed."""

    method: str
    variant: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    student: dict[str, Any] = field(default_factory=lambda: STUDENT, hash=False)

    @property
    def title(self) -> str:
        return f"{NAMES[self.method]} {self.variant}"

    @property
    def needs_teacher(self) -> bool:
        return self.method not in ("pgd-at", "trades") or "igdm" in self.options

    @property
    def matching_weight(self) -> float | None:
        """α of input gradients matched directly, in PyTorch; None where igdm trains."""
        return self.options.get("gradient_matching")

    def training(self, scale: Scale, seed: int) -> dict[str, Any]:
        """Options of distill()."""
        options = {**TRAINING, "method": self.method, "epochs": scale.epochs, "seed": seed}
        if self.method == "iad":  # the paper's 60 of 200 epochs
            options["introspection_start"] = max(1, round(0.3 * scale.epochs))
        return options | self.options


Alpha = dict[str, float | None]
"""What was chosen for each method; None where the choice has not been made yet."""


def alphas(method: str, scale: Scale) -> list[float]:
    return [alpha / 10 if method == "rslad" else alpha for alpha in scale.grid]


def candidates(method: str, scale: Scale) -> Iterator[tuple[float, Experiment]]:
    """The trainings among which alpha is chosen."""
    for alpha in alphas(method, scale):
        yield alpha, Experiment(method, f"alpha {alpha:g}", {"igdm": alpha})


def main_table(alpha: Alpha) -> list[Experiment]:
    return [
        Experiment(method, variant, options)
        for method in METHODS
        for variant, options in ((BASE, {}), (IGDM, {"igdm": alpha[method]}))
    ]


def ablations(alpha: Alpha, scale: Scale) -> list[Experiment]:
    """What the paper varies (its tables 5 to 8); the mirror, of which it does not speak; gradients matched directly,
    its rival; and of the methods that lose with the chosen alpha what may be the reason: other alphas, on test images,
    a weight that does not grow, a smaller student."""
    ard = {"igdm": alpha["ard"]}
    return [
        *(
            Experiment(method, "+ IGDM, constant weight", {"igdm": alpha[method], "igdm_ramp": "constant"})
            for method in ("trades", "iad")
        ),
        Experiment("rslad", f"+ IGDM, α = {alphas('rslad', scale)[0] / 3:g}", {"igdm": alphas("rslad", scale)[0] / 3}),
        *(
            Experiment("trades", f"{variant}, student of width 4", options, STUDENT | {"width": 4})
            for variant, options in ((BASE, {}), (f"{IGDM}, α = 3", {"igdm": 3.0}))
        ),
        *(
            Experiment(method, f"+ IGDM, α = {value:g}", {"igdm": value})
            for method in ("trades", "iad", "akd") for value in alphas(method, scale) if value != alpha[method]
        ),
        Experiment("ard", "+ IGDM, mirror as in the paper", ard | {"mirror": "paper"}),
        Experiment("ard", "+ IGDM, mirror moves the running statistics", ard | {"mirror_statistics": True}),
        Experiment("ard", "+ IGDM, mirror as in the paper, which moves them too",
                   ard | {"mirror": "paper", "mirror_statistics": True}),
        Experiment("ard", "+ IGDM, L1 distance", ard | {"igdm_distance": "l1"}),
        Experiment("ard", "+ IGDM, L2 distance", ard | {"igdm_distance": "l2"}),
        *(
            Experiment("ard", f"+ IGDM, {distance.upper()} distance, α = {value:g}",
                       {"igdm": value, "igdm_distance": distance})
            for distance in ("l1", "l2") for value in OTHER_DISTANCE_WEIGHTS
        ),
        Experiment("ard", "+ IGDM, constant weight", ard | {"igdm_ramp": "constant"}),
        Experiment("ard", "+ D(S(x+d), S(x)) instead of IGDM", ard | {"igdm_term": "trades-reg"}),
        Experiment("ard", "+ D(S(x+d), S(x-d)) instead of IGDM", ard | {"igdm_term": "trades-like"}),
        *(
            Experiment("ard", f"+ gradients matched directly, α = {value:g}" if value else "alone, in PyTorch",
                       {"gradient_matching": value})
            for value in MATCHING_WEIGHTS
        ),
        *(
            Experiment("rslad", f"{variant}, learning rate 2",
                       options | {"learning_rate": 10 * TRAINING["learning_rate"]})
            for variant, options in ((BASE, {}), (IGDM, {"igdm": alpha["rslad"]}))
        ),
        Experiment("adaad", "+ IGDM, attack without the teacher", {"igdm": alpha["adaad"], "inner": "student"}),
    ]  # fmt: skip
