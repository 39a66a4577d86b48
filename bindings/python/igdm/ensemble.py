"""AutoAttack (Croce and Hein 2020): accuracy under an ensemble of attacks, and RobustBench's one verb."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _structures as structures
from ._arrays import pointer
from ._library import Handle, call, file_path
from ._structures import positive
from .attacks import Adversarial, Report, Watcher, as_tuned, tuned, watched
from .convert.files import require_writable
from .corruptions import evaluate_corruptions
from .datasets import Dataset, require_dataset
from .errors import InvalidArgument
from .evaluation import Row, format_rows, read_rows, read_warnings, told
from .hosts import HostModel, attacked
from .models import Model
from .progress import Display
from .runs import write_json

THREATS = {"linf": "Linf", "l2": "L2", "l1": "L1"}

RECORD = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps",
    "clean_acc", "reported", "corruptions_acc", "corruptions_acc_3d", "corruptions_mce", "corruptions_mce_3d",
    "autoattack_acc", "footnote",
)  # fmt: skip
"""Fields of a model's record in RobustBench (ModelInfo of its utils.py); null where unknown."""


@dataclass(frozen=True, eq=False)
class AutoAttack:
    """The result of autoattack(). ``print(result)`` shows the table and the warnings."""

    rows: tuple[Row, ...]
    """"clean", then each attack: the accuracy after it and all before it."""
    correct: dict[str, NDArray[np.bool_]]
    """For each row the samples that are still classified correctly."""
    samples: Adversarial
    """Of each sample the image that an attack has found, or the clean one; distances; passes."""
    warnings: tuple[str, ...]
    """What makes the numbers doubtful: masked gradients, a random model, probabilities for logits, ..."""
    options: dict[str, Any]
    """What was asked for: version, norm, eps, seed, ..."""

    @property
    def clean(self) -> float:
        """Accuracy on clean images, in [0,1]."""
        return self.rows[0].accuracy

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy in [0,1] by row name: what is left after that attack and all before it."""
        return {row.name: row.accuracy for row in self.rows}

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.rows[0].count

    @property
    def robust(self) -> float:
        """Accuracy under all the attacks, in [0,1]."""
        return self.rows[-1].accuracy

    @property
    def broken_by(self) -> list[str | None]:
        """For each sample the attack that broke it, "clean" where it was misclassified already, None for the others."""
        result: list[str | None] = [None] * self.rows[0].count
        for row in reversed(self.rows):
            for index in np.flatnonzero(~self.correct[row.name]):
                result[index] = row.name
        return result

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single samples, ready for json.dump()."""
        return {
            "clean": self.clean,
            "robust": self.robust,
            "rows": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
            "forwards": int(self.samples.forwards.sum()),
            "backwards": int(self.samples.backwards.sum()),
            "options": self.options,
        }

    def __str__(self) -> str:
        lines = [
            format_rows("after", self.rows),
            f"eps {self.options['eps']} ({self.options['norm']}), {self.rows[0].count} samples",
        ]
        unfinished = self.rows[-1].unfinished
        if unfinished:
            lines.append(f"stopped: {unfinished} samples that are not through count as correct")
        return "\n".join([*lines, *told(self.warnings)])


