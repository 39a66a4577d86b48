"""Attacks beside torchattacks, foolbox, ART and adv-lib, each side on its own network of the same weights: the teacher
in examples/data, and a ResNet-18 that igdm trains for a minute.

Here nothing is shared but weights and images: igdm's engine and attacks on one side, PyTorch and a package on the
other. Nothing is drawn at random; what differs is rounding, and so the iterates of single samples late in an attack.
(Iterates step by step: test_live_peers.py, test_live_search.py, test_live_autoattack.py.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import igdm
import numpy as np
import peers
import pytest
import torch
from fashion import RADIUS, RADIUS_RESNET18, TEACHER, colourful, resnet18
from test_live_peers import PyTorchClassifier, adv_lib_apgd, foolbox, torchattacks
from test_live_search import ANYWHERE, ORDER, shorten
from twin import twin

from art.attacks.evasion import BasicIterativeMethod, FastGradientMethod, ProjectedGradientDescent  # isort: skip

STEPS = 20
Images = torch.Tensor


@dataclass(frozen=True)
class Subject:
    """A network on both sides, and images that it classifies correctly."""

    ours: igdm.Model
    theirs: torch.nn.Module
    images: np.ndarray
    labels: np.ndarray
    eps: dict[str, float]
    few: int
    """So many images for attacks that take many passes."""


def subject(model: igdm.Model, images: np.ndarray, labels: np.ndarray, count: int, **more: Any) -> Subject:
    right = model.predict(images).argmax(1) == labels
    assert right.sum() >= count
    return Subject(
        model, twin(model).requires_grad_(False).eval(), images[right][:count], labels[right][:count], **more
    )


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    images, labels = igdm.datasets.fashion_mnist().test.read(0, 200)
    return {
        "small": subject(igdm.Model.load(TEACHER), images, labels, 48, eps=RADIUS, few=48),
        "resnet18": subject(resnet18(), colourful(images), labels, 48, eps=RADIUS_RESNET18, few=16),
    }


@dataclass(frozen=True)
class Peer:
    """An attack of a package, and igdm's with the same parameters."""

    package: str
    attack: str
    norms: tuple[str, ...]
    run: Callable[[Subject, Images, Images, str], Images]
    """Of subject, images, labels, norm."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of igdm.attack."""
    networks: tuple[str, ...] = ("small", "resnet18")
    nearest: bool = False
    """Looks for the nearest misclassified point: distances are compared, and success is to be within the radius."""


def torchattacks_pgd(on: Subject, x: Images, y: Images, norm: str) -> Images:
    common = dict(eps=on.eps[norm], alpha=on.eps[norm] / 4, steps=STEPS, random_start=False)
    if norm == "linf":
        return torchattacks.PGD(on.theirs, **common)(x, y)
    return torchattacks.PGDL2(on.theirs, **common, eps_for_division=1e-30)(x, y)


def foolbox_attack(name: str, **options: Any) -> Callable[[Subject, Images, Images, str], Images]:
    """`name` with the norm's own name for *; a step is given as a part of the radius."""

    def run(on: Subject, x: Images, y: Images, norm: str) -> Images:
        spelt = "LInf" if "FMN" in name and norm == "linf" else norm.capitalize()
        own = {key: value * on.eps[norm] if key == "abs_stepsize" else value for key, value in options.items()}
        attack = getattr(foolbox.attacks, name.replace("*", spelt))(**own)
        inside = {} if isinstance(attack, foolbox.attacks.base.MinimizationAttack) else {"epsilon": on.eps[norm]}
        under = foolbox.PyTorchModel(on.theirs, bounds=(0, 1))
        return attack.run(under, x, foolbox.criteria.Misclassification(y), **inside)

    return run


def of_art(kind: type, **options: Any) -> Callable[[Subject, Images, Images, str], Images]:
    def run(on: Subject, x: Images, y: Images, norm: str) -> Images:
        under = PyTorchClassifier(
            on.theirs, torch.nn.CrossEntropyLoss(), input_shape=on.images.shape[1:], nb_classes=10,
            clip_values=(0, 1), device_type="cpu",
        )  # fmt: skip
        sizes = {} if kind is FastGradientMethod else {"eps_step": on.eps[norm] / 4, "max_iter": STEPS}
        attack = kind(under, eps=on.eps[norm], batch_size=len(x), **sizes, **options)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return run


def adv_lib_auto_pgd(loss: str) -> Callable[[Subject, Images, Images, str], Images]:
    def run(on: Subject, x: Images, y: Images, norm: str) -> Images:
        """The last misclassified iterate, or where there is none the image."""
        radii = torch.full((len(x),), on.eps[norm])
        return adv_lib_apgd(on.theirs, x, y, radii, ORDER[norm], x_init=x, n_iter=STEPS, loss_function=loss)[3]

    return run


def adv_lib_ddn(on: Subject, x: Images, y: Images, norm: str) -> Images:
    return peers.adv_lib("decoupled_direction_norm").ddn(on.theirs, x, y, steps=STEPS, levels=None)


def adv_lib_fmn(on: Subject, x: Images, y: Images, norm: str) -> Images:
    package = peers.adv_lib("fast_minimum_norm")
    package.l2_projection_ = shorten
    return package.fmn(on.theirs, x, y, ORDER[norm], steps=STEPS)


def adv_lib_deepfool(on: Subject, x: Images, y: Images, norm: str) -> Images:
    return peers.adv_lib("deepfool").df(on.theirs, x, y, steps=50, norm=ORDER[norm])


