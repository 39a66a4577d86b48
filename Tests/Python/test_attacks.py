"""attack(): results, options, callbacks."""

from __future__ import annotations

import _thread

import igdm
import numpy as np
import pytest
from conftest import CLASSES, SHAPE, make_arrays, make_model

EPS = 0.25


@pytest.mark.parametrize("options", [{"attack": "fgsm"}, {"attack": "pgd", "steps": 5}, {"attack": "cw", "steps": 5}])
def test_results_stay_in_the_ball_and_the_box(teacher: igdm.Model, options: dict[str, object]) -> None:
    images, labels = make_arrays(40)
    attacked = igdm.attack(teacher, images, labels, eps=EPS, **options)  # type: ignore[arg-type]
    adversarial, success = attacked.images, attacked.success
    assert np.abs(adversarial - images).max() <= EPS + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    np.testing.assert_array_equal(success, teacher.predict(adversarial).argmax(1) != labels)
    assert success.sum() > (teacher.predict(images).argmax(1) != labels).sum()


def test_l2(teacher: igdm.Model) -> None:
    images, labels = make_arrays(10)
    adversarial = igdm.attack(teacher, images, labels, norm="l2", eps=0.5, step=0.2, steps=4).images
    distances = np.sqrt(((adversarial - images).astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    assert 0.1 < distances.max() <= 0.5 + 1e-5


def test_the_result_tells_what_was_done(teacher: igdm.Model) -> None:
    images, labels = make_arrays(20)
    attacked = igdm.attack(teacher, images, labels, eps=EPS, steps=3, restarts=2)
    moved = np.abs(attacked.images.astype(np.float64) - images).reshape(20, -1)
    np.testing.assert_array_equal(attacked.linf, moved.max(1))
    np.testing.assert_allclose(attacked.l2, np.sqrt((moved**2).sum(1)), rtol=1e-12)
    np.testing.assert_allclose(attacked.l1, moved.sum(1), rtol=1e-12)
    assert set(attacked.forwards) == {2 * 4}
    assert set(attacked.backwards) == {2 * 3}
    assert attacked.success.dtype == bool
    assert (attacked.first_success[attacked.success] >= 0).all()
    assert (attacked.first_success <= 2 * 3).all()
    wrong_at_once = teacher.predict(images).argmax(1) != labels
    at_once = igdm.attack(teacher, images, labels, "fgsm", eps=EPS, early_stop=True)
    np.testing.assert_array_equal(at_once.first_success == 0, wrong_at_once)
    np.testing.assert_array_equal(at_once.forwards, np.where(wrong_at_once, 1, 2))
    assert attacked.seconds > 0


def test_a_fraction_is_the_number(teacher: igdm.Model) -> None:
    images, labels = make_arrays(6)
    written = igdm.attack(teacher, images, labels, eps="8/255", step="2/255", steps=3).images
    np.testing.assert_array_equal(
        written, igdm.attack(teacher, images, labels, eps=8 / 255, step=2 / 255, steps=3).images
    )


def test_random_numbers_belong_to_samples(teacher: igdm.Model) -> None:
    images, labels = make_arrays(8)
    whole = igdm.attack(teacher, images, labels, eps=EPS, steps=2, seed=3).images
    part = igdm.attack(teacher, images[5:], labels[5:], eps=EPS, steps=2, seed=3, first_index=5).images
    np.testing.assert_array_equal(part, whole[5:])
    other = igdm.attack(teacher, images, labels, eps=EPS, steps=2, seed=4).images
    assert not np.array_equal(other, whole)


def test_kl_loss_with_targets(teacher: igdm.Model) -> None:
    images, labels = make_arrays(6)
    targets = make_model(seed=2).predict(images)
    options = {"loss": "kl", "eps": EPS, "steps": 3}
    own = igdm.attack(teacher, images, labels, **options).images  # type: ignore[arg-type]
    other = igdm.attack(teacher, images, labels, target_logits=targets, **options).images  # type: ignore[arg-type]
    assert not np.array_equal(own, other)
    with pytest.raises(igdm.ShapeError, match="target_logits"):
        igdm.attack(teacher, images, labels, target_logits=targets[:3], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "square root"}, "fgsm, pgd, cw"),
        ({"eps": -0.1}, "eps:"),
        ({"eps": 0.1, "step": 0.2}, "step"),
        ({"eps": "8:255"}, '"8:255"'),
        ({"eps": "1/0"}, '"1/0"'),
        ({"norm": "l7"}, "linf"),
        ({"loss": "mse"}, "ce"),
        ({"steps": -1}, "steps"),
        ({"restarts": 0}, "restarts"),
    ],
)
def test_bad_options_are_named(teacher: igdm.Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(igdm.InvalidArgument, match=message):
        igdm.attack(teacher, *make_arrays(2), **options)  # type: ignore[arg-type]


def test_bad_arguments(teacher: igdm.Model) -> None:
    images, labels = make_arrays(4)
    with pytest.raises(igdm.InvalidArgument, match="label"):
        igdm.attack(teacher, images, labels + 5)
    with pytest.raises(igdm.InvalidArgument, match=r"^target: sample 1: got 9, want 0 \.\.\. 2"):
        igdm.attack(teacher, images, labels, "fgsm", target=[0, 9, 1, 1])
    with pytest.raises(igdm.InvalidArgument, match=r"^first_index: got -1"):
        igdm.attack(teacher, images, labels, "fgsm", first_index=-1)
    with pytest.raises(igdm.ShapeError, match="labels"):
        igdm.attack(teacher, images, labels[:2])
    with pytest.raises(TypeError, match=r"igdm\.Model"):
        igdm.attack("teacher", images, labels)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="number"):
        igdm.attack(teacher, images, labels, eps=[0.1])  # type: ignore[arg-type]


