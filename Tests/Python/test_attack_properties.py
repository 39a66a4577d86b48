"""What has to hold of every attack, in one table: each name that the library knows is in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays

TEACHER = Path(__file__).resolve().parents[2] / "examples" / "data" / "fashion_teacher.h5"
RADIUS = {"linf": 0.3, "l2": 2.0, "l1": 12.0, "l0": 20}
FAR = {"linf": 8.0, "l2": 4.0, "l1": 6.0}
FEW = {"tuning": {"spsa_directions": 8, "spsa_rate": 0.1, "jump_directions": 10}}

QUICK = {"tuning": {"cw_constant": 1, "cw_searches": 3, "cw_rate": 0.05}}


@dataclass(frozen=True)
class Case:
    """How an attack is asked for here, and what it promises."""

    steps: int | None = 8
    """None: it has its own number only."""
    norms: tuple[str, ...] = ("linf", "l2", "l1")
    more_steps: bool = True
    """More steps are the same steps and then some: the sizes of others depend on how many there will be."""
    restarts: bool = True
    target: bool = False
    reach: dict[str, float] = field(default_factory=dict)
    """How many times the usual radius it needs to break anything, by norm."""
    harmless: tuple[str, ...] = ()
    """Norms in which it breaks nothing here at any radius."""
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "fgsm": Case(steps=None, restarts=False, target=True, harmless=("l1",)),  # in L1 one step is one pixel
    "pgd": Case(target=True),
    "cw": Case(target=True),
    "bim": Case(restarts=False, target=True),
    "mi-fgsm": Case(restarts=False, target=True),
    "r-fgsm": Case(steps=None, norms=("linf",), target=True),
    "tpgd": Case(),
    "apgd-ce": Case(more_steps=False, target=True),
    "apgd-dlr": Case(more_steps=False),
    "apgd-t": Case(more_steps=False, target=True),
    "fab": Case(),
    "fab-t": Case(target=True),
    "square": Case(steps=40, target=True, reach={"l1": 3}),
    "autoattack": Case(steps=None, restarts=False),
    "deepfool": Case(norms=("linf", "l2")),
    "ddn": Case(steps=20, norms=("l2",), more_steps=False, target=True),
    "fmn": Case(steps=30, norms=("linf", "l2", "l1", "l0"), more_steps=False, target=True),
    "cw-l2": Case(steps=20, norms=("l2",), more_steps=False, target=True, options=QUICK),
    "spsa": Case(steps=8, target=True, reach={"linf": 2, "l2": 2, "l1": 3}, options=FEW),
    "noise-gaussian": Case(steps=30, target=True, reach=FAR),
    "noise-uniform": Case(steps=30, target=True, reach=FAR),
    "hopskipjump": Case(steps=2, norms=("linf", "l2"), target=True, reach={"l2": 3}, options=FEW),
}
CORRUPTIONS = {
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
}  # fmt: skip
"""They have no radius: see test_corruptions.py and test_search_attacks.py."""

ATTACKS = [(name, norm) for name, case in CASES.items() for norm in case.norms]


def radius(name: str, norm: str) -> float:
    return RADIUS[norm] * CASES[name].reach.get(norm, 1)


every_attack = pytest.mark.parametrize(("name", "norm"), ATTACKS)


def run(model: Any, name: str, norm: str, images: np.ndarray, labels: np.ndarray, **changes: Any) -> igdm.Adversarial:
    options = {"eps": radius(name, norm), "norm": norm, "steps": CASES[name].steps, "early_stop": True}
    return igdm.attack(model, images, labels, name, progress=False, **{**options, **CASES[name].options, **changes})


def count_of(name: str) -> int:
    """AutoAttack takes thousands of passes."""
    return 6 if name == "autoattack" else 24


def test_every_attack_is_in_the_table() -> None:
    assert set(igdm.attacks.names()) == set(CASES) | CORRUPTIONS


@every_attack
def test_results_are_in_the_ball_and_the_box(teacher: igdm.Model, name: str, norm: str) -> None:
    """With no tolerance: the norm of the exact difference of two float images."""
    images, labels = make_arrays(count_of(name))
    found = run(teacher, name, norm, images, labels, quantise=True)
    assert found.images.min() >= 0 and found.images.max() <= 1
    change = np.abs(found.images.astype(np.float64) - images).reshape(len(images), -1)
    lengths = {"linf": change.max(1), "l2": np.sqrt((change**2).sum(1)), "l1": change.sum(1), "l0": (change > 0).sum(1)}
    assert lengths[norm].max() <= radius(name, norm)
    for told in ("linf", "l2", "l1"):
        np.testing.assert_allclose(getattr(found, told), lengths[told], rtol=1e-12)
    wrong = teacher.predict(found.images).argmax(1) != labels
    np.testing.assert_array_equal(found.success, wrong)
    assert found.success.any() == (norm not in CASES[name].harmless)
    rounded = np.rint(found.images * np.float32(255)) / np.float32(255)
    np.testing.assert_array_equal(found.quantised, wrong & (teacher.predict(rounded).argmax(1) != labels))


@every_attack
def test_samples_that_are_misclassified_already_stay(teacher: igdm.Model, name: str, norm: str) -> None:
    images, labels = make_arrays(count_of(name))
    labels[::3] = (labels[::3] + 1) % CLASSES
    data = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    steps = CASES[name].steps
    entry = name if steps is None else f"{name}-{steps}"
    result = igdm.evaluate(teacher, data, attacks=entry, eps=radius(name, norm), norm=norm, keep_samples=True)
    wrong = ~result.correct["clean"]
    assert wrong.any() and not wrong.all()
    np.testing.assert_array_equal(result.samples[entry].images[wrong], images[wrong])
    assert not result.correct[entry][wrong].any()


@pytest.mark.parametrize("name", sorted(set(CASES) - {"tpgd"}))
def test_who_moves_what_is_misclassified_already(teacher: igdm.Model, name: str) -> None:
    """As attack() says: the loop of adversarial training all of it, attacks in stages nothing."""
    norm = CASES[name].norms[0]
    images, labels = make_arrays(4)
    labels[:] = (teacher.predict(images).argmax(1) + 1) % CLASSES
    found = run(teacher, name, norm, images, labels, early_stop=False)
    moves = name in {"pgd", "fgsm", "cw", "bim", "mi-fgsm", "r-fgsm"}
    assert ((found.images != images).reshape(4, -1).any(1) == moves).all()


@every_attack
def test_order_and_batches_change_no_bit(teacher: igdm.Model, name: str, norm: str) -> None:
    """One sample at a time, the last one first, with the index that it had."""
    images, labels = make_arrays(4 if name == "autoattack" else 9)
    whole = run(teacher, name, norm, images, labels, seed=5)
    for i in reversed(range(len(images))):
        alone = run(teacher, name, norm, images[i : i + 1], labels[i : i + 1], seed=5, first_index=i)
        np.testing.assert_array_equal(alone.images[0], whole.images[i])
        assert alone.forwards[0] == whole.forwards[i] and alone.success[0] == whole.success[i]


@every_attack
def test_permutations_change_no_bit(teacher: igdm.Model, name: str, norm: str) -> None:
    """Samples keep their random numbers: given with their indices, or as a part of their dataset in another order."""
    images, labels = make_arrays(4 if name == "autoattack" else 9)
    order = np.random.default_rng(1).permutation(len(images))
    whole = run(teacher, name, norm, images, labels, seed=5)
    other = run(teacher, name, norm, images[order], labels[order], seed=5, indices=order)
    np.testing.assert_array_equal(other.images, whole.images[order])
    np.testing.assert_array_equal(other.forwards, whole.forwards[order])

    data = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    entry = name if CASES[name].steps is None else f"{name}-{CASES[name].steps}"
    options: dict[str, Any] = dict(eps=radius(name, norm), norm=norm, seed=5, progress=False, **CASES[name].options)
    straight, shuffled = (
        igdm.evaluate(teacher, part, attacks=entry, keep_samples=True, **options) for part in (data, data.select(order))
    )
    np.testing.assert_array_equal(shuffled.samples[entry].images, straight.samples[entry].images[order])


@every_attack
def test_radius_zero_gives_the_image(teacher: igdm.Model, name: str, norm: str) -> None:
    images, labels = make_arrays(3)
    steps = None if CASES[name].steps is None else 3
    np.testing.assert_array_equal(run(teacher, name, norm, images, labels, eps=0, steps=steps).images, images)


@every_attack
def test_more_of_it_never_helps_the_model(teacher: igdm.Model, name: str, norm: str) -> None:
    """Sample by sample: what few steps or one restart break, more break too."""
    case = CASES[name]
    images, labels = make_arrays(count_of(name))
    weak = {"eps": radius(name, norm) / 2}
    few = run(teacher, name, norm, images, labels, **weak).success
    if case.restarts:
        assert not np.any(few & ~run(teacher, name, norm, images, labels, restarts=3, **weak).success)
    if case.more_steps and case.steps is not None:
        step = {"step": radius(name, norm) / 8} if name in ("pgd", "cw", "bim", "mi-fgsm", "tpgd") else {}
        few = run(teacher, name, norm, images, labels, steps=2, **step, **weak).success
        assert not np.any(few & ~run(teacher, name, norm, images, labels, steps=3 * case.steps, **step, **weak).success)


@every_attack
def test_threads_change_no_bit(teacher: igdm.Model, name: str, norm: str) -> None:
    images, labels = make_arrays(4)
    threads = igdm.get_threads()
    results = []
    try:
        for number in (1, 3):
            igdm.set_threads(number)
            results.append(run(teacher, name, norm, images, labels).images)
    finally:
        igdm.set_threads(threads)
    np.testing.assert_array_equal(*results)


TARGETED = [(name, norm) for name, norm in ATTACKS if CASES[name].target]


@pytest.mark.parametrize("kind", ["least-likely", "random", 1, "labels"])
@pytest.mark.parametrize(("name", "norm"), TARGETED)
def test_targets_are_reached(teacher: igdm.Model, name: str, norm: str, kind: str | int) -> None:
    images, labels = make_arrays(24)
    labels = teacher.predict(images).argmax(1)
    given: Any = (labels + 1) % CLASSES if kind == "labels" else kind
    far = {"eps": 2.5 * radius(name, norm)}
    found = run(teacher, name, norm, images, labels, target=given, **far)
    answers = teacher.predict(found.images).argmax(1)
    assert found.success.any() or norm in CASES[name].harmless
    if kind == "least-likely":
        wanted = np.where(np.arange(CLASSES) == labels[:, None], np.inf, teacher.predict(images)).argmin(1)
        np.testing.assert_array_equal(found.success, answers == wanted)
    elif kind == "random":
        # The targets are not told: one that was reached is another class than the label.
        assert np.all(answers[found.success] != labels[found.success])
        other = run(teacher, name, norm, images, labels, target=given, seed=1, **far)
        assert np.any(other.images != found.images)
    else:
        np.testing.assert_array_equal(found.success, answers == (given if kind == "labels" else 1))


def test_what_targets_cannot_be(teacher: igdm.Model, data: igdm.Dataset) -> None:
    images, labels = make_arrays(3)
    for target in ("nearest", 3, -1):
        with pytest.raises(igdm.InvalidArgument, match="target"):
            igdm.attack(teacher, images, labels, target=target)
    with pytest.raises(igdm.InvalidArgument, match="target: sample 1"):
        igdm.attack(teacher, images, labels, target=[0, 7, 0])
    with pytest.raises(igdm.ShapeError, match="target"):
        igdm.attack(teacher, images, labels, target=[0, 1])
    for name in (set(CASES) | CORRUPTIONS) - {name for name, _ in TARGETED}:
        with pytest.raises(igdm.InvalidArgument, match="target"):
            igdm.attack(teacher, images, labels, name, target="random")
    with pytest.raises(igdm.InvalidArgument, match="target"):
        igdm.evaluate(teacher, data, target="labels")


# -- models that go wrong


def host_of(model: igdm.Model, forward: Any = None, gradient: Any = None) -> igdm.HostModel:
    return igdm.HostModel(
        forward or model.predict,
        gradient or (lambda images, cotangent: model.input_gradient(images, cotangent)),
        classes=CLASSES,
        input_shape=SHAPE,
    )


class Breaking:
    """A model whose answer becomes wrong at the `at`-th pass."""

    def __init__(self, model: igdm.Model, at: int, answer: Any) -> None:
        self.model, self.at, self.answer, self.passes = model, at, answer, 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.passes += 1
        logits = self.model.predict(images)
        return self.answer(logits) if self.passes >= self.at else logits


def not_finite(logits: np.ndarray) -> np.ndarray:
    logits[-1, 1] = np.inf
    return logits


def raising(_: np.ndarray) -> np.ndarray:
    raise RuntimeError("lost the device")


@pytest.mark.parametrize("name", ["pgd", "cw", "apgd-ce", "fab-t", "square"])
@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (not_finite, igdm.NotFiniteError, r"sample \d+"),
        (raising, RuntimeError, "lost the device"),
        (lambda logits: logits[:, :2], igdm.ShapeError, r"forward: returned shape \(\d+, 2\)"),
    ],
    ids=["not finite", "raises", "wrong shape"],
)
def test_what_was_found_outlives_a_model_that_breaks_down(
    teacher: igdm.Model, name: str, answer: Any, error: type[Exception], match: str
) -> None:
    images, labels = make_arrays(24)
    whole = run(teacher, name, "linf", images, labels)
    with pytest.raises(error, match=match) as caught:
        run(host_of(teacher, Breaking(teacher, 6, answer)), name, "linf", images, labels)
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert partial.success.any()
    assert not np.any(partial.success & ~whole.success)
    for i in range(len(images)):
        if partial.success[i]:
            np.testing.assert_array_equal(partial.images[i], whole.images[i])
        else:
            np.testing.assert_array_equal(partial.images[i], images[i])
    # Nothing to keep where the first pass fails already.
    with pytest.raises(error) as caught:
        run(host_of(teacher, Breaking(teacher, 1, answer)), name, "linf", images, labels)
    assert not hasattr(caught.value, "partial")


def test_masked_gradients_are_told_of(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """A saturated softmax, whose float32 gradient vanishes, and an activation that is a step."""

    def saturated(images: np.ndarray) -> np.ndarray:
        logits = 200 * teacher.predict(images)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def slope(images: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        p = saturated(images)
        inner = 200 * p * (cotangent - (p * cotangent).sum(1, keepdims=True))
        return teacher.input_gradient(images, inner.astype(np.float32))

    options = {"eps": 0.05, "count": 12, "version": "custom", "attacks": "apgd-ce-5,square-20", "progress": False}
    told = igdm.autoattack(host_of(teacher, saturated, slope), data, **options).warnings
    assert any("probabilities" in text for text in told)
    assert any("zero at the start" in text or "masked" in text for text in told)

    def stepped(images: np.ndarray) -> np.ndarray:
        return np.round(4 * teacher.predict(images)) / 4

    blind = host_of(teacher, stepped, lambda images, cotangent: np.zeros_like(images))
    told = igdm.autoattack(blind, data, **options).warnings
    assert any("zero at the start" in text for text in told)
    assert any("masked" in text for text in told)
    single = {"attacks": "pgd-5,apgd-ce-5,autoattack,square-5", "eps": 0.05, "count": 4, "progress": False}
    result = igdm.evaluate(blind, data, **single)
    for name in ("pgd-5", "apgd-ce-5", "autoattack"):
        (told,) = [text for text in result.warnings if text.startswith(f"{name}: the gradient of the loss is zero")]
        assert f"warning: {told}" in str(result)
    nearest = igdm.evaluate(blind, data, attacks="fab-2,fab-t-2,deepfool-2,ddn-2", norm="l2", eps=0.5, progress=False)
    blinded = [text.split(":")[0] for text in nearest.warnings if "is zero at its start" in text]
    assert blinded == ["fab-2", "fab-t-2", "deepfool-2", "ddn-2"]
    (told,) = igdm.evaluate(host_of(teacher, saturated, slope), data, attacks="square-2", progress=False).warnings
    assert "looks like probabilities" in told
    for norm, diameter in (("linf", 1.0), ("l2", float(np.prod(SHAPE)) ** 0.5), ("l1", float(np.prod(SHAPE)))):
        for part in (0.9, 1.1):
            far = {"eps": part * diameter, "norm": norm, "count": 2, "progress": False}
            told = igdm.evaluate(teacher, data, attacks="pgd-1,square-1", **far).warnings
            assert ["0-255 scale" in text for text in told] == ([True] if part > 1 else [])
    # A target that there are too few classes for is told of too; an honest model gives no cause.
    few = igdm.evaluate(teacher, data, attacks="pgd-2,apgd-t-2", eps=0.05, count=4, progress=False).warnings
    assert [text.split(":")[0] for text in few] == ["apgd-t-2"]


@pytest.mark.parametrize(("name", "norm", "eps"), [("apgd-t", "l2", 1.0), ("fab-t", "l1", 12.0)])
def test_more_restarts_and_targets_are_the_same_runs_and_then_some(name: str, norm: str, eps: float) -> None:
    """On the shipped teacher, where targets and restarts make many runs of each sample, and starts matter."""
    model = igdm.Model.load(TEACHER)
    images, labels = igdm.datasets.fashion_mnist().test.read(0, 200)

    def broken(restarts: int, targets: int) -> np.ndarray:
        return igdm.attack(
            model, images, labels, name, eps=eps, norm=norm, steps=2, restarts=restarts, targets=targets,
            early_stop=True, progress=False,
        ).success  # fmt: skip

    before = broken(1, 1)
    for restarts, targets in ((2, 1), (2, 2), (3, 2), (3, 3)):
        after = broken(restarts, targets)
        assert not np.any(before & ~after), (restarts, targets)
        before = after
    assert before.any() and not before.all()
    with pytest.raises(igdm.InvalidArgument, match=r"restarts: got 7282, want at most 7281 with 10 classes"):
        broken(7282, 1)


def test_tuning_of_a_list(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Any) -> None:
    options: dict[str, Any] = dict(version="custom", attacks="spsa-3", eps=0.1, count=6, progress=False)
    few = {"spsa_directions": 2, "spsa_rate": 0.1}
    result = igdm.autoattack(teacher, data, tuning=few, state=tmp_path / "state", **options)
    alone = igdm.attack(
        teacher, *data.read(0, 6), "spsa", eps=0.1, steps=3, tuning=few, early_stop=True, progress=False
    )
    np.testing.assert_array_equal(result.samples.images, alone.images)
    assert result.options["tuning"] == few
    assert igdm.autoattack(teacher, data, **options).samples.forwards.sum() > result.samples.forwards.sum()
    with pytest.raises(igdm.InvalidArgument, match=r"; tuning: the file has rho 0\.75.*spsaDirections: 2"):
        igdm.autoattack(teacher, data, tuning={"spsa_directions": 4}, state=tmp_path / "state", **options)
    for asked in ({"tuning": {"rho": 2}}, {"tuning": {"spsa_directions": 0}}):
        with pytest.raises(igdm.InvalidArgument, match=next(iter(asked["tuning"]))):
            igdm.autoattack(teacher, data, **asked, **{**options, "attacks": "apgd-ce-2"})
    with pytest.raises(igdm.InvalidArgument, match="tuning: got one with version standard, want none"):
        igdm.autoattack(teacher, data, tuning=few, eps=0.1)
    swept = igdm.sweep(
        teacher, data, [0.05, 0.1], attacks="autoattack", version="custom:spsa-3", count=6, tuning=few, progress=False
    )
    assert [one.options["tuning"] for one in swept.evaluations] == [few, few]


def test_state_files_of_other_runs_say_what_differs(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Any) -> None:
    state = tmp_path / "state"
    options = {"version": "custom", "attacks": "apgd-ce-3,square-5", "eps": 0.1, "count": 8, "progress": False}
    igdm.autoattack(teacher, data, state=state, **options)
    other = igdm.datasets.from_arrays(*make_arrays(48, seed=9), classes=CLASSES)
    for changed, model, source, word in (
        ({}, igdm.Model("resnet8", classes=CLASSES, input_shape=SHAPE, width=4, seed=3), data, "model"),
        ({}, teacher, other, "data"),
        ({"eps": 0.2}, teacher, data, "epsilon"),
        ({"attacks": "apgd-ce-3"}, teacher, data, "attacks"),
        ({"attacks": "apgd-ce-4,square-5"}, teacher, data, "passes"),
        ({"norm": "l2"}, teacher, data, "norm"),
        ({"seed": 1}, teacher, data, "seed"),
        ({"count": 9}, teacher, data, "count"),
    ):
        with pytest.raises(igdm.InvalidArgument, match="belongs to another run: ") as refused:
            igdm.autoattack(model, source, state=state, **{**options, **changed})
        # A list's attacks have their passes, and nothing else follows from another.
        told = re.findall(r"(\w+): the file has", str(refused.value))
        assert told in ([word], ["attacks", "passes"]) and word in told