def adv_lib_fab(on: Subject, x: Images, y: Images, norm: str) -> Images:
    return peers.adv_lib("fast_adaptive_boundary").fab(on.theirs, x, y, ORDER[norm], n_iter=STEPS)


BOTH, SIGN = ("linf", "l2"), ("linf",)
FROM_IMAGE: dict[str, Any] = {"steps": STEPS, "random_start": False}
QUIRKS: dict[str, Any] = FROM_IMAGE | {"tuning": {"reference_quirks": 1}}
MANY: dict[str, Any] = {"steps": STEPS}

PEERS = [
    Peer("torchattacks", "fgsm", SIGN, lambda on, x, y, norm: torchattacks.FGSM(on.theirs, eps=on.eps[norm])(x, y)),
    Peer("torchattacks", "pgd", BOTH, torchattacks_pgd, FROM_IMAGE),
    Peer(
        "torchattacks", "mi-fgsm", SIGN,
        lambda on, x, y, norm: torchattacks.MIFGSM(on.theirs, on.eps[norm], on.eps[norm] / 10, 10, decay=1.0)(x, y),
        {"steps": 10},
    ),
    Peer(
        "torchattacks", "deepfool", ("l2",), lambda on, x, y, norm: torchattacks.DeepFool(on.theirs, steps=50)(x, y),
        networks=("small",), nearest=True,
    ),
    Peer("foolbox", "fgsm", SIGN, foolbox_attack("*FastGradientAttack")),
    Peer(
        "foolbox", "pgd", BOTH, foolbox_attack("*PGD", abs_stepsize=0.25, steps=STEPS, random_start=False), FROM_IMAGE,
    ),
    Peer("foolbox", "ddn", ("l2",), foolbox_attack("DDNAttack", steps=STEPS), MANY, nearest=True),
    Peer("foolbox", "deepfool", BOTH, foolbox_attack("*DeepFoolAttack", steps=50), nearest=True),
    Peer("foolbox", "fmn", ("linf", "l1"), foolbox_attack("*FMNAttack", steps=STEPS), MANY, nearest=True),
    Peer("ART", "fgsm", SIGN, of_art(FastGradientMethod)),
    Peer("ART", "pgd", SIGN, of_art(ProjectedGradientDescent, num_random_init=0, verbose=False), FROM_IMAGE),
    Peer("ART", "bim", SIGN, of_art(BasicIterativeMethod, verbose=False), MANY),
    Peer("adv-lib", "apgd-ce", BOTH, adv_lib_auto_pgd("ce"), QUIRKS),
    Peer("adv-lib", "apgd-dlr", BOTH, adv_lib_auto_pgd("dlr"), QUIRKS),
    Peer("adv-lib", "ddn", ("l2",), adv_lib_ddn, MANY, nearest=True),
    Peer("adv-lib", "fmn", ("linf", "l2", "l1"), adv_lib_fmn, MANY, nearest=True),
    Peer("adv-lib", "deepfool", BOTH, adv_lib_deepfool, nearest=True),
    Peer("adv-lib", "fab", ("linf", "l2", "l1"), adv_lib_fab, MANY, nearest=True),
]  # fmt: skip
CASES = [(name, peer, norm) for peer in PEERS for name in peer.networks for norm in peer.norms]


@pytest.mark.parametrize(
    ("name", "peer", "norm"), CASES, ids=[f"{name}-{peer.package}-{peer.attack}-{norm}" for name, peer, norm in CASES]
)
def test_success_loss_and_accuracy(subjects: dict[str, Subject], name: str, peer: Peer, norm: str) -> None:
    on = subjects[name]
    count = on.few if peer.nearest else len(on.images)
    images, labels, eps = on.images[:count], on.labels[:count], on.eps[norm]
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    wanted = peer.run(on, x.clone(), y, norm).detach()
    radius = ANYWHERE if peer.nearest else eps
    found = igdm.attack(on.ours, images, labels, peer.attack, eps=radius, norm=norm, progress=False, **peer.options)

    def judged(adversarial: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Success (within the radius), distance (where misclassified at all), loss."""
        with torch.no_grad():
            logits = on.theirs(adversarial)
        moved = (adversarial - x).double().flatten(1).norm(ORDER[norm], dim=1).numpy()
        wrong = (logits.argmax(1) != y).numpy()
        inside = wrong & (moved <= eps) if peer.nearest else wrong
        distance = np.where(wrong, moved, np.inf)
        return inside, distance, torch.nn.functional.cross_entropy(logits, y, reduction="none").numpy()

    (success, distance, loss), (their_success, their_distance, their_loss) = map(
        judged, (torch.from_numpy(found.images), wanted)
    )
    same = success == their_success
    agree = float(same.mean())
    if peer.nearest:
        both = np.isfinite(distance) & np.isfinite(their_distance)
        what, one, other = "median distance", np.median(distance[both]), np.median(their_distance[both])
    else:
        what, one, other = "mean loss", loss[same].mean(), their_loss[same].mean()
    print(
        f"\n| {peer.attack}, {peer.package}, {norm} | {name} | {100 * (1 - success.mean()):.1f} / "
        f"{100 * (1 - their_success.mean()):.1f} % | {100 * agree:.1f} % | {what} {one:.4f} / {other:.4f} |"
    )
    assert 0 < their_success.sum() < count
    if not peer.nearest:
        np.testing.assert_array_equal(success, found.success)
    assert agree >= 1 - 1 / count
    assert abs(one / other - 1) < (0.03 if peer.nearest else 0.01)