def test_callbacks_see_the_progress(teacher: igdm.Model) -> None:
    events: list[igdm.Progress] = []
    images, labels = make_arrays(300)
    igdm.attack(teacher, images, labels, steps=1, callback=events.append)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert (events[-1].done, events[-1].total) == (300, 300)
    assert all(event.stage for event in events)


def test_a_true_answer_cancels(teacher: igdm.Model) -> None:
    with pytest.raises(igdm.Cancelled):
        igdm.attack(teacher, *make_arrays(4), callback=lambda _: True)


def test_callbacks_cancel_within_a_batch(teacher: igdm.Model) -> None:
    """A million steps of a single batch, which without it would take many minutes."""
    images, labels = make_arrays(4)
    data = igdm.datasets.from_arrays(images, labels, classes=CLASSES)
    seen: list[igdm.Progress] = []

    def cancel(progress: igdm.Progress) -> bool:
        seen.append(progress)
        return progress.stage.startswith("pgd")

    with pytest.raises(igdm.Cancelled):
        igdm.attack(teacher, images, labels, "pgd", eps=1e-6, steps=1_000_000, callback=cancel)
    with pytest.raises(igdm.Cancelled):
        igdm.evaluate(teacher, data, attacks="pgd-1000000", eps=1e-6, callback=cancel)
    assert [(one.stage, one.done, one.total) for one in seen] == [("pgd", 0, 4), ("clean", 4, 4), ("pgd-1000000", 0, 4)]


def test_a_number_of_steps_in_a_name_says_where_it_goes(teacher: igdm.Model) -> None:
    with pytest.raises(igdm.InvalidArgument, match='attack: got "pgd-20", want "pgd", with steps = 20'):
        igdm.attack(teacher, *make_arrays(2), "pgd-20")


def test_exceptions_of_callbacks_come_out(teacher: igdm.Model) -> None:
    calls = []

    def fail(progress: igdm.Progress) -> None:
        calls.append(progress)
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller") as caught:
        igdm.attack(teacher, *make_arrays(1000), steps=1, callback=fail)
    assert len(calls) == 1
    assert caught.value.__cause__ is None


def test_a_pending_interrupt_comes_out_of_the_callback(teacher: igdm.Model) -> None:
    """As Ctrl-C would: the interpreter raises it at its next check, which may be on entry to the callback itself."""
    with pytest.raises(KeyboardInterrupt):
        igdm.attack(teacher, *make_arrays(1000), steps=1, callback=lambda _: _thread.interrupt_main())


def test_callbacks_may_use_the_model(teacher: igdm.Model) -> None:
    images, labels = make_arrays(4)
    seen = []

    def nested(_: igdm.Progress) -> None:
        seen.append(igdm.attack(teacher, images, labels, "fgsm").images.shape)

    igdm.attack(teacher, images, labels, steps=1, callback=nested)
    assert seen == [(4, *SHAPE)]
