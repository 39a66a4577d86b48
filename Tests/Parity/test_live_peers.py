"""FGSM, PGD and Auto-PGD beside torchattacks, foolbox, ART and adv-lib (peers.txt): one module, the same images.

Without a random start nothing is left to chance: each sample's image after so many steps is to be the same within 1e-4.
The module computes in float64, the attacks' own arithmetic is float32 on all sides. In L-infinity a step is a sign, and
where a gradient is zero up to rounding so is a whole step of that pixel; more steps, more such pixels. So all samples
have to agree in the first steps, and nearly all in twenty.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import igdm
import numpy as np
import pytest
import torch
from fashion import RADIUS, Recorder, correct_samples, host_of, recorder
from test_live_definitions import torchvision_models

torchvision_models()  # adv-lib imports torchvision, which loads beside a PyTorch for the CPU with that help only
sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # and a plotting service, of which it uses nothing here
sys.modules["visdom"].Visdom = object  # type: ignore[attr-defined]

import foolbox  # noqa: E402
import torchattacks  # noqa: E402
from adv_lib.attacks.auto_pgd import _apgd as adv_lib_apgd  # noqa: E402
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent  # noqa: E402
from art.estimators.classification import PyTorchClassifier  # noqa: E402

COUNT = 16
ORDER = {"linf": np.inf, "l2": 2}

Peer = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor, str, int], np.ndarray]


@pytest.fixture(scope="module")
def model() -> Recorder:
    return recorder()


@pytest.fixture(scope="module")
def host(model: Recorder) -> igdm.HostModel:
    return host_of(model)


def step_of(norm: str) -> float:
    return RADIUS[norm] / 4


def of_torchattacks(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, steps: int) -> np.ndarray:
    eps = RADIUS[norm]
    if steps == 0:
        attack = torchattacks.FGSM(module, eps=eps)
    elif norm == "linf":
        attack = torchattacks.PGD(module, eps=eps, alpha=step_of(norm), steps=steps, random_start=False)
    else:
        # What is added to the length of a gradient before dividing is not small beside those of confident samples.
        attack = torchattacks.PGDL2(
            module, eps=eps, alpha=step_of(norm), steps=steps, random_start=False, eps_for_division=1e-30
        )
    return attack(x, y).numpy()


def of_foolbox(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, steps: int) -> np.ndarray:
    if steps == 0:
        attack = {"linf": foolbox.attacks.LinfFastGradientAttack, "l2": foolbox.attacks.L2FastGradientAttack}[norm]()
    else:
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        attack = kind(abs_stepsize=step_of(norm), steps=steps, random_start=False)
    under = foolbox.PyTorchModel(module, bounds=(0, 1))
    return attack.run(under, x, foolbox.criteria.Misclassification(y), epsilon=RADIUS[norm]).numpy()


class LargeCrossEntropy(torch.nn.CrossEntropyLoss):
    """ART adds 1e-7 to the length of a gradient before dividing by it, which is to be nothing beside it."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 1e9 * super().forward(logits, labels)


def of_art(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, steps: int) -> np.ndarray:
    under = PyTorchClassifier(
        module, LargeCrossEntropy(), input_shape=(1, 28, 28), nb_classes=10, clip_values=(0, 1),
        device_type="cpu",
    )  # fmt: skip
    if steps == 0:
        attack = FastGradientMethod(under, norm=ORDER[norm], eps=RADIUS[norm], batch_size=COUNT)
    else:
        attack = ProjectedGradientDescent(
            under, norm=ORDER[norm], eps=RADIUS[norm], eps_step=step_of(norm), max_iter=steps, num_random_init=0,
            batch_size=COUNT, verbose=False,
        )  # fmt: skip
    return attack.generate(x.numpy(), y.numpy())


PEERS: dict[str, Peer] = {"torchattacks": of_torchattacks, "foolbox": of_foolbox, "ART": of_art}


# 0 steps stand for FGSM, which torchattacks has not in L2. ART clips to [0,1] before it projects: another point in L2,
# where the border of the ball is reached.
LEFT_OUT = {("torchattacks", "l2", 0), ("ART", "l2", 5), ("ART", "l2", 20)}
CASES = [
    (peer, norm, steps)
    for peer in PEERS for norm in ORDER for steps in (0, 1, 5, 20) if (peer, norm, steps) not in LEFT_OUT
]  # fmt: skip


