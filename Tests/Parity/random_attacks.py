"""Random attacks of igdm and of their authors (pyautoattack, the package of github.com/fra31/auto-attack), or of
torchattacks and foolbox.

Both attack the same network (mostly the teacher in examples/data) as igdm computes it, so that what differs is the
attack alone. The authors' code draws one window of Square for a whole batch; it is given small batches, each with a
seed of its own, so that a result is not that of a single sequence of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import igdm
import peers
import torch
import torchattacks
from fashion import RADIUS, RADIUS_RESNET18, TEACHER, colourful, resnet18
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
BATCH = 50

Predict = Callable[[torch.Tensor], torch.Tensor]


class Network(torch.autograd.Function):
    """An igdm model as a PyTorch function of images, which may leave [0,1] by rounding."""

    @staticmethod
    def forward(context: Any, images: torch.Tensor, model: igdm.Model) -> torch.Tensor:
        context.model = model
        boxed = images.detach().clamp(0, 1).contiguous()
        context.save_for_backward(boxed)
        return torch.from_numpy(model.predict(boxed.numpy()))

    @staticmethod
    def backward(context: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor, None]:
        (images,) = context.saved_tensors
        return torch.from_numpy(context.model.input_gradient(images.numpy(), cotangent.contiguous().numpy())), None


@dataclass(frozen=True)
class Case:
    attack: str
    steps: int
    reference: Callable[..., Any]
    """The authors' attack: of predict, norm, radius, seed and number of steps."""
    settings: str
    options: dict[str, Any] = field(default_factory=dict)
    """Of igdm.attack."""
    norms: tuple[str, ...] = tuple(NORMS)
    radius: Mapping[str, float] = field(default_factory=lambda: RADIUS)
    differs: frozenset[str] = frozenset()
    """Norms in which igdm differs from the authors' code on purpose."""
    network: str = "small"
    """The teacher in examples/data, or "resnet18"."""
    close: frozenset[str] = frozenset()
    """Norms in which three seeds lie so close to the limit that six are taken."""


def apgd(predict: Predict, norm: str, eps: float, seed: int, steps: int, loss: str = "ce") -> Any:
    return APGDAttack(predict, n_iter=steps, norm=norm, eps=eps, seed=seed, loss=loss, device="cpu")


def fab(predict: Predict, norm: str, eps: float, seed: int, steps: int) -> Any:
    return FABAttack_PT(
        predict, norm=norm, eps=eps, n_iter=steps, targeted=True, n_target_classes=3, seed=seed, device="cpu"
    )


def fab_restarted(predict: Predict, norm: str, eps: float, seed: int, steps: int, restarts: int = 2) -> Any:
    return FABAttack_PT(predict, norm=norm, eps=eps, n_iter=steps, n_restarts=restarts, seed=seed, device="cpu")


def square(
    predict: Predict, norm: str, eps: float, seed: int, steps: int, kind: type[SquareAttack] = SquareAttack
) -> Any:
    return kind(
        predict, norm=norm, eps=eps, n_queries=steps, resc_schedule=False, seed=seed, device="cpu"
    )  # fmt: skip


class SquareEverywhere(SquareAttack):
    """Whose windows reach the last row and column, as igdm's. (Untargeted, it draws nothing else by this function.)"""

    def random_int(self, low: int = 0, high: int = 1, shape: Any = (1,)) -> torch.Tensor:
        return super().random_int(low, high + 1, shape)


class Module(torch.nn.Module):
    """What the packages take for a network."""

    def __init__(self, predict: Predict) -> None:
        super().__init__()
        self.predict = predict
        self.nothing = torch.nn.Parameter(torch.zeros(1))  # where packages look for a device

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.predict(images)


