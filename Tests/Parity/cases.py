"""The parity cases: which networks, attacks and training steps are compared, on which numbers.

Every input (weights, running statistics, images, labels, cotangents, adversarial images) follows from the name of the
case alone, through a hash and a counter (`uniform`), so that neither is stored and any machine makes the same float32
bits. What the reference computes from them is read from `fixtures/*.npz` (committed mode, numpy only) or computed by
`reference.compute` with PyTorch in this process (`--live`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FIXTURES = Path(__file__).parent / "fixtures"
# Least |ReLU input| and least |gradient whose sign is taken|, as parts of the largest: several roundings of float32.
NEEDED_CLEARANCE = np.array([3e-6, 2e-5])
Arrays = dict[str, NDArray]


def uniform(stream: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> NDArray[np.float32]:
    """Float32 numbers in [low, high) that depend on `stream` and `shape` only.

    SplitMix64 (Steele, Lea, Flood 2014) over a counter, started at a hash of the stream's name: numpy's own generators
    may change their streams between versions.
    """
    start = np.uint64(int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little"))
    counter = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    z = start + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return (low + (high - low) * unit).astype(np.float32).reshape(shape)


def signs(stream: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """-1 or 1, each with probability one half."""
    return np.where(uniform(stream, shape) < 0.5, np.float32(-1), np.float32(1))


def bordered(stream: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Images with a tenth of the pixels at either border of [0,1], where clamps act."""
    return uniform(stream, shape, -0.125, 1.125).clip(0, 1)


def random_labels(stream: str, count: int, classes: int) -> NDArray[np.int64]:
    """Labels in 0 ..< classes."""
    return (uniform(stream, (count,)) * classes).astype(np.int64)