def autoattack(
    model: Model | HostModel,
    data: Dataset,
    *,
    version: str | None = None,
    attacks: Sequence[str] | str | None = None,
    eps: float | str | None = None,
    norm: str | None = None,
    restarts: int | None = None,
    targets: int | None = None,
    eot: int | None = None,
    tuning: Mapping[str, float] | None = None,
    count: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    state: str | os.PathLike[str] | None = None,
    state_seconds: float | None = None,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> AutoAttack:
    """Measures the accuracy that remains under AutoAttack. What is left out has the library's default.

    version        "standard": apgd-ce, apgd-t, fab-t, square; "plus"; "rand", for random models; "custom": see attacks
    attacks        a list, or a comma-separated string: ["apgd-ce", "square-1000"]
    eps            radius: a number on the [0,1] pixel scale, or a string such as "8/255"
    norm           "linf", "l2" or "l1"
    restarts       of the attacks of "custom"
    targets        of apgd-t and fab-t; 0 = 9
    eot            passes over which gradients are averaged; 0 = the version's
    tuning         of the attacks of "custom": members of igdm_attack_tuning and igdm_search_tuning by name
    count          the first so many samples; 0 = all
    batch_size     changes speed and memory only
    state          a file that keeps how far the call has come. The same call with the same file goes on from there
                   after Ctrl-C, an error or the end of the process, to the same result
    state_seconds  between two writings of it
    progress       True, False, or None = on a terminal
    callback       called with a Progress after each pass; a true result cancels (Cancelled is raised)

    An exception that comes while attacks run (Cancelled, NotFiniteError, what a callback or a HostModel raises) has
    what was found so far as its attribute `partial`, an AutoAttack: samples that are not through count as correct
    (Row.unfinished says how many).
    """
    with ensembled(
        None, model, data, version=version, attacks=attacks, eps=eps, norm=norm, restarts=restarts, targets=targets,
        eot=eot, tuning=tuning, count=count, batch_size=batch_size, seed=seed, state=state,
        state_seconds=state_seconds, progress=progress, callback=callback,
    ) as (result, _):  # fmt: skip
        return result


def version_options(version: str | None) -> dict[str, str | None]:
    """The options of autoattack() that a version with its list, "custom:apgd-ce,square", stands for."""
    name, _, attacks = (version or "").partition(":")
    return {"version": name or None, "attacks": attacks or None}


@contextmanager
def ensembled(
    smaller: Any,
    model: Model | HostModel,
    data: Dataset,
    *,
    version: str | None = None,
    attacks: Sequence[str] | str | None = None,
    eps: float | str | None = None,
    norm: str | None = None,
    restarts: int | None = None,
    targets: int | None = None,
    eot: int | None = None,
    tuning: Mapping[str, float] | None = None,
    count: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    state: str | os.PathLike[str] | None = None,
    state_seconds: float | None = None,
    progress: bool | None = None,
    callback: Watcher | None = None,
) -> Generator[tuple[AutoAttack, Any], None, None]:
    """autoattack(), with the library's handle of the result as long as the block lasts. `smaller`: None, or the handle
    of the same at a smaller radius, whose broken samples are not attacked again."""
    require_dataset("data", data)
    options = structures.AutoAttackOptions()
    call("igdm_autoattack_options_init", options)
    if attacks is not None and not isinstance(attacks, str):
        attacks = ",".join(attacks)
    options.assign(
        version=version, attacks=attacks, epsilon=eps, norm=norm, restarts=restarts, targets=targets, eot=eot,
        count=count, batch_size=batch_size, seed=seed, state_seconds=state_seconds,
    )  # fmt: skip
    if state is not None:
        options.state = file_path("state", state)
        require_writable("state", Path(os.fsdecode(state)))
    options.keep_partial = 1
    if tuning is not None:
        options.tuning = ctypes.pointer(tuned(tuning))
    if smaller is not None:
        options.smaller = smaller
    made = structures.Evaluation()

    def result() -> AutoAttack:
        asked = options.values()
        del asked["keep_partial"]
        epsilon = asked.pop("epsilon")
        asked["eps"] = eps if isinstance(eps, str) else epsilon
        if tuning is not None:
            asked["tuning"] = as_tuned(options.tuning.contents, tuning)
        rows, correct = read_rows(made)
        images = np.empty((rows[0].count, *data.image_shape), np.float32)
        report = Report(len(images))
        call("igdm_evaluation_get_report", made, pointer(images), len(images), report.structure)
        return AutoAttack(rows, correct, report.result(images), read_warnings(made), asked)

    try:
        with attacked("model", model) as target, Display(progress) as display, watched(display, callback) as watcher:
            options.progress = watcher.pointer
            call(
                target.function("igdm_autoattack", "igdm_autoattack_host_model"), target.handle, data._handle, options,
                made,
            )  # fmt: skip
    except BaseException as error:
        # Out here, because what a host model raises comes out of its context.
        if made:
            with Handle(made, "igdm_evaluation_release"):
                error.partial = result()  # type: ignore[attr-defined]
        raise
    with Handle(made, "igdm_evaluation_release"):
        yield result(), made


def benchmark(
    model: Model | HostModel,
    data: Dataset,
    threat: str = "linf",
    eps: float | str | None = None,
    n: int | None = None,
    *,
    to: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    record: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[float, float]:
    """Clean and robust accuracy in [0,1], as RobustBench measures them, under standard AutoAttack; or, for the threat
    "corruptions", the mean of 15 common corruptions at 5 severities. RobustBench takes the files of CIFAR-10-C there;
    these are made here (evaluate_corruptions()), with the differences that docs/attacks.md names.

    threat   "linf", "l2", "l1" or "corruptions"
    eps      None = 8/255; none with corruptions
    n        the first so many samples of `data`; None = all
    to       a JSON file to write, with the fields of RobustBench's model records: accuracies in percent, two decimals;
             threat, number of samples and warnings are its footnote. Of version "standard" only
    dataset  the name of the data in that file, such as "cifar10"; where left out, the kind of source that `data` has
    record   what else is known for that file: {"name": ..., "authors": ..., "venue": ..., "link": ...}
    options  as those of autoattack(): state, batch_size, seed, progress, callback, version, attacks; with corruptions
             batch_size, seed, progress, callback
    """
    for name, instead in (("norm", "threat"), ("count", "n")):
        if name in options:
            raise InvalidArgument(f"{name}: got {options[name]!r}, want it as {instead}, as RobustBench has it")
    threat = threat.lower()
    if threat not in (*THREATS, "corruptions"):
        raise InvalidArgument(f"threat: got {threat!r}, want one of {', '.join(THREATS)}, corruptions")
    if n is not None:
        positive("n", n)
    known = _checked_record(record)
    if to is not None:
        require_writable("to", Path(to))
        if threat != "corruptions" and options.get("version") not in (None, "standard"):
            raise InvalidArgument(
                f"version: got {options['version']!r} with `to`, want 'standard', of which RobustBench keeps records"
            )
    if threat == "corruptions":
        if eps is not None:
            raise InvalidArgument(f"eps: got {eps!r}, want none with corruptions")
        for name, value in options.items():
            if name not in ("batch_size", "seed", "progress", "callback"):
                raise InvalidArgument(f"{name}: got {value!r}, want none with corruptions")
        corrupted = evaluate_corruptions(model, data, count=n, **options)
        clean, robust = corrupted.clean, corrupted.mean
        notes = [f"made by igdm, seed {corrupted.seed}, {corrupted.count} samples"]
        found = {"corruptions_acc": f"{100 * robust:.2f}"}
    else:
        eps = "8/255" if eps is None else eps
        result = autoattack(model, data, norm=threat, eps=eps, count=n, **options)
        clean, robust, notes = result.clean, result.robust, [f"{THREATS[threat]}, {result.count} samples"]
        notes += result.warnings
        found = {"eps": str(eps), "autoattack_acc": f"{100 * robust:.2f}"}
    if to is not None:
        measured = found | {
            "dataset": data.source["kind"] if dataset is None else dataset,
            "architecture": model.info.architecture if isinstance(model, Model) else None,
            "clean_acc": f"{100 * clean:.2f}",
            "footnote": "; ".join([*([known.pop("footnote")] if "footnote" in known else []), *notes]),
        }
        write_json(to, dict.fromkeys(RECORD) | measured | known)
    return clean, robust


def _checked_record(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What benchmark() is told of a model; before the hours that it takes."""
    if record is None:
        return {}
    if not isinstance(record, Mapping):
        raise InvalidArgument(f"record: got {type(record).__name__}, want a mapping of fields")
    told = [field for field in RECORD if field not in ("eps", "clean_acc", "autoattack_acc", "corruptions_acc")]
    for field, value in record.items():
        if field not in told:
            raise InvalidArgument(f"record: got a field {field!r}, want some of {', '.join(told)}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"record: {field}: got {value!r}, which JSON has not ({error})") from None
    return dict(record)