@dataclass(frozen=True)
class Package:
    """A package's attack in the form of the authors' own."""

    seed: int
    run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def perturb(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(self.seed)
        return self.run(x, y)


def targeted(predict: Predict, norm: str, eps: float, seed: int, steps: int) -> Any:
    return APGDAttack_targeted(
        predict, n_iter=steps, norm=norm, eps=eps, seed=seed, n_target_classes=3, device="cpu"
    )  # fmt: skip


def pgd(predict: Predict, norm: str, eps: float, seed: int, steps: int) -> Any:
    kind = {"Linf": torchattacks.PGD, "L2": torchattacks.PGDL2}[norm]
    return Package(seed, kind(Module(predict).eval(), eps=eps, alpha=eps / 4, steps=steps, random_start=True))


def spsa(predict: Predict, norm: str, eps: float, seed: int, steps: int) -> Any:
    return Package(
        seed,
        torchattacks.SPSA(
            Module(predict).eval(), eps=eps, delta=0.01, lr=0.03, nb_iter=steps, nb_sample=16, max_batch_size=16
        ),
    )


def noise(predict: Predict, norm: str, eps: float, seed: int, steps: int, kind: str) -> Any:
    foolbox = peers.foolbox()
    name = f"{norm}RepeatedAdditive{kind}NoiseAttack"
    under = foolbox.PyTorchModel(Module(predict).eval(), bounds=(0, 1), device="cpu")
    attack = getattr(foolbox.attacks, name)(repeats=steps)
    return Package(seed, lambda x, y: attack(under, x, y, epsilons=eps)[1])


def hopskipjump(predict: Predict, norm: str, eps: float, seed: int, steps: int) -> Any:
    """foolbox', image by image: it takes the lengths of directions over the whole batch, so that it looks the less far
    around the larger a batch is. What igdm does differently (docs/attacks.md) is the same here: it begins at a random
    misclassified image itself, leaves alone what a thousand draws find none for, and ends with the nearest of all
    images that were tried."""
    foolbox = peers.foolbox()
    attack = foolbox.attacks.HopSkipJumpAttack(steps=steps, constraint=norm.lower())

    def nearest(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        starts = torch.rand(1000, *x.shape[1:])
        begun = (predict(starts).argmax(1) != y).nonzero()
        found, smallest = x, eps

        def noted(images: torch.Tensor) -> torch.Tensor:
            nonlocal found, smallest
            logits = predict(images)
            distance = float((images - x).flatten().norm(math.inf if norm == "Linf" else 2))
            if distance <= smallest and int(logits.argmax()) != int(y):
                found, smallest = images.clone(), distance
            return logits

        if len(begun):
            under = foolbox.PyTorchModel(Module(noted).eval(), bounds=(0, 1), device="cpu")
            attack.run(under, x, y, starting_points=starts[begun[0]])
        return found

    return Package(seed, lambda x, y: torch.cat([nearest(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]))


QUIRKS = {"tuning": {"reference_quirks": 1}}
NEAR = ("linf", "l2")

CASES = [
    Case("square", 200, square, "200 queries", differs=frozenset({"l1"})),
    Case("square", 200, partial(square, kind=SquareEverywhere), "200 queries, windows everywhere", {}, ("l1",)),
    Case("apgd-ce", 20, apgd, "random start, 20 steps", QUIRKS, close=frozenset({"l2"})),
    Case("fab", 10, fab_restarted, "2 restarts, 10 steps", {"restarts": 2}, differs=frozenset({"l1"})),
    Case("fab", 10, partial(fab_restarted, restarts=1), "from the image alone, 10 steps", {}, ("l1",)),
    Case("fab-t", 20, fab, "3 targets, 20 steps", {"targets": 3}),
    Case("apgd-dlr", 20, partial(apgd, loss="dlr"), "random start, 20 steps", QUIRKS, close=frozenset({"l1"})),
    Case("apgd-t", 20, targeted, "3 targets, random start, 20 steps", {"targets": 3, **QUIRKS}),
    Case("pgd", 20, pgd, "torchattacks, random start, 20 steps", {"early_stop": False}, NEAR),
    Case(
        "spsa",
        6,
        spsa,
        "torchattacks, 6 steps of 0.03, 16 directions",
        {"tuning": {"spsa_directions": 16, "spsa_rate": 0.03}},
        ("linf",),
    ),
    Case("hopskipjump", 2, hopskipjump, "foolbox, 2 steps", {}, NEAR, {"linf": 0.15, "l2": 2.0}),
    Case("noise-gaussian", 10, partial(noise, kind="Gaussian"), "foolbox, 10 draws", {}, ("l2",), {"l2": 8.0}),
    Case(
        "noise-uniform",
        10,
        partial(noise, kind="Uniform"),
        "foolbox, 10 draws",
        {},
        NEAR,
        {"linf": 0.5, "l2": 8.0},
        close=frozenset(NEAR),
    ),
    *(
        Case(
            attack, steps, reference, f"ResNet-18, {settings}", options, ("linf",), RADIUS_RESNET18, network="resnet18"
        )
        for attack, steps, reference, settings, options in (
            ("apgd-ce", 20, apgd, "random start, 20 steps", QUIRKS),
            ("square", 100, square, "100 queries", {}),
        )
    ),
]


class Comparison:
    """The first so many test images that the network classifies correctly."""

    def __init__(self, image_count: int, network: str = "small") -> None:
        self.model = resnet18() if network == "resnet18" else igdm.Model.load(TEACHER)
        images, labels = igdm.datasets.fashion_mnist().test.read(0, 4 * image_count)
        images = colourful(images) if network == "resnet18" else images
        right = self.model.predict(images).argmax(1) == labels
        self.images, self.labels = images[right][:image_count].copy(), labels[right][:image_count].copy()

    def ours(self, case: Case, norm: str, seed: int) -> float:
        """Percent of the images that stay classified correctly."""
        result = igdm.attack(
            self.model, self.images, self.labels, case.attack, eps=case.radius[norm], norm=norm, steps=case.steps,
            seed=seed, progress=False, **{"early_stop": True, **case.options},
        )  # fmt: skip
        return 100 * (1 - float(result.success.mean()))

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, through which PyTorch differentiates."""
        return Network.apply(images, self.model)

    def theirs(self, case: Case, norm: str, seed: int) -> float:
        robust = 0
        for first in range(0, len(self.images), BATCH):
            x = torch.from_numpy(self.images[first : first + BATCH])
            y = torch.from_numpy(self.labels[first : first + BATCH])
            of_batch = seed * len(self.images) + first
            attack = case.reference(self.predict, NORMS[norm], case.radius[norm], of_batch, case.steps)
            found = attack.perturb(x, y)
            robust += int((self.predict(found).argmax(1) == y).sum())
        return 100 * robust / len(self.images)