@dataclass(frozen=True)
class ModelSpec:
    """A network and its weights.

    With `positive` biases no channel is nearly always off, which a depthwise filter would hand to a BatchNorm with
    batch statistics as it is: almost without variance, and the division by that magnifies rounding.
    """

    architecture: str
    shape: tuple[int, int, int]
    classes: int = 10
    width: int = 0
    normalised: bool = False
    seed: int = 0
    positive: bool = False
    shortcut_input: str | None = None
    final_bn: bool = False

    @property
    def id(self) -> str:
        shape = "x".join(map(str, self.shape))
        options = f"w{self.width}-{shape}-c{self.classes}-n{int(self.normalised)}-s{self.seed}"
        form = f"-{self.shortcut_input}" * bool(self.shortcut_input) + "-bn" * self.final_bn
        return f"{self.architecture}{form}-{options}{'-positive' * self.positive}"

    @property
    def mean(self) -> NDArray[np.float32] | None:
        return uniform(f"{self.id}/mean", self.shape[:1], 0.3, 0.6) if self.normalised else None

    @property
    def std(self) -> NDArray[np.float32] | None:
        return uniform(f"{self.id}/std", self.shape[:1], 0.2, 0.4) if self.normalised else None

    def parameter(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The value of a parameter or running statistic.

        Scales keep activations and gradients near 1 in both modes. Biases stay away from 0, which thins out the
        ReLU inputs near the kink, where no two floating-point computations need agree on the derivative.
        """
        stream = f"{self.id}/{name}"
        if name.endswith("running_mean"):
            return uniform(stream, shape, -0.3, 0.3)
        if name.endswith("running_var"):
            return uniform(stream, shape, 0.5, 1.5)
        if name.endswith("bias"):
            sizes = uniform(stream, shape, 0.25, 1.0)
            return sizes if self.positive else sizes * signs(f"{stream}/sign", shape)
        if len(shape) == 1:
            return uniform(stream, shape, 0.5, 1.0)
        bound = float(np.sqrt(6 / np.prod(shape[1:])))
        return uniform(stream, shape, -bound, bound)


@dataclass(frozen=True)
class ModelCase:
    """Logits and input gradients in inference mode."""

    model: ModelSpec
    count: int
    seed: int = 0

    @property
    def id(self) -> str:
        return f"{self.model.id}-b{self.count}"

    @property
    def images(self) -> NDArray[np.float32]:
        return uniform(f"{self.id}/{self.seed}/images", (self.count, *self.model.shape))

    @property
    def cotangent(self) -> NDArray[np.float32]:
        return uniform(f"{self.id}/{self.seed}/cotangent", (self.count, self.model.classes), -1, 1)


@dataclass(frozen=True)
class AttackCase:
    """The iterates of an attack that starts at the image itself: the result after 1, 2, ... `steps` steps."""

    attack: str
    model: ModelSpec
    norm: str = "linf"
    loss: str = "ce"
    epsilon: float = 0.1
    step: float = 0.04
    steps: int = 4
    kappa: float = 50.0
    count: int = 3
    seed: int = 0

    @property
    def id(self) -> str:
        loss = self.loss if self.kappa == 50.0 else f"{self.loss}{self.kappa:g}"
        return f"{self.attack}-{self.norm}-{loss}-{self.model.id}"

    @property
    def images(self) -> NDArray[np.float32]:
        return bordered(f"{self.id}/{self.seed}/images", (self.count, *self.model.shape))

    @property
    def labels(self) -> NDArray[np.int64]:
        return random_labels(f"{self.id}/{self.seed}/labels", self.count, self.model.classes)

    @property
    def targets(self) -> NDArray[np.float32] | None:
        """Target logits of the "kl" loss; from the model's own clean output its first gradient would be 0."""
        if self.loss != "kl":
            return None
        return uniform(f"{self.id}/{self.seed}/targets", (self.count, self.model.classes), -2, 2)


@dataclass(frozen=True)
class StepCase:
    """One or more whole training steps, one step to the epoch, on given adversarial images."""

    name: str
    method: str
    student: ModelSpec
    teacher: ModelSpec | None = None
    clean_teacher: ModelSpec | None = None
    igdm: float = 0.0
    term: str = "igdm"
    ramp: str = "linear"
    distance: str = "kl"
    mirror: str = "paper"
    mirror_statistics: bool = True
    temperature: float = 1.0
    adversarial_weight: float = 1.0
    distillation_weight: float = 0.5
    trades_beta: float = 6.0
    introspection_start: int = 1
    balance_rate: float = 0.25
    consistency_weight: float = 1.0
    entropy_scale: float = 5.0
    entropy_order: float = 1.0
    clean_weight: float = 0.0
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    gradient_clip: float = 0.0
    awp: float = 0.0
    average: str = "none"
    ema_decay: float = 0.75
    swa_start: int = 2
    milestones: tuple[int, ...] = ()
    epochs: int = 4
    steps: int = 1
    epsilon: float = 0.25
    count: int = 4
    seed: int = 0

    @property
    def id(self) -> str:
        return self.name

    def images(self, step: int) -> NDArray[np.float32]:
        return bordered(f"{self.id}/{self.seed}/images/{step}", (self.count, *self.student.shape))

    def adversarial(self, step: int) -> NDArray[np.float32]:
        """Each channel of an image mostly moved one way, which moves logits further than noise of the same size."""
        x = self.images(step)
        stream = f"{self.id}/{self.seed}/adversarial/{step}"
        size = uniform(stream, x.shape, -0.5 * self.epsilon, 2 * self.epsilon).clip(max=np.float32(self.epsilon))
        return (x + size * signs(f"{stream}/sign", (*x.shape[:2], 1, 1))).clip(0, 1)

    def labels(self, step: int) -> NDArray[np.int64]:
        return random_labels(f"{self.id}/{self.seed}/labels/{step}", self.count, self.student.classes)


@dataclass(frozen=True)
class CurveCase(StepCase):
    """Many steps, on few batches so that there is something to learn; only the losses are compared."""

    learning_rate: float = 0.01
    epochs: int = 50
    steps: int = 50
    introspection_start: int = 20
    balance_rate: float = 0.025
    batches: int = 5

    def images(self, step: int) -> NDArray[np.float32]:
        return super().images(step % self.batches)

    def adversarial(self, step: int) -> NDArray[np.float32]:
        return super().adversarial(step % self.batches)

    def labels(self, step: int) -> NDArray[np.int64]:
        return super().labels(step % self.batches)


Case = ModelCase | AttackCase | StepCase | CurveCase
FASHION, CIFAR, ODD, TINY = (1, 28, 28), (3, 32, 32), (3, 17, 23), (3, 9, 11)
SMALL_CIFAR, LARGER, IMAGENET = (3, 16, 16), (3, 65, 48), (3, 224, 224)

MODELS = [
    ModelCase(ModelSpec("resnet8", FASHION, width=4), 3),
    ModelCase(ModelSpec("resnet8", (1, 5, 3), classes=2, width=5), 5),
    ModelCase(ModelSpec("resnet14", ODD, classes=7, width=6, normalised=True), 3, seed=1),
    ModelCase(ModelSpec("resnet20", CIFAR, width=4, normalised=True), 2, seed=4),
    ModelCase(ModelSpec("resnet18", CIFAR, width=8), 2),
    ModelCase(ModelSpec("resnet18", ODD, width=8, normalised=True), 2),
    ModelCase(ModelSpec("wrn_10_1", FASHION), 3, seed=1),
    ModelCase(ModelSpec("wrn_16_2", ODD, normalised=True), 2),
    ModelCase(ModelSpec("wrn_16_2", CIFAR, classes=100), 1),
    ModelCase(ModelSpec("small_cnn", FASHION, width=8), 3, seed=1),
    ModelCase(ModelSpec("small_cnn", ODD, normalised=True), 2, seed=3),
    ModelCase(ModelSpec("mobilenet_v2", CIFAR, width=4), 2, seed=15),
    ModelCase(ModelSpec("mobilenet_v2", ODD, classes=7, width=6, normalised=True), 2, seed=21),
    ModelCase(ModelSpec("resnet34", ODD, width=4), 2),
    ModelCase(ModelSpec("resnet50", SMALL_CIFAR, width=4, normalised=True), 2, seed=3),
    ModelCase(ModelSpec("preact_resnet18", ODD, width=6), 2, seed=1),
    ModelCase(ModelSpec("preact_resnet18", CIFAR, width=4, normalised=True, shortcut_input="raw"), 2),
    ModelCase(ModelSpec("preact_resnet18", ODD, width=4, classes=7, shortcut_input="activated", final_bn=True), 2),
    ModelCase(ModelSpec("preact_resnet18", SMALL_CIFAR, width=6, shortcut_input="raw", final_bn=True), 2),
    ModelCase(ModelSpec("dm_wrn_10_1", CIFAR, normalised=True), 2),
    ModelCase(ModelSpec("dm_wrn_16_2", SMALL_CIFAR, classes=100), 2),
    ModelCase(ModelSpec("dm_wrn_10_2", ODD, classes=7, normalised=True), 2),
    ModelCase(ModelSpec("dm_preact_resnet18", CIFAR, width=6, normalised=True), 2),
    ModelCase(ModelSpec("dm_preact_resnet18", ODD, width=8), 2),
    ModelCase(ModelSpec("imagenet_resnet18", (3, 48, 40), width=6, classes=20, normalised=True), 2),
    ModelCase(ModelSpec("imagenet_resnet34", (1, 33, 37), width=4), 2),
    ModelCase(ModelSpec("imagenet_resnet50", (3, 32, 35), width=4, normalised=True), 2, seed=1),
]
LIVE_MODELS = [
    ModelCase(ModelSpec("resnet20", CIFAR, normalised=True), 2),
    ModelCase(ModelSpec("resnet18", CIFAR, normalised=True), 2, seed=3),
    ModelCase(ModelSpec("wrn_16_4", CIFAR), 2),
    ModelCase(ModelSpec("wrn_28_10", CIFAR, normalised=True), 2),
    ModelCase(ModelSpec("mobilenet_v2", CIFAR, normalised=True), 2, seed=1),
    ModelCase(ModelSpec("resnet34", CIFAR, classes=100), 1, seed=1),
    ModelCase(ModelSpec("resnet50", CIFAR, normalised=True), 1, seed=10),
    ModelCase(ModelSpec("preact_resnet18", CIFAR, classes=100, normalised=True, final_bn=True), 1, seed=2),
    ModelCase(ModelSpec("preact_resnet18", CIFAR, shortcut_input="raw"), 1),
    ModelCase(ModelSpec("wrn_34_20", CIFAR), 1, seed=4),
    ModelCase(ModelSpec("dm_wrn_28_10", CIFAR, normalised=True), 2),
    ModelCase(ModelSpec("dm_preact_resnet18", CIFAR, normalised=True), 2),
    ModelCase(ModelSpec("imagenet_resnet18", (3, 96, 96), classes=1000, normalised=True), 1),
    ModelCase(ModelSpec("imagenet_resnet34", (3, 64, 64), normalised=True), 1),
    ModelCase(ModelSpec("imagenet_resnet50", (3, 64, 64), classes=1000, normalised=True), 1),
]

_CNN = ModelSpec("small_cnn", ODD, width=8, normalised=True)
_RESNET = ModelSpec("resnet8", FASHION, width=4)
_WRN = ModelSpec("wrn_10_1", TINY)
ATTACKS = [
    AttackCase("fgsm", _RESNET, steps=1),
    AttackCase("fgsm", _CNN, norm="l2", epsilon=0.5, steps=1),
    AttackCase("pgd", _RESNET, seed=3),
    AttackCase("pgd", _CNN, seed=21),
    AttackCase("pgd", _WRN, loss="margin"),
    AttackCase("pgd", _WRN, loss="kl"),
    AttackCase("pgd", _CNN, norm="l2", epsilon=0.5, step=0.2, seed=3),
    AttackCase("pgd", _WRN, norm="l2", loss="kl", epsilon=0.5, step=0.2, seed=1),
    AttackCase("cw", _CNN, loss="margin", seed=7),
    AttackCase("cw", _WRN, loss="margin", kappa=2, seed=1),
]

_STUDENT = ModelSpec("resnet8", FASHION, classes=4, width=4, seed=1)
_TEACHER = ModelSpec("small_cnn", FASHION, classes=4, width=8, normalised=True)
_ODD_STUDENT = ModelSpec("small_cnn", ODD, width=4, normalised=True, seed=1)
_ODD_TEACHER = ModelSpec("wrn_16_2", ODD)
_TINY_TEACHER, _LARGER_TEACHER = ModelSpec("wrn_10_1", TINY, seed=3), ModelSpec("small_cnn", LARGER, width=4)
_MOBILENET = ModelSpec("mobilenet_v2", TINY, width=3, positive=True)
_PAIR = {"student": _STUDENT, "teacher": _TEACHER}
_ODD_PAIR = {"student": _ODD_STUDENT, "teacher": _ODD_TEACHER}
STEPS = [
    StepCase("pgd-at", "pgd-at", _STUDENT),
    StepCase("pgd-at+igdm", "pgd-at", **_ODD_PAIR, igdm=8, seed=1),
    StepCase("ard", "ard", **_PAIR, seed=2),
    StepCase("ard-tau4-a0.7", "ard", **_ODD_PAIR, temperature=4, adversarial_weight=0.7, seed=1),
    StepCase("ard-a0", "ard", **_PAIR, adversarial_weight=0),
    StepCase("ard+igdm", "ard", **_PAIR, igdm=20, seed=1),
    StepCase("ard-tau2-a0.5+igdm-clip", "ard", **_PAIR, temperature=2, adversarial_weight=0.5, igdm=20, mirror="clip"),
    StepCase("ard+igdm-clip-still", "ard", **_PAIR, igdm=20, mirror="clip", mirror_statistics=False, seed=1),
    StepCase("ard+igdm-l1", "ard", **_ODD_PAIR, igdm=4, distance="l1", seed=1),
    StepCase("ard+igdm-l2-clip", "ard", **_ODD_PAIR, igdm=4, distance="l2", mirror="clip"),
    StepCase("rslad", "rslad", **_PAIR, seed=1),
    StepCase("rslad+igdm", "rslad", **_ODD_PAIR, igdm=4),
    StepCase("rslad+igdm-l1-clip", "rslad", **_PAIR, igdm=1, distance="l1", mirror="clip", seed=13),
    StepCase("adaad", "adaad", **_ODD_PAIR),
    StepCase("adaad+igdm", "adaad", **_PAIR, igdm=8, seed=4),
    StepCase("adaad-a0.6+igdm-l2", "adaad", **_PAIR, adversarial_weight=0.6, igdm=4, distance="l2", seed=6),
    StepCase("two-steps", "ard", **_PAIR, igdm=20, steps=2, milestones=(1,), seed=3),
    StepCase("two-steps-nesterov", "adaad", **_ODD_PAIR, igdm=8, steps=2, nesterov=True, weight_decay=0.01, seed=8),
    StepCase("resnet18-student", "adaad", ModelSpec("resnet18", ODD, width=4), _ODD_TEACHER, igdm=4),
    StepCase("wrn-student", "rslad", ModelSpec("wrn_10_1", TINY), ModelSpec("resnet14", TINY, width=6), igdm=4),
    StepCase("mobilenet-student", "ard", _MOBILENET, ModelSpec("resnet8", TINY, width=8), igdm=8),
    StepCase("resnet34-student", "pgd-at", ModelSpec("resnet34", TINY, width=2)),
    StepCase("resnet50-student", "rslad", ModelSpec("resnet50", TINY, width=2, positive=True), _TINY_TEACHER),
    StepCase("preact-student", "ard", ModelSpec("preact_resnet18", TINY, width=3), _TINY_TEACHER, igdm=4),
    StepCase("preact-raw-student", "pgd-at", ModelSpec("preact_resnet18", TINY, width=3, shortcut_input="raw")),
    StepCase("preact-bn-student", "pgd-at", ModelSpec("preact_resnet18", TINY, width=3, final_bn=True)),
    StepCase(
        "preact-raw-bn-student",
        "rslad",
        ModelSpec("preact_resnet18", TINY, width=3, shortcut_input="raw", final_bn=True),
        ModelSpec("preact_resnet18", TINY, width=4, seed=2),
    ),
    StepCase("dm-wrn-student", "ard", ModelSpec("dm_wrn_10_1", TINY), ModelSpec("dm_wrn_10_2", TINY), igdm=8),
    StepCase("dm-preact-student", "rslad", ModelSpec("dm_preact_resnet18", TINY, width=3), _TINY_TEACHER, igdm=4),
    StepCase(
        "imagenet-resnet18-student", "ard", ModelSpec("imagenet_resnet18", LARGER, width=3), _LARGER_TEACHER, igdm=4
    ),
    StepCase("imagenet-resnet34-student", "pgd-at", ModelSpec("imagenet_resnet34", LARGER, width=2, positive=True)),
    StepCase("imagenet-resnet50-student", "pgd-at", ModelSpec("imagenet_resnet50", LARGER, width=2, positive=True)),
]
_TWO = {"clean_teacher": ModelSpec("resnet8", FASHION, classes=4, width=6), **_PAIR}
STEPS += [
    StepCase("trades", "trades", _STUDENT, seed=2),
    StepCase("trades+igdm", "trades", **_ODD_PAIR, trades_beta=3, igdm=4),
    StepCase("iad", "iad", **_PAIR),
    StepCase("iad+igdm", "iad", **_ODD_PAIR, igdm=4),
    StepCase("iad-before", "iad", **_PAIR, introspection_start=2, seed=1),
    StepCase("akd", "akd", **_PAIR),
    StepCase("akd-0.8+igdm", "akd", **_ODD_PAIR, distillation_weight=0.8, igdm=4),
    StepCase("adaiad", "adaiad", **_ODD_PAIR),
    StepCase("adaiad+igdm", "adaiad", **_PAIR, igdm=4, seed=3),
    StepCase("mtard", "mtard", **_TWO, steps=2, seed=13),
    StepCase("mtard+igdm", "mtard", **_TWO, igdm=4, mirror="clip", steps=2, seed=10),
    StepCase("dgad", "dgad", **_PAIR, seed=2),
    StepCase("dgad-3+igdm", "dgad", **_ODD_PAIR, consistency_weight=3.0, igdm=4),
    StepCase("saad", "saad", **_PAIR),
    StepCase("saad+igdm", "saad", **_ODD_PAIR, igdm=4, entropy_scale=2, seed=1),
    StepCase(
        "saad-renyi2-beta0.5+igdm-clip",
        "saad",
        **_PAIR,
        igdm=4,
        mirror="clip",
        entropy_order=2,
        clean_weight=0.5,
        seed=1,
    ),
    StepCase("pgd-at+trades-reg", "pgd-at", _STUDENT, igdm=4, term="trades-reg", seed=1),
    StepCase("rslad+trades-like-l2", "rslad", **_PAIR, igdm=1, term="trades-like", distance="l2"),
    StepCase("ard+igdm-constant", "ard", **_PAIR, igdm=2, ramp="constant"),
    StepCase("adamw", "adaad", **_ODD_PAIR, optimiser="adamw", learning_rate=0.01, weight_decay=0.1, steps=2),
    StepCase("clipped", "trades", _STUDENT, gradient_clip=0.5, steps=2, seed=22),
    StepCase("perturbed", "ard", **_PAIR, igdm=4, awp=0.01, seed=7),
    StepCase("ema", "pgd-at", _STUDENT, average="ema", learning_rate=0.02, steps=3, seed=12),
    StepCase("swa", "pgd-at", _STUDENT, average="swa", learning_rate=0.02, steps=3, seed=15),
]
CURVES = [
    CurveCase(f"curve-{method}{'+igdm' * (alpha > 0)}", method, **(_TWO if method == "mtard" else _PAIR), igdm=alpha)
    for method in ("pgd-at", "trades", "ard", "iad", "akd", "rslad", "adaad", "adaiad", "mtard", "dgad", "saad")
    for alpha in (0, 0.5 if method == "rslad" else 2)
]
LIVE_STEPS = [
    StepCase(
        "wrn-16-2-student",
        "ard",
        ModelSpec("wrn_16_2", TINY),
        ModelSpec("resnet18", TINY, width=16),
        igdm=8,
        mirror="clip",
        seed=1,
    ),
    StepCase(
        "full-size",
        "ard",
        ModelSpec("resnet18", SMALL_CIFAR),
        ModelSpec("wrn_16_4", SMALL_CIFAR),
        igdm=8,
        count=2,
        seed=109,
    ),
    StepCase(
        "mobilenet-full-size",
        "ard",
        ModelSpec("mobilenet_v2", TINY, normalised=True, positive=True),
        ModelSpec("wrn_16_4", TINY),
        igdm=8,
        mirror="clip",
        count=2,
        seed=1478,
    ),
    StepCase("dm-wrn-even-student", "pgd-at", ModelSpec("dm_wrn_16_1", (3, 8, 12))),
    StepCase("dm-preact-full-size", "pgd-at", ModelSpec("dm_preact_resnet18", CIFAR, normalised=True), count=2),
    StepCase("dm-wrn-28-10", "pgd-at", ModelSpec("dm_wrn_28_10", CIFAR, normalised=True), count=2),
]
# Networks and images as the field has them: no seed keeps clear of all kinks (test_live_full_size.py).
FULL_SIZE = [
    ModelSpec("resnet18", CIFAR, normalised=True),
    ModelSpec("resnet34", CIFAR, classes=100),
    ModelSpec("resnet50", CIFAR),
    ModelSpec("preact_resnet18", CIFAR, shortcut_input="raw"),
    ModelSpec("preact_resnet18", CIFAR, classes=100, final_bn=True),
    ModelSpec("wrn_28_10", CIFAR, normalised=True),
    ModelSpec("wrn_34_20", CIFAR),
    ModelSpec("mobilenet_v2", CIFAR, positive=True),
    ModelSpec("imagenet_resnet18", IMAGENET, classes=1000, normalised=True),
    ModelSpec("imagenet_resnet34", (3, 96, 96)),
    ModelSpec("imagenet_resnet50", IMAGENET, classes=1000, normalised=True),
]
FULL_SIZE_STEPS = [StepCase(f"full-{spec.id}", "pgd-at", spec, learning_rate=0.01, count=2) for spec in FULL_SIZE]

COMMITTED: list[Case] = [*MODELS, *ATTACKS, *STEPS, *CURVES]


@dataclass
class References:
    """Gives the reference's results for a case: computed now (`live`), or as committed."""

    live: bool
    _cache: dict[str, Arrays] = field(default_factory=dict)

    @staticmethod
    def key(case: Case) -> str:
        return f"{type(case).__name__}/{case.id}"

    def of(self, case: Case) -> Arrays:
        """Results in double precision, rounded to float32."""
        if not self.live:
            return self.committed(case)
        import torch

        return self._computed(case, torch.float64)

    def is_smooth(self, case: Case) -> bool:
        """Whether rounding cannot carry the case over a kink (see reference/compute.py, `Clearance`)."""
        return isinstance(case, CurveCase) or bool((self.of(case)["clearance"] >= NEEDED_CLEARANCE).all())

    def committed(self, case: Case) -> Arrays:
        """The same from the committed file."""
        prefix = self.key(case) + "/"
        if prefix not in self._cache:
            found = {name[len(prefix) :]: self._file[name] for name in self._file.files if name.startswith(prefix)}
            if not found:
                raise KeyError(f"{case.id} is not in {FIXTURES.name}/reference.npz: run make_fixtures.py")
            self._cache[prefix] = found
        return self._cache[prefix]

    def single_precision(self, case: Case) -> Arrays | None:
        """What PyTorch computes in float32; only in live mode."""
        if not self.live:
            return None
        import torch

        return self._computed(case, torch.float32)

    def _computed(self, case: Case, dtype: torch.dtype) -> Arrays:
        from reference.compute import compute

        key = f"{dtype} {self.key(case)}"
        if key not in self._cache:
            self._cache[key] = compute(case, dtype)
        return self._cache[key]

    @cached_property
    def _file(self) -> np.lib.npyio.NpzFile:
        return np.load(FIXTURES / "reference.npz")
