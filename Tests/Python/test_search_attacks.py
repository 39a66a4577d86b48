"""The norm L1, attacks that look for the nearest point, those without gradients, and corruptions, through Python."""

from __future__ import annotations

import igdm
import numpy as np
import pytest
from conftest import SHAPE, make_arrays

SMALL = {"spsa_directions": 16, "spsa_rate": 0.1, "jump_directions": 10, "cw_rate": 0.1}
DISTANCES = {"linf": "linf", "l2": "l2", "l1": "l1"}
CASES = [
    ("pgd", "l1", 8.0, 8),
    ("apgd-ce", "l1", 8.0, 8),
    ("fab-t", "l1", 8.0, 8),
    ("square", "l1", 20.0, 60),
    ("deepfool", "linf", 0.3, 8),
    ("deepfool", "l2", 3.0, 8),
    ("ddn", "l2", 3.0, 20),
    ("cw-l2", "l2", 3.0, 30),
    ("fmn", "linf", 0.3, 30),
    ("fmn", "l2", 3.0, 30),
    ("fmn", "l1", 20.0, 30),
    ("spsa", "linf", 0.3, 12),
    ("hopskipjump", "l2", 6.0, 2),
    ("noise-gaussian", "l2", 8.0, 40),
    ("noise-uniform", "linf", 0.8, 40),
]


@pytest.mark.parametrize(("attack", "norm", "eps", "steps"), CASES)
def test_results_are_in_the_ball(teacher: igdm.Model, attack: str, norm: str, eps: float, steps: int) -> None:
    images, labels = make_arrays(24)
    wrong = teacher.predict(images).argmax(1) != labels
    result = igdm.attack(teacher, images, labels, attack, norm=norm, eps=eps, steps=steps, tuning=SMALL)
    assert (getattr(result, DISTANCES[norm]) <= eps).all()
    assert result.images.min() >= 0 and result.images.max() <= 1
    np.testing.assert_array_equal(result.success, teacher.predict(result.images).argmax(1) != labels)
    assert result.success.sum() > wrong.sum()
    if attack != "pgd":
        np.testing.assert_array_equal(result.images[wrong], images[wrong])


def test_the_fewest_pixels(teacher: igdm.Model) -> None:
    images, labels = make_arrays(12)
    result = igdm.attack(teacher, images, labels, "fmn", norm="l0", eps=20, steps=40)
    changed = (result.images != images).reshape(12, -1).sum(1)
    assert changed.max() <= 20
    assert result.success.sum() > (teacher.predict(images).argmax(1) != labels).sum()


