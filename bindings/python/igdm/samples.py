"""What attacks have found, sample by sample, as an HDF5 file.

Attributes of the file: ``igdm`` (version) and ``options`` (JSON). A group for each attack, in it an array for each of

x_adv           (N, C, H, W) float32: the result; the clean image where the sample was not attacked
success         (N) uint8: 1 where the sample counts as broken; so ``quantised``, rounded to bytes
linf, l2, l1    (N) float64: distances from the image
first_success   (N) int64: steps (AutoAttack's attacks: passes) before the first success, -1 = none
forwards, backwards    (N) int64: queries

and under ``correct`` for each row of the table (N) uint8: 1 where the sample is still classified correctly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._library import ask
from .attacks import Adversarial
from .convert.files import replacing, required
from .ensemble import AutoAttack
from .errors import InvalidArgument
from .evaluation import Evaluation

COLUMNS = ("success", "quantised", "linf", "l2", "l1", "first_success", "forwards", "backwards")


def save_samples(path: str | os.PathLike[str], result: Evaluation | AutoAttack) -> None:
    """Writes the samples of evaluate(..., keep_samples=True), or of autoattack(), with h5py: whole, or not at all."""
    if not isinstance(result, (Evaluation, AutoAttack)):
        raise TypeError(f"result: got {type(result).__name__}, want igdm.Evaluation or igdm.AutoAttack")
    found: Mapping[str, Adversarial]
    found = {"autoattack": result.samples} if isinstance(result, AutoAttack) else result.samples
    if not found:
        raise InvalidArgument("result: got an evaluation without samples, want one of evaluate(..., keep_samples=True)")
    h5py: Any = required("h5py")
    with replacing(Path(path), "path") as temporary, h5py.File(temporary, "w") as file:
        file.attrs["igdm"] = ask("igdm_version_string")
        file.attrs["options"] = json.dumps(result.options)
        for name, flags in result.correct.items():
            file[f"correct/{name}"] = flags.astype("u1")
        for name, samples in found.items():
            group = file.create_group(name)
            group.create_dataset("x_adv", data=samples.images, compression="gzip", compression_opts=1)
            for column in COLUMNS:
                values = getattr(samples, column)
                if values is not None:
                    group[column] = values.astype("u1") if values.dtype == bool else values
