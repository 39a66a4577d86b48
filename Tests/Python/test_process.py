"""The library as a guest of a Python process: other libraries beside it, fork, Ctrl-C, silence."""

from __future__ import annotations

import _thread
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import TRAINING, make_arrays, make_model

# numpy and h5py bring an OpenBLAS and an HDF5 of their own.
MIXED_WORK = """
model = igdm.Model("resnet8", classes=3, input_shape=(1, 12, 12), width=4)
model.save(path)
with h5py.File(path) as file:
    stored = {name: file["weights/" + name][()] for name in model.parameters}
assert all(numpy.array_equal(stored[name], model.parameters[name]) for name in stored)
matrix = numpy.random.default_rng(0).normal(size=(300, 300))
assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(300), atol=1e-6)
images = numpy.full((20, 1, 12, 12), 0.5, numpy.float32)
logits = model.predict(images)
with h5py.File(path, "w") as file:
    for name, values in stored.items():
        file["weights/" + name] = values
other = igdm.Model("resnet8", classes=3, input_shape=(1, 12, 12), width=4, seed=1)
other.load_weights(path)
assert numpy.array_equal(other.predict(images), logits)
try:
    h5py.File(path + ".missing")
except FileNotFoundError:
    print("done")
"""


@pytest.mark.parametrize("order", list(itertools.permutations(["numpy", "h5py", "igdm"])))
def test_imports_in_any_order(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, order: tuple[str, ...]
) -> None:
    imports = "".join(
        f"import {name}\n" + ("igdm.get_threads()  # loads the library\n" if name == "igdm" else "") for name in order
    )
    result = python("-c", f"{imports}path = {str(tmp_path / 'model.h5')!r}\n{MIXED_WORK}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_predicts_and_trains(teacher: igdm.Model, data: igdm.Dataset) -> None:
    images, _ = make_arrays(20)
    options = dict(TRAINING, epochs=1)
    expected = teacher.predict(images)
    student = make_model()
    igdm.distill(student, teacher, data, **options)  # the parent's threads are at work before the fork
    child = os.fork()
    if child == 0:
        status = 1
        try:
            other = make_model()
            igdm.distill(other, teacher, data, **options)
            status = (
                0 if np.array_equal(teacher.predict(images), expected) and other.digest() == student.digest() else 2
            )
        finally:
            os._exit(status)
    assert exit_code(child) == 0
    np.testing.assert_array_equal(teacher.predict(images), expected)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_training_goes_on_in_a_process_forked_by_its_callback(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """The library's threads, that which makes batches ahead among them, stay behind in the parent."""
    expected = make_model()
    igdm.distill(expected, teacher, data, **TRAINING)
    student, parent = make_model(), os.getpid()
    child = None

    def fork_once(event: igdm.FitEvent) -> None:
        nonlocal child
        if child is None:
            child = os.fork()

    try:
        igdm.distill(student, teacher, data, callback=fork_once, **TRAINING)
    finally:
        if os.getpid() != parent:
            os._exit(0 if student.digest() == expected.digest() else 2)
    assert student.digest() == expected.digest()
    assert exit_code(child) == 0


def exit_code(child: int) -> int:
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the forked process did not come back")
    return os.waitstatus_to_exitcode(ended[1])


def interrupt_soon() -> threading.Timer:
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    return timer


def test_ctrl_c_stops_training_without_a_callback(teacher: igdm.Model, data: igdm.Dataset) -> None:
    """The signal arrives while the library computes; see _callbacks.py for why that is not a matter of course."""
    student = make_model()
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        igdm.distill(student, teacher, data, progress=False, **dict(TRAINING, epochs=5000))
    timer.join()
    assert student.digest() != make_model().digest()
    igdm.distill(student, teacher, data, progress=False, **TRAINING)


def test_ctrl_c_stops_an_evaluation_without_a_callback(teacher: igdm.Model) -> None:
    data = igdm.datasets.from_arrays(*make_arrays(20_000))
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        igdm.evaluate(teacher, data, attacks=["pgd-20"], eps=0.02, batch_size=4, progress=False)
    timer.join()


def test_nothing_is_printed(teacher: igdm.Model, data: igdm.Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    student = make_model()
    igdm.distill(student, teacher, data, validation=data, **dict(TRAINING, igdm=1.0, mirror="clip"))
    igdm.evaluate(student, data)
    with pytest.raises(FileNotFoundError):
        igdm.Model.load("nothing.h5")
    assert capfd.readouterr() == ("", "")
