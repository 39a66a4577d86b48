"""The look at streamed data with which a fit begins: it tells how far it is, and can be stopped."""

from __future__ import annotations

from pathlib import Path

import h5py
import igdm
import pytest
from conftest import TRAINING, make_arrays, make_model

OPTIONS = dict(TRAINING, method="pgd-at", epochs=1)


@pytest.fixture
def data(tmp_path: Path) -> igdm.Dataset:
    images, labels = make_arrays(600)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"], file["labels"] = images, labels
    return igdm.datasets.hdf5(tmp_path / "data.h5", stream=True)


def test_it_tells_how_far_it_is(data: igdm.Dataset) -> None:
    events: list[igdm.FitEvent] = []
    igdm.distill(
        make_model(), None, data[:32], validation=data[:300], generated=data, callback=events.append,
        **dict(OPTIONS, generated_ratio=0.5, validation_steps=0),
    )  # fmt: skip
    looks = [event for event in events if event.kind == "data"]
    assert [(event.batch, event.batches) for event in looks] == [
        (32, 32), (256, 300), (300, 300), (256, 600), (512, 600), (600, 600),
    ]  # fmt: skip
    assert all(event.epoch == 1 and event.eta_seconds == 0 for event in looks)
    assert events[: len(looks)] == looks, "before all else"
    # Data in memory are looked at in no time.
    events.clear()
    loaded = igdm.datasets.from_arrays(*make_arrays(300))
    igdm.distill(make_model(), None, loaded, callback=events.append, **OPTIONS)
    assert {event.kind for event in events} == {"step", "epoch"}


def test_it_can_be_stopped(data: igdm.Dataset, tmp_path: Path) -> None:
    student = make_model()
    before = student.digest()
    seen = []

    def stop(event: igdm.FitEvent) -> bool:
        seen.append(event.kind)
        return event.batch == 512

    with pytest.raises(igdm.Cancelled):
        igdm.distill(student, None, data, run_dir=tmp_path / "run", callback=stop, **OPTIONS)
    assert seen == ["data", "data"]
    assert student.digest() == before
    assert not (tmp_path / "run" / "last.h5").exists(), "there is nothing to keep yet"
    # The run goes on from there, and so does the trainer.
    igdm.distill(student, None, data, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    whole = make_model()
    with igdm.Trainer(whole, None, **OPTIONS) as trainer:
        with pytest.raises(igdm.Cancelled):
            trainer.fit(data, callback=lambda event: event.kind == "data")
        assert trainer.position.steps == 0
        trainer.fit(data)
    assert student.digest() == whole.digest() != before


def test_a_resumed_training_can_be_stopped_there(data: igdm.Dataset, tmp_path: Path) -> None:
    whole = make_model()
    igdm.distill(whole, None, data, **OPTIONS)
    for kind, batch in (("step", 20), ("data", 256), ("step", 30), ("data", 600)):
        with pytest.raises(igdm.Cancelled):
            igdm.distill(
                make_model(), None, data, run_dir=tmp_path / "run", resume=True,
                callback=lambda event, kind=kind, batch=batch: (event.kind, event.batch) == (kind, batch), **OPTIONS,
            )  # fmt: skip
    run = igdm.distill(make_model(), None, data, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    assert run.student.digest() == whole.digest()