def test_decisions_are_enough(teacher: igdm.Model) -> None:
    """Of these attacks a host's model computes the forward pass alone, and the result is the same."""
    images, labels = make_arrays(8)
    host = igdm.HostModel(teacher.predict, None, classes=teacher.info.classes, input_shape=SHAPE)
    for attack in ("hopskipjump", "spsa", "noise-gaussian", "noise-uniform", "zoom_blur"):
        options = {"eps": 0.4, "steps": 2, "tuning": SMALL}
        black = igdm.attack(host, images, labels, attack, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(black.images, igdm.attack(teacher, images, labels, attack, **options).images)  # type: ignore[arg-type]
        assert (black.backwards == 0).all()
    with pytest.raises(igdm.InvalidArgument, match="hopskipjump"):
        igdm.attack(host, images, labels, "deepfool")


def test_gradients_of_a_random_model_are_averaged(teacher: igdm.Model) -> None:
    """Each pass answers with another gradient: their mean is what the step follows."""
    images, labels = make_arrays(8)
    random = np.random.default_rng(3)
    noise = [random.normal(size=images.shape).astype(np.float32) for _ in range(4)]
    passes: list[np.ndarray] = []

    def gradient(batch: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        passes.append(teacher.input_gradient(batch, cotangent) + noise[len(passes) % 4])
        return passes[-1]

    host = igdm.HostModel(teacher.predict, gradient, classes=teacher.info.classes, input_shape=SHAPE)
    result = igdm.attack(host, images, labels, "fgsm", eps=0.1, eot=4)
    mean = np.sum(passes, axis=0, dtype=np.float32)
    assert len(passes) == 4 and (result.backwards == 4).all()
    sure = np.abs(mean) > 1e-5
    wanted = np.clip(images + np.float32(0.1) * np.sign(mean), 0, 1)
    np.testing.assert_allclose(result.images[sure], wanted[sure], atol=1e-6)
    alone = igdm.attack(host, images, labels, "fgsm", eps=0.1)
    assert (np.abs(alone.images - result.images) > 0.1).mean() > 0.1
    plain = igdm.attack(teacher, images, labels, "pgd", eps=0.1, steps=3, eot=3)
    once = igdm.attack(teacher, images, labels, "pgd", eps=0.1, steps=3)
    assert np.abs(plain.images - once.images).max() < 1e-6 and plain.backwards[0] == 3 * once.backwards[0]


def test_tuning_is_taken(teacher: igdm.Model) -> None:
    images, labels = make_arrays(12)
    few = igdm.attack(teacher, images, labels, "spsa", eps=0.3, steps=1, tuning={"spsa_directions": 2})
    many = igdm.attack(teacher, images, labels, "spsa", eps=0.3, steps=1, tuning={"spsa_directions": 9})
    assert few.forwards.max() == 1 + 2 * 2 + 2
    assert many.forwards.max() == 1 + 2 * 9 + 2
    quick = {"cw_searches": 3, "cw_abort_early": 0, "cw_constant": 1}
    slow, fast = (
        igdm.attack(teacher, images, labels, "cw-l2", eps=8, norm="l2", steps=7, tuning=quick | {"cw_rate": rate})
        for rate in (0.1, 0.5)
    )
    assert slow.forwards.max() == 1 + 3 * 7
    right = teacher.predict(images).argmax(1) == labels
    both = right & slow.success & fast.success
    assert both.any() and (slow.images[both] != fast.images[both]).any()
    kept, lost = (
        igdm.attack(teacher, images, labels, "mi-fgsm", norm="l2", eps=2, tuning={"momentum_decay": decay}).images
        for decay in (1, 0.2)
    )
    assert np.abs(kept - lost).max() > 1e-3
    for tuning, message in [
        ({"ddn_gamma": 1.5}, "ddn_gamma: got 1.5"),
        ({"momentum_decay": -1}, "momentum_decay: got -1"),
        ({"cw_searches": 0}, "cw_searches: got 0"),
        ({"cw_abort_early": 2}, "cw_abort_early: got 2"),
        ({"spsa_directions": 0}, "spsa_directions: got 0"),
        ({"large_radii": 1}, "large_radii"),
        ({"gamma": 1}, "want one of reference_quirks, .*cw_abort_early"),
    ]:
        with pytest.raises(igdm.InvalidArgument, match=message):
            igdm.attack(teacher, images, labels, "apgd-ce", tuning=tuning)
    with pytest.raises(igdm.InvalidArgument, match="want l2 for ddn"):
        igdm.attack(teacher, images, labels, "ddn", norm="linf")


def test_autoattack_in_l1(teacher: igdm.Model) -> None:
    images, labels = make_arrays(8)
    data = igdm.datasets.from_arrays(images, labels, classes=teacher.info.classes)
    events: list[igdm.Progress] = []
    result = igdm.autoattack(
        teacher, data, version="custom", attacks=["apgd-ce-10", "apgd-t-10", "fab-t-5", "square-30"], norm="l1", eps=4,
        callback=events.append,
    )  # fmt: skip
    assert [row.name for row in result.rows] == ["clean", "apgd-ce-10", "apgd-t-10", "fab-t-5", "square-30"]
    assert result.robust <= result.clean
    assert events[-1].done == 8
    with pytest.raises(igdm.Cancelled):
        igdm.autoattack(teacher, data, norm="l1", eps=4, callback=lambda _: True)


def test_lists_take_them_all(teacher: igdm.Model) -> None:
    names = ["deepfool-3", "fmn-10", "noise-uniform-3", "gaussian_noise-1", "fog-5", "pixelate-2"]
    data = igdm.datasets.from_arrays(*make_arrays(16), classes=teacher.info.classes)
    table = igdm.evaluate(teacher, data, attacks=names, eps=0.1)
    assert [row.name for row in table.rows] == ["clean", *names]
    with pytest.raises(igdm.InvalidArgument, match="severity"):
        igdm.evaluate(teacher, data, attacks=["fog-6"])
