"""Attacks on a ResNet-18 beside torchattacks, foolbox and adv-lib, each side on its own network of the same weights.

Here nothing is shared but weights and images: igdm's engine and attacks on one side, PyTorch and a package on the
other. The network has been trained by igdm for a minute, so that some images are broken and others are not. The attacks
have no random start; what differs is rounding, and so the iterates of single samples late in an attack.
"""

from __future__ import annotations

import igdm
import numpy as np
import pytest
import torch
from reference.networks import network
from test_live_peers import adv_lib_apgd, foolbox, torchattacks

COUNT = 48
SHAPE = (3, 32, 32)
EPS = {"linf": 4 / 255, "l2": 0.5}
ORDER = {"linf": np.inf, "l2": 2}


def colourful(images: np.ndarray) -> np.ndarray:
    """Fashion-MNIST as red, green and blue of different brightness, padded to 32×32."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.concatenate([padded, 0.8 * padded, 0.5 + 0.5 * padded], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def ours() -> igdm.Model:
    images, labels = igdm.datasets.fashion_mnist().train.read(0, 1024)
    data = igdm.datasets.from_arrays(colourful(images), labels, classes=10)
    model = igdm.Model("resnet18", classes=10, input_shape=SHAPE, seed=0)
    igdm.distill(
        model, None, data, method="pgd-at", eps=EPS["linf"], step=EPS["linf"], steps=1, epochs=2, batch_size=64,
        learning_rate=0.05, schedule="onecycle", flip=False, crop_padding=0, progress=False,
    )  # fmt: skip
    return model


@pytest.fixture(scope="module")
def theirs(ours: igdm.Model) -> torch.nn.Module:
    made = network("resnet18", 3, 10, ours.info.width, None, None)
    state = {name: torch.from_numpy(np.array(ours.parameters[name])) for name in ours.parameters.shapes}
    made.load_state_dict(state, strict=False)
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def samples(ours: igdm.Model) -> tuple[np.ndarray, np.ndarray]:
    images, labels = igdm.datasets.fashion_mnist().test.read(0, 4 * COUNT)
    images = colourful(images)
    right = ours.predict(images).argmax(1) == labels
    return images[right][:COUNT], labels[right][:COUNT]


def of_torchattacks(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str) -> torch.Tensor:
    eps = EPS[norm]
    if norm == "linf":
        return torchattacks.PGD(module, eps=eps, alpha=eps / 4, steps=20, random_start=False)(x, y)
    return torchattacks.PGDL2(module, eps=eps, alpha=eps / 4, steps=20, random_start=False, eps_for_division=1e-30)(
        x, y
    )


def of_foolbox(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str) -> torch.Tensor:
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    under = foolbox.PyTorchModel(module, bounds=(0, 1))
    attack = kind(abs_stepsize=EPS[norm] / 4, steps=20, random_start=False)
    return attack.run(under, x, foolbox.criteria.Misclassification(y), epsilon=EPS[norm])


def of_adv_lib(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str) -> torch.Tensor:
    """The last misclassified iterate, or where there is none the image."""
    return adv_lib_apgd(
        module, x, y, torch.full((len(x),), EPS[norm]), ORDER[norm], x_init=x, n_iter=20, loss_function="ce"
    )[3]


PEERS = {"torchattacks": of_torchattacks, "foolbox": of_foolbox, "adv-lib": of_adv_lib}


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("peer", PEERS)
def test_success_loss_and_accuracy(
    ours: igdm.Model, theirs: torch.nn.Module, samples: tuple[np.ndarray, np.ndarray], peer: str, norm: str
) -> None:
    images, labels = samples
    assert len(images) == COUNT
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    wanted = PEERS[peer](theirs, x, y, norm).detach()
    own = {"attack": "apgd-ce", "tuning": {"reference_quirks": 1}} if peer == "adv-lib" else {"attack": "pgd"}
    found = igdm.attack(
        ours, images, labels, eps=EPS[norm], norm=norm, steps=20, random_start=False, progress=False, **own
    )

    def judged(adversarial: torch.Tensor) -> tuple[np.ndarray, float]:
        with torch.no_grad():
            logits = theirs(adversarial)
        return (logits.argmax(1) != y).numpy(), float(torch.nn.functional.cross_entropy(logits, y))

    (success, loss), (their_success, their_loss) = judged(torch.from_numpy(found.images)), judged(wanted)
    agree = float((success == their_success).mean())
    print(
        f"\n{peer} {norm}: accuracy {100 * (1 - success.mean()):.1f} / {100 * (1 - their_success.mean()):.1f} %, "
        f"same success {100 * agree:.1f} %, mean loss {loss:.4f} / {their_loss:.4f}"
    )
    assert 0 < their_success.sum() < COUNT
    np.testing.assert_array_equal(success, found.success)
    assert agree >= 1 - 1 / COUNT
    assert abs(loss / their_loss - 1) < 0.01
