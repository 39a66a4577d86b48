"""What is measured: the default list, and how many passes each piece of work is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FORWARD, GRADIENT, TRAINING, ATTACK, STEP, LOAD = "forward", "gradient", "training", "attack", "step", "load"
AUTOATTACK = "autoattack"

SHORT = {"steps": 3, "targets": 2, "queries": 48}
"""AutoAttack's iterations in the benchmark, in place of 100, 9 and 5000: with those one run takes hours. Queries and
passes with gradients of a sample that nothing breaks are in the published proportion, 5000 to 1910."""

ATTACK_STEPS = 10
"""Of the adversary in a distillation step."""


@dataclass(frozen=True)
class Work:
    """One thing to do with one model, or with a student and its teacher."""

    kind: str
    model: str
    batch: int = 32
    teacher: str | None = None
    method: str | None = None
    """Of a step, without IGDM: "ard" or "adaad"."""
    steps: int = ATTACK_STEPS
    """Of the attack, where there is one."""
    classes: int = 100
    shape: tuple[int, int, int] = (3, 32, 32)
    required: float | None = None
    """The ratio peer time / our time that the project promises itself."""
    stretch: float | None = None
    memory_required: float | None = None
    """The largest part of the peer's peak memory that ours may be."""

    @property
    def title(self) -> str:
        names = {
            FORWARD: f"{self.model} forward",
            GRADIENT: f"{self.model} forward + input gradient",
            TRAINING: f"{self.model} training pass",
            ATTACK: f"PGD-{self.steps} on {self.model}",
            STEP: f"{_METHOD_TITLES.get(self.method or '')}+IGDM step, {self.model} from {self.teacher}",
            LOAD: f"{self.model} checkpoint load",
            AUTOATTACK: f"AutoAttack standard on {self.model} ({SHORT['steps']} steps, {SHORT['targets']} targets, "
            f"{SHORT['queries']} queries)",
        }
        return names[self.kind] if self.kind == LOAD else f"{names[self.kind]}, batch {self.batch}"

    @property
    def models(self) -> list[str]:
        return [self.model] if self.teacher is None else [self.model, self.teacher]

    @property
    def counts_passes(self) -> bool:
        """Whether both sides make the same number of them. AutoAttack's depends on which samples break when."""
        return self.kind != AUTOATTACK

    @property
    def passes(self) -> tuple[int, int]:
        """Passes over the batch through model and teacher: forward, gradient by the input and gradient by the weights
        count 1 each."""
        if self.kind == STEP:
            attack = 2 * self.steps
            outer = 2 * 3  # x + d and x - d
            if self.method == "adaad":
                return attack + outer, attack + 2
            return attack + outer, 3
        if self.kind == AUTOATTACK:  # of a sample that nothing breaks
            gradients = SHORT["steps"] + 1 + SHORT["targets"] * (2 * SHORT["steps"] + 1)
            return 2 * gradients + SHORT["queries"] + 2, 0
        return {FORWARD: 1, GRADIENT: 2, TRAINING: 3, ATTACK: 2 * self.steps + 1, LOAD: 0}[self.kind], 0

    def operations(self, multiply_adds: Mapping[str, int]) -> float:
        """Floating-point operations of direct convolution; `multiply_adds` are those of one sample's forward pass."""
        model, teacher = self.passes
        total = model * multiply_adds[self.model]
        if self.teacher is not None:
            total += teacher * multiply_adds[self.teacher]
        return 2.0 * self.batch * total


_METHOD_TITLES = {"ard": "ARD", "adaad": "AdaAD"}

METHODS = tuple(_METHOD_TITLES)

DEFAULT = [
    Work(STEP, "resnet18", 32, "wrn_16_4", "ard", required=2.5, stretch=3.0, memory_required=0.5),
    Work(STEP, "resnet18", 8, "wrn_28_10", "adaad", required=2.5, stretch=3.0),
    Work(STEP, "mobilenet_v2", 32, "wrn_16_4", "ard", required=2.0, stretch=4.0),
    Work(FORWARD, "resnet18", 64, required=2.5),
    Work(GRADIENT, "resnet18", 64, required=2.5),
    Work(TRAINING, "resnet18", 64, required=2.0),
    Work(FORWARD, "wrn_28_10", 16, required=2.0),
    Work(ATTACK, "resnet18", 64, steps=20, required=2.5),
    Work(AUTOATTACK, "resnet18", 64, required=2.5),
]


def named(name: str, model: str, batch: int, teacher: str | None, **shape: object) -> Work:
    """The work that the command line calls `name`. Raises ValueError."""
    if name in (FORWARD, GRADIENT, TRAINING, AUTOATTACK):
        return Work(name, model, batch, **shape)
    attack, _, steps = name.partition("-")
    if attack == "pgd" and steps.isdigit() and int(steps) > 0:
        return Work(ATTACK, model, batch, steps=int(steps), **shape)
    if name in METHODS:
        if teacher is None:
            raise ValueError(f"--work {name} is a distillation step: it needs --teacher")
        return Work(STEP, model, batch, teacher, name, **shape)
    raise ValueError(
        f'--work: got "{name}", want forward, gradient, training, autoattack, pgd-K, {" or ".join(METHODS)}'
    )
