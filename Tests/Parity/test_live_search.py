"""Attacks that look for the nearest point, and those without gradients, beside published packages (adv-lib, foolbox,
torchattacks), on the teacher in examples/data and Fashion-MNIST. As in test_live_autoattack.py both sides attack the
same PyTorch module, so that what differs is the attack alone; where attacks are compared in distribution igdm attacks
its own network of the same weights."""

from __future__ import annotations

import math

import igdm
import numpy as np
import peers
import pytest
import test_live_autoattack
import torch
import torchattacks
from fashion import TEACHER, Recorder, correct_samples

model = test_live_autoattack.model
host = test_live_autoattack.host

CLASSES = 10
ORDER = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}
# Larger than any distance: whatever is found counts.
ANYWHERE = 1000.0


class SinglePrecision(torch.nn.Module):
    """What a package is given that mixes its own float32 with a model's logits."""

    def __init__(self, model: Recorder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images).float()


def tell(attack: str, norm: str, errors: np.ndarray) -> None:
    parts = {k: float(errors[:k].max()) for k in (6, 11, 21, len(errors))}
    print(f"\n{attack} {norm}: largest error in the first iterates {parts}")
    print("samples within 1e-4 throughout:", float((errors.max(0) <= 1e-4).mean()))


def shorten(δ: torch.Tensor, ε: torch.Tensor) -> torch.Tensor:
    """adv-lib's form of a projection, in place, onto the L2 ball."""
    flat = δ.flatten(1)
    flat.mul_((ε.unsqueeze(1) / flat.norm(dim=1, keepdim=True).clamp_(min=1e-12)).clamp(max=1))
    return flat


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
@pytest.mark.parametrize("attack", ["ddn", "fmn"])
@pytest.mark.parametrize("targeted", [False, True])
def test_iterates(model: Recorder, host: igdm.HostModel, targeted: bool, attack: str, norm: str) -> None:
    """50 steps, away from the label or towards the class after it. In L2 neither package projects as FMN's paper says:
    adv-lib also lengthens what lies inside the ball, foolbox does nothing. Here adv-lib gets the projection of the
    paper. On the way to a target one sample may come to a ReLU's edge: in float64 its gradients at the two points,
    1.2e-7 apart, differ by 0.5 %."""
    if attack == "ddn" and norm != "l2":
        return
    images, labels = correct_samples(model, 16)
    target = (labels + 1) % CLASSES if targeted else None
    x, y = torch.from_numpy(images), torch.from_numpy(labels if target is None else target)
    steps = 50
    model.seen.clear()
    if attack == "ddn":
        found = peers.adv_lib("decoupled_direction_norm").ddn(model, x, y, targeted=targeted, steps=steps, levels=None)
    else:
        fmn = peers.adv_lib("fast_minimum_norm")
        fmn.l2_projection_ = shorten
        found = fmn.fmn(lambda images: model(images).float(), x, y, ORDER[norm], targeted, steps)
    wanted = np.stack(model.seen[-steps:])

    model.seen.clear()
    result = igdm.attack(
        host, images, labels, attack, eps=ANYWHERE, norm=norm, steps=steps, target=target, progress=False
    )
    # The first pass is over the clean images.
    got = np.stack(model.seen[1:])
    assert got.shape == wanted.shape
    errors = np.abs(got - wanted).reshape(steps, len(images), -1).max(2)
    tell(attack, norm, errors)
    assert np.sum(errors[:6].max(0) > 1e-4) <= targeted
    np.testing.assert_array_equal(result.success, (found != x).flatten(1).any(1).numpy())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_iterates_of_deepfool(model: Recorder, host: igdm.HostModel, norm: str) -> None:
    images, labels = correct_samples(model, 16)
    model.seen.clear()
    reference = peers.adv_lib("deepfool")
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    found = reference.df(lambda images: model(images).float(), x, y, steps=50, norm=ORDER[norm])
    wanted = list(model.seen)
    model.seen.clear()
    result = igdm.attack(host, images, labels, "deepfool", eps=ANYWHERE, norm=norm, progress=False)
    # A pass for each other class; samples leave both batches where they are misclassified.
    got = model.seen[1 :: CLASSES - 1]
    assert [len(batch) for batch in got] == [len(batch) for batch in wanted]
    errors = [float(np.abs(a - b).max()) for a, b in zip(got, wanted, strict=True)]
    print(f"\ndeepfool {norm}: {len(errors)} iterates, largest error {max(errors)}")
    assert max(errors) <= 1e-4
    assert np.abs(result.images - found.numpy()).max() <= 1e-4


