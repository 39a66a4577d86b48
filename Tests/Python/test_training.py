"""distill() and Trainer: results, determinism, interruption, a host's own batches."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import igdm
import numpy as np
import pytest
from conftest import TRAINING, make_arrays, make_model

IGDM = dict(TRAINING, igdm=2.0, mirror="clip")


def trained(teacher: igdm.Model, data: igdm.Dataset, **options: Any) -> str:
    student = make_model()
    igdm.distill(student, teacher, data, progress=False, **{**IGDM, **options})
    return student.digest()


@pytest.mark.parametrize("method", igdm.methods())
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_every_method_trains(teacher: igdm.Model, data: igdm.Dataset, method: str, alpha: float) -> None:
    student, before = make_model(), teacher.digest()
    guides = [make_model(seed=3), teacher] if method == "mtard" else teacher
    run = igdm.distill(student, guides, data, validation=data[:16], **dict(TRAINING, method=method, igdm=alpha))
    assert student.digest() != make_model().digest()
    assert teacher.digest() == before
    assert [row["epoch"] for row in run.history] == [1, 2]
    for row in run.history:
        assert row["loss"] == pytest.approx(row["base_loss"] + row["igdm_weight"] * row["igdm_loss"], rel=1e-6)
        assert 0 <= row["second_loss"] <= row["base_loss"]
        assert (row["second_loss"] > 0) == (method in ("trades", "akd", "rslad", "mtard", "dgad"))  # ard: a = 1, ...
        assert row["igdm_weight"] == alpha * row["epoch"] / 2
        assert 0 <= row["validation_robust"] <= row["validation_clean"] <= 1
    assert (run.history[0]["igdm_loss"] > 0) == (alpha > 0)


def test_learning_lowers_the_loss(teacher: igdm.Model, data: igdm.Dataset) -> None:
    student = make_model()
    history = igdm.distill(student, teacher, data, **dict(IGDM, epochs=8)).history
    assert history[-1]["base_loss"] < 0.7 * history[0]["base_loss"]
    assert history[0]["validation_clean"] is None
    assert igdm.evaluate(student, data, attacks=[]).accuracy["clean"] > 0.8


def test_the_seed_decides(teacher: igdm.Model, data: igdm.Dataset) -> None:
    assert trained(teacher, data, seed=1) == trained(teacher, data, seed=1)
    assert trained(teacher, data, seed=1) != trained(teacher, data, seed=2)


def test_threads_change_no_bit(teacher: igdm.Model, data: igdm.Dataset) -> None:
    before, digests = igdm.get_threads(), set()
    try:
        for threads in (1, 2, 3):
            igdm.set_threads(threads)
            digests.add(trained(teacher, data, flip=True, crop_padding=2))
    finally:
        igdm.set_threads(before)
    assert len(digests) == 1


def test_options_are_recorded_with_defaults(teacher: igdm.Model, data: igdm.Dataset) -> None:
    options = dict(IGDM, eps="8/255", step=0.01, milestones=(1,), nesterov=True)
    with igdm.Trainer(make_model(), teacher, **options) as trainer:
        recorded = trainer.options
    assert set(recorded) == set(igdm.TrainingOptions.__annotations__)
    assert (recorded["eps"], recorded["step"], recorded["milestones"]) == ("8/255", 0.01, [1])
    assert recorded["nesterov"] is True
    defaults = igdm.default_options()
    assert recorded["momentum"] == defaults["momentum"] == 0.9
    assert defaults["eps"] == 8 / 255
    assert trained(teacher, data, **{name: recorded[name] for name in recorded}) == trained(teacher, data, **options)


def test_milestones(teacher: igdm.Model, data: igdm.Dataset) -> None:
    def rates(milestones: list[int]) -> list[float]:
        options = dict(TRAINING, epochs=3, schedule="multistep", milestones=milestones, decay=0.5, learning_rate=0.08)
        run = igdm.distill(make_model(), teacher, data[:16], **options)
        return [row["learning_rate"] for row in run.history]

    assert rates([1, 2]) == pytest.approx([0.08, 0.04, 0.02])
    assert rates([]) == pytest.approx([0.08] * 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"method": "art"},
            igdm.InvalidArgument,
            "pgd-at, ard, rslad, adaad, trades, iad, akd, adaiad, mtard, dgad, saad",
        ),
        ({"mirror": "glass"}, igdm.InvalidArgument, "paper"),
        ({"step": 0.2}, igdm.InvalidArgument, "step"),
        ({"eps": -1}, igdm.InvalidArgument, "eps: got -1"),
        ({"epochs": 0}, igdm.InvalidArgument, "epochs"),
        ({"epochs": 2**80}, igdm.InvalidArgument, "64 bits"),
        ({"epochs": "5"}, TypeError, "epochs"),
        ({"igdm": "much"}, igdm.InvalidArgument, "much"),
        ({"igdm": None, "alpha": 5}, TypeError, "alpha.*igdm"),
        ({"learning_rate": float("nan")}, igdm.InvalidArgument, "learning_rate"),
    ],
)
def test_bad_options_are_named(
    teacher: igdm.Model, data: igdm.Dataset, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    student = make_model()
    before = student.digest()
    with pytest.raises(error, match=message):
        igdm.distill(student, teacher, data, **{**TRAINING, **options})
    assert student.digest() == before


def test_what_does_not_fit_is_refused(teacher: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(igdm.InvalidArgument, match="teacher"):
        igdm.distill(make_model(), None, data, method="ard")
    with pytest.raises(igdm.ShapeError):
        igdm.Trainer(make_model(), igdm.Model("resnet8", classes=4, input_shape=(1, 12, 12)))
    with pytest.raises(igdm.ShapeError):
        igdm.distill(igdm.Model("resnet8", classes=3), None, data, method="pgd-at")
    with pytest.raises(TypeError, match="teacher"):
        igdm.Trainer(make_model(), "teacher")  # type: ignore[arg-type]
    with pytest.raises(igdm.InvalidArgument, match="crop_shift: got 12, want less than 12"):
        igdm.distill(make_model(), None, data, **dict(TRAINING, method="pgd-at", crop_shift=12))


def test_two_teachers(teacher: igdm.Model, data: igdm.Dataset) -> None:
    clean, robust = make_model(seed=3), teacher
    digests = set()
    for pair in ([clean, robust], (robust, clean)):
        student = make_model()
        igdm.distill(student, pair, data, **dict(TRAINING, method="mtard"))
        digests.add(student.digest())
    assert len(digests) == 2
    with pytest.raises(igdm.InvalidArgument, match="needs two"):
        igdm.Trainer(make_model(), teacher, method="mtard")
    with pytest.raises(igdm.InvalidArgument, match="got 3 models"):
        igdm.Trainer(make_model(), [clean, robust, robust], method="mtard")
    with pytest.raises(igdm.InvalidArgument, match="clean_teacher"):
        igdm.Trainer(make_model(), [clean, robust], method="ard")


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "adamw", "learning_rate": 0.01},
        {"gradient_clip": 0.01},
        {"awp": 0.01},
        {"warmup_epochs": 1.5},
        {"cutout": 3},
        {"cutmix": 0.5, "method": "trades"},
        {"augment": "autoaugment"},
        {"augment": "trivialaugment"},
        {"augment": "idbh-shape"},
        {"crop_shift": 4},
        {"erasing": 0.5, "erasing_area": 0.5},
        {"igdm_ramp": "constant"},
        {"igdm_term": "trades-reg"},
        {"igdm_term": "trades-like"},
        {"method": "iad", "introspection_start": 1},
        {"method": "dgad", "consistency_weight": 0.0},
        {"method": "saad", "entropy_scale": 2.0, "entropy_order": 2.0, "clean_weight": 0.5},
    ],
    ids=str,
)
def test_every_option_matters_and_is_recorded(teacher: igdm.Model, data: igdm.Dataset, options: dict[str, Any]) -> None:
    plain = {name: value for name, value in options.items() if name in ("method", "learning_rate")}
    assert trained(teacher, data, **options) != trained(teacher, data, **plain)
    with igdm.Trainer(make_model(), teacher, **{**IGDM, **options}) as trainer:
        assert {name: trainer.options[name] for name in options} == options


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages(teacher: igdm.Model, data: igdm.Dataset, kind: str, tmp_path: Path) -> None:
    student = make_model()
    options = dict(IGDM, average=kind, ema_decay=0.5, swa_start=1)
    run = igdm.distill(student, teacher, data, run_dir=tmp_path / "run", **options)
    assert run.average is not None
    assert run.average.digest() != student.digest()
    assert igdm.Model.load(tmp_path / "run" / "average.h5").digest() == run.average.digest()
    assert student.digest() == trained(teacher, data), "the average is kept beside the training"
    assert igdm.distill(make_model(), teacher, data, **dict(options, swa_start=9, average="swa")).average is None
    assert igdm.distill(make_model(), teacher, data, **IGDM).average is None


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_where_an_average_has_its_statistics_from(teacher: igdm.Model, data: igdm.Dataset, kind: str) -> None:
    options = dict(IGDM, average=kind, swa_start=1)
    given = igdm.distill(make_model(), teacher, data, **options).average
    with igdm.Trainer(make_model(), teacher, **options) as trainer:
        trainer.fit(data)
        own, anew = trainer.average(), trainer.average(data)
    assert given is not None and own.digest() != anew.digest()
    assert given.digest() == (own if kind == "ema" else anew).digest()


def test_swa_is_the_mean_over_epochs(teacher: igdm.Model, data: igdm.Dataset) -> None:
    student = make_model()
    weights = []

    def watch(event: igdm.FitEvent) -> None:
        if event.kind == "epoch":
            weights.append(student.parameters["conv1.weight"])

    with igdm.Trainer(student, teacher, **dict(IGDM, epochs=4, average="swa", swa_start=2)) as trainer:
        trainer.fit(data, callback=watch)
        average = trainer.average()
    np.testing.assert_allclose(average.parameters["conv1.weight"], np.mean(weights[1:], axis=0), atol=1e-6)


def test_events(teacher: igdm.Model, data: igdm.Dataset) -> None:
    everything: list[igdm.FitEvent] = []
    igdm.distill(make_model(), teacher, data, validation=data[:8], callback=everything.append, **IGDM)
    validation = [event for event in everything if event.kind == "validation"]
    assert {event.batches for event in validation} <= set(range(1, 9))
    assert [event.epoch for event in validation] == sorted(event.epoch for event in validation)
    assert {event.epoch for event in validation} == {1, 2}
    events = [event for event in everything if event.kind != "validation"]
    assert [event.kind for event in events] == (["step"] * 3 + ["epoch"]) * 2
    assert [event.batch for event in events[:3]] == [1, 2, 3]
    assert {event.batches for event in events} == {3}
    assert events[0].validation_clean is None
    assert events[3].validation_clean is not None
    assert events[-1].epoch == events[-1].epochs == 2
    assert events[3].loss == pytest.approx(np.mean([event.loss for event in events[:3]]), rel=1e-6)


def test_stopping_keeps_what_was_learnt_and_goes_on(teacher: igdm.Model, data: igdm.Dataset) -> None:
    student = make_model()
    with igdm.Trainer(student, teacher, **IGDM) as trainer:
        with pytest.raises(igdm.Cancelled):
            trainer.fit(data, callback=lambda event: event.batch == 2)
        assert student.digest() != make_model().digest()
        history = trainer.fit(data)
    assert [row["epoch"] for row in history] == [1, 2]
    assert student.digest() == trained(teacher, data)


def test_exceptions_of_callbacks_come_out(teacher: igdm.Model, data: igdm.Dataset) -> None:
    events = []

    def fail(event: igdm.FitEvent) -> None:
        events.append(event)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        igdm.distill(make_model(), teacher, data, callback=fail, **IGDM)
    assert len(events) == 1


def test_the_trainer_refuses_itself_in_its_callback(teacher: igdm.Model, data: igdm.Dataset) -> None:
    student = make_model()
    trainer = igdm.Trainer(student, teacher, steps_per_epoch=3, **IGDM)

    def nested(event: igdm.FitEvent) -> None:
        assert student.predict(data.images).shape == (48, 3)  # everything else is allowed
        trainer.step(data.images, data.labels)

    with pytest.raises(igdm.BusyError):
        trainer.fit(data, callback=nested)


def test_steps_with_own_batches(teacher: igdm.Model) -> None:
    images, labels = make_arrays(16)
    student = make_model()
    trainer = igdm.Trainer(student, teacher, steps_per_epoch=2, **IGDM)
    with pytest.raises(igdm.InvalidArgument, match="step"):
        trainer.adversarial()
    with pytest.raises(igdm.NotFoundError, match="step"):
        trainer.gradient("conv1.weight")
    report = trainer.step(images, labels)
    assert (report.step, report.epoch) == (1, 1)
    assert report.loss == pytest.approx(report.base_loss + report.igdm_weight * report.igdm_loss)
    adversarial = trainer.adversarial()
    assert 0 < np.abs(adversarial - images).max() <= TRAINING["eps"] + 1e-6  # type: ignore[operator]
    assert trainer.gradient("conv1.weight").shape == student.parameters.shapes["conv1.weight"]
    with pytest.raises(KeyError, match=r"no\.such"):
        trainer.gradient("no.such")
    with pytest.raises(KeyError):
        trainer.gradient(next(name for name in student.parameters if name not in student.parameters.trainable))
    assert trainer.step(images, labels).step == 2
    assert trainer.step(images, labels).epoch == 2


def test_a_step_without_update_and_with_own_adversary(teacher: igdm.Model) -> None:
    images, labels = make_arrays(8)
    student = make_model()
    before = student.digest()
    trainer = igdm.Trainer(student, teacher, steps_per_epoch=2, **IGDM)
    own = np.clip(images + np.float32(0.03), 0, 1)
    first = trainer.step(images, labels, adversarial=own, update=False)
    assert student.digest() == before
    assert first.step == 0
    np.testing.assert_array_equal(trainer.adversarial(), own)
    gradient = trainer.gradient("conv1.weight")
    assert np.abs(gradient).max() > 0
    assert trainer.step(images, labels, adversarial=own).loss == pytest.approx(first.loss, rel=1e-6)
    # SGD's first step: w <- w - rate * (gradient + weight_decay * w)
    weights, start = student.parameters["conv1.weight"], make_model().parameters["conv1.weight"]
    rate, decay = trainer.options["learning_rate"], trainer.options["weight_decay"]
    np.testing.assert_allclose(weights, start - rate * (gradient + decay * start), atol=1e-6)
    with pytest.raises(igdm.ShapeError, match="adversarial"):
        trainer.step(images, labels, adversarial=own[:4])


def test_steps_need_their_number_in_an_epoch(teacher: igdm.Model) -> None:
    with pytest.raises(igdm.InvalidArgument, match="steps_per_epoch"):
        igdm.Trainer(make_model(), teacher, **TRAINING).step(*make_arrays(4))


def test_handles_are_released_in_any_order(teacher: igdm.Model, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    digests = set()
    for order in itertools.permutations(range(4)):
        student, guide = make_model(), teacher.copy()
        data = igdm.datasets.from_arrays(*arrays)[:16]
        trainer = igdm.Trainer(student, guide, steps_per_epoch=1, **IGDM)
        guide_first = order.index(1) < order.index(3)
        handles = [student, guide, data, trainer]
        for position in order:
            if handles[position] is trainer and guide_first:
                trainer.step(arrays[0][:4], arrays[1][:4])  # the teacher's handle has gone, the teacher has not
            handles[position].close()
        assert all(handle.closed for handle in handles)
        digests.add(guide_first)
    assert digests == {True, False}


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("patience", 0, igdm.InvalidArgument),
        ("patience", 1.5, TypeError),
        ("patience", True, TypeError),
        ("patience", float("nan"), TypeError),
        ("patience", "2", TypeError),
        ("checkpoint_minutes", -1, igdm.InvalidArgument),
        ("checkpoint_minutes", float("nan"), igdm.InvalidArgument),
        ("checkpoint_minutes", "soon", igdm.InvalidArgument),
        ("checkpoint_minutes", None, TypeError),
    ],
)
def test_wrong_numbers(teacher: igdm.Model, data: igdm.Dataset, name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{name}: got .*, want"):
        igdm.distill(make_model(), teacher, data, validation=data, **{name: value}, **TRAINING)


def test_patience_may_be_of_numpy(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    options: dict[str, Any] = {"validation": data, "patience": np.int64(3), "checkpoint_minutes": "5", **TRAINING}
    igdm.distill(make_model(), teacher, data, run_dir=tmp_path, **options)
    config = igdm.runs.read_config(tmp_path / "config.json")
    assert (config["patience"], config["checkpoint_minutes"]) == (3, 5)


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("swa_start", {"average": "swa"}),
        ("awp_start", {"awp": 0.005}),
        ("introspection_start", {"method": "iad"}),
        ("introspection_start", {"method": "adaiad"}),
    ],
)
def test_what_never_begins_is_told(
    teacher: igdm.Model, data: igdm.Dataset, caplog: pytest.LogCaptureFixture, name: str, used: dict[str, Any]
) -> None:
    for start, options, told in ((3, used, 1), (2, used, 0), (3, {}, 0)):
        caplog.clear()
        igdm.distill(make_model(), teacher, data, **{**TRAINING, name: start, **options})
        late = [one.getMessage() for one in caplog.records if one.name == "igdm" and one.levelname == "WARNING"]
        assert late == [f"{name}: got 3 with 2 epochs: it never begins"] * told


def test_garbage_collection_releases(teacher: igdm.Model) -> None:
    trainer = igdm.Trainer(make_model(), teacher.copy(), steps_per_epoch=1, **TRAINING)
    released = trainer._owner.finalizer
    assert released.alive
    del trainer
    assert not released.alive


def test_pickling_is_refused(teacher: igdm.Model) -> None:
    with pytest.raises(TypeError, match=r"igdm.Trainer cannot be pickled.*Trainer.save"):
        pickle.dumps(igdm.Trainer(make_model(), teacher))


def test_other_threads_go_on_during_a_call(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """The interpreter lock is free while the library computes, and calls on different models run side by side."""
    results: list[str] = []

    def work() -> None:
        results.append(trained(teacher, data))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    ticks = 0
    while any(worker.is_alive() for worker in workers):
        ticks += 1
        time.sleep(0.001)
    assert ticks > 0
    assert len(results) == 2
    assert len(set(results)) == 1


def test_a_shared_teacher_teaches_the_same(teacher: igdm.Model, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    """And outlives its own handle."""
    digests = []
    for shared in (False, True):
        student, given = make_model(), teacher.copy()
        with igdm.Trainer(student, given, share_teacher=shared, igdm=1.0, steps_per_epoch=2, **TRAINING) as trainer:
            given.close()
            for _ in range(3):
                trainer.step(arrays[0][:16], arrays[1][:16])
        digests.append(student.digest())
    assert digests[0] == digests[1]
    with pytest.raises(TypeError, match="share_teacher: got str"):
        igdm.Trainer(make_model(), teacher, share_teacher="yes", steps_per_epoch=2, **TRAINING)  # type: ignore[arg-type]