@pytest.mark.parametrize(("peer", "norm", "steps"), CASES)
def test_steps_from_the_image(model: Recorder, host: igdm.HostModel, peer: str, norm: str, steps: int) -> None:
    images, labels = correct_samples(model, COUNT)
    wanted = PEERS[peer](model, torch.from_numpy(images), torch.from_numpy(labels), norm, steps)
    attack = {"attack": "fgsm"} if steps == 0 else {"attack": "pgd", "steps": steps, "random_start": False}
    found = igdm.attack(host, images, labels, eps=RADIUS[norm], norm=norm, progress=False, **attack).images
    errors = np.abs(found - wanted).reshape(COUNT, -1).max(1)
    agree = float((errors <= 1e-4).mean())
    print(f"\n{peer} {attack} {norm}: largest difference {errors.max():.1e}, within 1e-4 {agree:.3f}")
    assert agree == 1 if steps <= 5 else agree >= 0.9


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize(("name", "decay"), [("bim", None), ("mi-fgsm", 1.0), ("mi-fgsm", 0.5)])
def test_iterative_attacks_of_torchattacks(
    model: Recorder, host: igdm.HostModel, name: str, decay: float | None, steps: int
) -> None:
    """Where gradients pile up they are divided by their mean magnitude there, by their sum here: the same signs."""
    images, labels = correct_samples(model, COUNT)
    eps, step = RADIUS["linf"], step_of("linf")
    kind = {"bim": torchattacks.BIM, "mi-fgsm": torchattacks.MIFGSM}[name]
    there, here = ({}, {}) if decay is None else ({"decay": decay}, {"momentum_decay": decay})
    peer = kind(model, eps=eps, alpha=step, steps=steps, **there)
    wanted = peer(torch.from_numpy(images), torch.from_numpy(labels)).numpy()
    found = igdm.attack(host, images, labels, name, eps=eps, step=step, steps=steps, tuning=here, progress=False).images
    errors = np.abs(found - wanted).reshape(COUNT, -1).max(1)
    agree = float((errors <= 1e-4).mean())
    print(f"\ntorchattacks {name} {decay}, {steps} steps: largest {errors.max():.1e}, within 1e-4 {agree:.3f}")
    assert agree == 1 if steps <= 5 else agree >= 0.9


class Rounded(torch.nn.Module):
    """A module whose logits are float32 values, as those that a host's model hands over; gradients pass unchanged."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.model(images)
        return logits + (logits.float().double() - logits).detach()


@pytest.mark.parametrize("name", ["r-fgsm", "tpgd"])
def test_attacks_from_random_starts(
    model: Recorder, host: igdm.HostModel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchattacks' loop from the start that igdm has drawn. Its r-fgsm takes the step as ε - alpha.

    Beside the image the divergence is nearly flat: its derivative is a difference of two probabilities that are almost
    the same, and the rounding of a host's logits to float32 turns some signs. So tpgd is compared on rounded logits.
    """
    images, labels = correct_samples(model, COUNT)
    eps = RADIUS["linf"]
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    model.seen.clear()
    options = {"step": eps / 2} if name == "r-fgsm" else {"step": eps / 4, "steps": 5}
    found = igdm.attack(host, images, labels, name, eps=eps, progress=False, seed=3, **options).images
    # tpgd's first pass is over the clean images, and a gradient takes a second pass, which the recorder does not see.
    start = torch.from_numpy(model.seen[1 if name == "tpgd" else 0])
    change = np.abs(start.numpy() - images)
    if name == "r-fgsm":
        inside = (start.numpy() > 0) & (start.numpy() < 1)
        np.testing.assert_allclose(change[inside], eps / 2, atol=1e-6)
        monkeypatch.setattr(torch, "randn_like", lambda like: (start - like) / (eps / 2))
        attack = torchattacks.RFGSM(model, eps=eps, alpha=eps / 2, steps=1)
    else:
        assert 0.0005 < change.std() < 0.0015
        monkeypatch.setattr(torch, "randn_like", lambda like: (start - like) / 0.001)
        attack = torchattacks.TPGD(Rounded(model).eval(), eps=eps, alpha=eps / 4, steps=5)
    wanted = attack(x, y).numpy()
    errors = np.abs(found - wanted).reshape(COUNT, -1)
    agree = [float((errors.max(1) <= 1e-4).mean()), float((errors <= 1e-4).mean())]
    print(f"\ntorchattacks {name}: samples and pixels within 1e-4: {agree}")
    assert agree == [1, 1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-dlr"])
def test_auto_pgd_of_adv_lib_from_a_given_start(model: Recorder, host: igdm.HostModel, attack: str, norm: str) -> None:
    images, labels = correct_samples(model, COUNT)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    model.seen.clear()
    adv_lib_apgd(
        model, x, y, torch.full((COUNT,), RADIUS[norm]), ORDER[norm], x_init=x, n_iter=100,
        loss_function=attack.removeprefix("apgd-"),
    )  # fmt: skip
    wanted = np.stack([seen for seen in model.seen if len(seen) == COUNT])
    model.seen.clear()
    igdm.attack(
        host, images, labels, attack, eps=RADIUS[norm], norm=norm, random_start=False, steps=100, progress=False,
        tuning={"reference_quirks": 1},
    )  # fmt: skip
    found = np.stack(model.seen[1:])
    steps = min(len(found), len(wanted))
    errors = np.abs(found[:steps] - wanted[:steps]).reshape(steps, COUNT, -1).max(2)
    agree = float((errors.max(0) <= 1e-4).mean())
    print(f"\nadv-lib {attack} {norm}: {errors[:23].max():.1e} in 22 steps, within 1e-4 in {steps - 1}: {agree:.3f}")
    assert errors[:23].max() <= 1e-4
    assert agree >= 0.75