def test_iterates_of_carlini_and_wagner(model: Recorder, host: igdm.HostModel) -> None:
    """foolbox from the image itself: three weights of the margin, each sample's by its own search, none given up."""
    foolbox = peers.foolbox()
    images, labels = correct_samples(model, 16)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    searches, steps = 3, 30
    options = {"initial_const": 1.0, "stepsize": 0.01, "confidence": 0}
    model.seen.clear()
    peer = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=searches, steps=steps, abort_early=False, **options
    )
    single = SinglePrecision(model).eval()
    found = peer.run(foolbox.PyTorchModel(single, bounds=(0, 1), device="cpu"), x, y).numpy()
    wanted = np.stack([seen for seen in model.seen if len(seen) == len(images)][-searches * steps :])

    model.seen.clear()
    tuning = {"cw_constant": 1.0, "cw_searches": searches, "cw_abort_early": 0}
    result = igdm.attack(
        host, images, labels, "cw-l2", eps=ANYWHERE, norm="l2", steps=steps, tuning=tuning, progress=False
    )
    got = np.stack(model.seen[1:])
    assert got.shape == wanted.shape
    errors = np.abs(got - wanted).reshape(len(got), len(images), -1).max(2)
    tell("cw-l2", "l2", errors)
    for search in range(searches):
        print(f"c number {search + 1}: largest error {errors[search * steps : (search + 1) * steps].max():.1e}")
    assert errors[:21].max() <= 1e-4
    theirs = np.sqrt(((found - images).astype(np.float64) ** 2).reshape(len(images), -1).sum(1))
    broken = found.reshape(len(images), -1).any(1)
    np.testing.assert_array_equal(result.success, broken)
    np.testing.assert_allclose(result.l2[broken], theirs[broken], rtol=1e-3)


def test_distances_of_carlini_and_wagner(model: Recorder) -> None:
    """The whole search: foolbox' on its steps, and torchattacks', which has one weight and no search, on images without
    black and white (those pixels lie at infinity there)."""
    foolbox = peers.foolbox()
    images, labels = correct_samples(model, 32)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    ours = igdm.Model.load(TEACHER)
    model.module.float()
    try:
        peer = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=100, stepsize=0.02, initial_const=0.1)
        found = peer.run(foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu"), x, y).numpy()
        grey = 0.1 + 0.8 * x
        with torch.no_grad():
            right = model.module(grey).argmax(1) == y
        grey, kept = grey[right], y[right]
        wanted = torchattacks.CW(model.module.eval(), c=2, kappa=0, steps=60, lr=0.02)(grey, kept).numpy()
    finally:
        model.module.double()

    def distances(result: np.ndarray, start: np.ndarray) -> np.ndarray:
        return np.sqrt(((result - start).astype(np.float64) ** 2).reshape(len(start), -1).sum(1))

    tuning = {"cw_constant": 0.1, "cw_searches": 6, "cw_rate": 0.02}
    result = igdm.attack(
        ours, images, labels, "cw-l2", eps=ANYWHERE, norm="l2", steps=100, tuning=tuning, progress=False
    )
    theirs = distances(found, images)
    broken = found.reshape(len(images), -1).any(1)
    both = broken & result.success
    ratio = result.l2[both] / theirs[both]
    print(f"\ncw-l2, foolbox: broken {broken.mean():.3f}, ours {result.success.mean():.3f}; median distance "
          f"{np.median(theirs[both]):.4f}, ours {np.median(result.l2[both]):.4f}; ratios {ratio.min():.4f} to "
          f"{ratio.max():.4f}")  # fmt: skip
    np.testing.assert_array_equal(result.success, broken)
    assert np.median(ratio) == pytest.approx(1, abs=0.02)

    tuning = {"cw_constant": 2, "cw_searches": 1, "cw_rate": 0.02, "cw_abort_early": 0}
    result = igdm.attack(
        ours, grey.numpy(), kept.numpy(), "cw-l2", eps=ANYWHERE, norm="l2", steps=60, tuning=tuning, progress=False
    )
    theirs = distances(wanted, grey.numpy())
    broken = theirs > 0
    ratio = result.l2[broken & result.success] / theirs[broken & result.success]
    print(f"cw-l2, torchattacks: broken {broken.mean():.3f}, ours {result.success.mean():.3f}; ratios of distances "
          f"{ratio.min():.4f} to {ratio.max():.4f}")  # fmt: skip
    np.testing.assert_array_equal(result.success, broken)
    # The last iterates go to and fro across the border: which of them is beyond it is a matter of rounding.
    assert np.median(ratio) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(ratio, 1, rtol=0.03)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_of_hopskipjump(model: Recorder, norm: str) -> None:
    foolbox = peers.foolbox()
    images, labels = correct_samples(model, 16)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    steps = 4
    torch.manual_seed(0)
    model.module.float()
    try:
        wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
        peer = foolbox.attacks.HopSkipJumpAttack(steps=steps, constraint=norm)
        found = peer.run(wrapped, x, y).numpy()
    finally:
        model.module.double()
    moved = np.abs(found - images).reshape(len(images), -1)
    theirs = moved.max(1) if norm == "linf" else np.sqrt((moved**2).sum(1))
    result = igdm.attack(
        igdm.Model.load(TEACHER), images, labels, "hopskipjump", eps=ANYWHERE, norm=norm, steps=steps, progress=False
    )
    ours = getattr(result, norm)
    medians = f"ours {np.median(ours):.4f}, theirs {np.median(theirs):.4f}"
    print(f"\nhopskipjump {norm}, {steps} steps: median distance {medians}")
    assert result.success.all()
    assert np.median(ours) <= 1.15 * np.median(theirs)
