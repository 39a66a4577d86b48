"""Weights to and from PyTorch through HDF5, schedules against PyTorch's, and both libraries in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import igdm
import numpy as np
import ours
import pytest
import torch
from cases import MODELS, ModelCase, ModelSpec, uniform
from conftest import Parity
from reference.compute import build, empty, numbers, stored_names
from report import LOGITS

by_id = pytest.mark.parametrize("case", MODELS, ids=lambda case: case.id)


@by_id
def test_weights_written_by_h5py_load_into_igdm(case: ModelCase, parity: Parity, tmp_path: Path) -> None:
    reference = build(case.model, torch.float32)
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        for name in stored_names(reference):
            file[f"weights/{name}"] = reference.state_dict()[name].numpy()
    model = ours.empty_model(case.model)
    model.load_weights(path)
    assert model.digest() == ours.model(case.model).digest()
    parity.check(case, LOGITS, {"logits": model.predict(case.images)})


@by_id
def test_checkpoints_of_igdm_load_into_pytorch(case: ModelCase, tmp_path: Path) -> None:
    """Also those with igdm's own random weights; nothing may be missing but PyTorch's batch counters."""
    model = ours.empty_model(case.model)
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path) as file:
        state = {k: torch.from_numpy(file["weights/" + k][()]) for k in file["weights"]}
    reference = empty(case.model)
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    with torch.no_grad():
        wanted = numbers(reference.double().eval()(torch.tensor(case.images, dtype=torch.float64)))
    assert LOGITS.error(model.predict(case.images), wanted) <= LOGITS.tolerance


@pytest.mark.parametrize("schedule", ["multistep", "cosine", "onecycle"])
def test_schedules_are_those_of_pytorch(schedule: str) -> None:
    epochs, steps_per_epoch, peak, warmup = 5, 4, 0.3, 0.25
    steps = epochs * steps_per_epoch
    spec = ModelSpec("small_cnn", (1, 5, 5), classes=2, width=2)
    trainer = igdm.Trainer(
        ours.model(spec), method="pgd-at", schedule=schedule, milestones=[2, 4], decay=0.2, warmup=warmup,
        learning_rate=peak, epochs=epochs, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip
    x, y = uniform("schedules", (4, *spec.shape)), np.arange(4) % 2
    ours_rates = [trainer.step(x, y, adversarial=x).learning_rate for _ in range(steps)]

    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], peak, momentum=0.9)
    scheduler = {
        "multistep": lambda: torch.optim.lr_scheduler.MultiStepLR(optimiser, [2, 4], gamma=0.2),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps),
        "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps, pct_start=warmup),
    }[schedule]()
    rates = []
    for step in range(1, steps + 1):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if schedule != "multistep" or step % steps_per_epoch == 0:
            scheduler.step()
    assert ours_rates == pytest.approx(rates, rel=1e-9)


BOTH = """
import numpy as np
{imports}
torch.manual_seed(0)
images = np.full((2, 1, 28, 28), 0.5, np.float32)
model = igdm.Model("resnet8", classes=10, input_shape=(1, 28, 28), width=4, seed=1)
convolution = torch.nn.Conv2d(1, 8, 3)
first = model.predict(images), convolution(torch.from_numpy(images)).detach().numpy()
again = model.predict(images), convolution(torch.from_numpy(images)).detach().numpy()
assert all(np.isfinite(values).all() for values in first)
assert all(np.array_equal(a, b) for a, b in zip(first, again))
model.save({path!r})
with h5py.File({path!r}) as file:
    assert file["weights/conv1.weight"].shape == (4, 1, 3, 3)
assert igdm.Model.load({path!r}).digest() == model.digest()
print("both work")
"""


@pytest.mark.parametrize("order", [("igdm", "torch", "h5py"), ("torch", "h5py", "igdm"), ("h5py", "igdm", "torch")])
def test_igdm_pytorch_and_h5py_share_a_process(order: tuple[str, ...], tmp_path: Path) -> None:
    """Each brings its own OpenMP, BLAS or HDF5; the library of the first import is loaded before the others'."""
    imports = "\n".join(f"import {name}" + ("; igdm.build_info()" if name == "igdm" else "") for name in order)
    script = BOTH.format(imports=imports, path=str(tmp_path / "model.h5"))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "both work\n"), run.stderr
