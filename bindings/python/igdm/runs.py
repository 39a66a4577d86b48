"""Run folders: what a training was asked to do, what came out of it, how to go on with it, and how to do it again.

config.json   student, teacher, data and every option: `python -m igdm distill --config FILE` repeats the run
initial.h5    the student before the training
metrics.csv   a row for each epoch, written as it ends
last.h5       the student as it is, with the state of the training: `--resume` goes on from it
best.h5       the student after the epoch that was best in the validation, under PGD where it was attacked
events.out.tfevents.*  the same rows for TensorBoard, where the package tensorboard is installed
average.h5    with averaged weights, where the options ask for them
teacher.h5    the teacher, only where no file outside has it; clean_teacher.h5, where there are two
data-*.h5     data that lie in no other file, named by their content

Every file is written whole or not at all, so that a run can be killed at any moment.
"""

from __future__ import annotations

import csv
import datetime
import fcntl
import io
import json
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ._events import Events
from ._library import ask
from ._structures import number
from .convert.files import replacing
from .datasets import Dataset
from .errors import BusyError, FormatError, IgdmError, InvalidArgument, LibraryError, NotFoundError
from .models import Model

Row = dict[str, Any]

RESULTS = (
    "evaluation.json", "evaluation-best.json", "report.html", "events.out.tfevents.*", "teacher.h5", "clean_teacher.h5",
    "data-*.h5",
)  # fmt: skip
"""What a run leaves in its folder, where it does: patterns of names."""
NUMBERS = ("eps", "step")
"""Options that may be written as fractions too, and are the same ones then."""
PARTS = ("first", "count", "parts")
"""Of a dataset's source: which part of a whole it is."""


class Savable(Protocol):
    """What a run folder asks of a trainer."""

    def save(self, path: str | os.PathLike[str]) -> None: ...

    @property
    def position(self) -> Any: ...


class RunFolder:
    """Writes the files of one run; used as a context manager, which keeps other processes out of the folder."""

    def __init__(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, resume: bool = False, minutes: float = 10
    ) -> None:
        """minutes: between two checkpoints within an epoch."""
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.initial = self.path / "initial.h5"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "last.h5"
        self.best = self.path / "best.h5"
        self.average = self.path / "average.h5"
        self.rows: list[Row] = []
        self.has_run = self.config.exists()
        """Whether there is a run to go on with."""
        self.has_new_rows = False
        """Whether epochs were added to it."""
        self.is_recorded = True
        """False within add_epoch() and save(): what the trainer did last is not in the files yet."""
        self._events: Events | None = None
        self._saved_step = 0  # of the training in last.h5
        self._minutes = minutes
        self._saved = time.monotonic()
        if self.has_run and not (overwrite or resume):
            raise InvalidArgument(
                f"run_dir: {self.path} has a run already; choose another folder, go on with it with resume=True, or "
                "replace it with overwrite=True"
            )
        self.has_run = self.has_run and resume

    def __enter__(self) -> RunFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise BusyError(f"run_dir: another process is at work in {self.path}") from None
        for stale in self.path.glob(".igdm-*.tmp"):  # of a process that was killed
            stale.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()
        os.close(self._lock)

    def begin(
        self,
        student: Model,
        teacher: Model | None,
        clean_teacher: Model | None,
        train: Dataset,
        validation: Dataset | None,
        generated: Dataset | None,
        options: Mapping[str, Any],
        patience: int | None,
        defaults: Mapping[str, Any],
        keep_data: bool = True,
    ) -> None:
        """Writes all that is known before the training; with a run to go on with, compares it.

        defaults   what an option was, in effect, that is newer than the run
        keep_data  write data that lie in no file, so that the configuration can name one
        """
        config: dict[str, Any] = {
            "igdm": ask("igdm_version_string"),
            "build": ask("igdm_build_info"),
            "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "student": _description(student) | {"file": self.initial.name},
            "teacher": None if teacher is None else _description(teacher),
            "clean_teacher": None if clean_teacher is None else _description(clean_teacher),
            "train": train.source,
            "validation": None if validation is None else validation.source,
            "generated": None if generated is None else generated.source,
            "options": dict(options),
            "patience": patience,
            "checkpoint_minutes": self._minutes,
        }
        data = {"train": train, "validation": validation, "generated": generated}
        if self.has_run:
            self._require_same(config, defaults, data)
            return
        if keep_data:  # before anything of an old run goes: there may be no room
            config |= self._keep({role: one for role, one in data.items() if one is not None})
        # Of a run, or of one whose replacement was killed.
        replaces = any(file.exists() for file in (self.config, self.metrics, self.last, self.initial))
        # The configuration goes first and comes last: a folder that has one has all that it speaks of.
        for stale in (self.config, self.metrics, self.last, self.best, self.average):
            stale.unlink(missing_ok=True)
        for role, model in (("teacher", teacher), ("clean_teacher", clean_teacher)):
            if model is not None:
                config[role]["file"] = self._file_of(model, f"{role}.h5", config[role]["digest"])
        if replaces:
            kept = {config[role]["file"] for role in ("teacher", "clean_teacher") if config[role]}
            # A file of this folder that data were read from stays too.
            sources = [config[role] for role in data if config[role] is not None]
            self._remove_results(kept | {Path(source["path"]).name for source in sources if "path" in source})
        student.save(self.initial)
        write_json(self.config, config)

    def _file_of(self, teacher: Model, name: str, digest: str) -> str:
        """Where a teacher is kept: in its own file, or in this folder, whose other files are those of its run."""
        file = None if teacher.loaded_from is None else teacher.loaded_from.resolve()
        if file is not None and file.parent != self.path.resolve() and _holds(file, digest):
            return str(file)
        teacher.save(self.path / name)
        return name

    def _keep(self, data: Mapping[str, Dataset]) -> dict[str, Any]:
        """The sources of the data. Those that lie in no file are written into this folder: parts of the same once."""
        sources: dict[str, Any] = {}
        names: dict[Dataset, str] = {}
        for role, one in data.items():
            sources[role] = one.source
            if one.is_on_disk:
                continue
            whole = one.origin
            if whole not in names:
                name = _data_name(whole)
                if not (self.path / name).exists():
                    try:
                        whole.save(self.path / name)
                    except LibraryError as error:
                        logging.getLogger("igdm").warning(
                            "config.json cannot repeat the run without its data: %s", error
                        )
                        continue
                names[whole] = name
            sources[role] = {key: value for key, value in one.source.items() if key in PARTS}
            sources[role] |= {
                "kind": "hdf5", "path": names[whole], "images": "images", "labels": "labels", "classes": one.classes,
                "kept": one.source["kind"],
            }  # fmt: skip
        return sources

    def _remove_results(self, kept: Collection[str]) -> None:
        """Removes the results of a run that is replaced, but for the names in `kept`: what the new run uses."""
        for pattern in RESULTS:
            for stale in self.path.glob(pattern):
                if stale.name not in kept:
                    stale.unlink()

    def _require_same(
        self, config: Mapping[str, Any], defaults: Mapping[str, Any], data: Mapping[str, Dataset | None]
    ) -> None:
        recorded = read_config(self.config)
        recorded["options"] = {**defaults, **recorded["options"]}
        differences = []

        def compare(name: str, there: Any, here: Any) -> None:
            if isinstance(there, dict) and isinstance(here, dict):
                for key in [*here, *(key for key in there if key not in here)]:
                    if key != "file":
                        compare(key if name == "options" else f"{name}.{key}", there.get(key), here.get(key))
            elif not _is_same(name, there, here):
                differences.append(f"{name}: the run has {there}, now it is {here}")

        for name in ("student", "teacher", "clean_teacher", "options", "patience"):
            compare(name, recorded.get(name), json.loads(json.dumps(config[name])))
        if not self.last.exists():  # which knows the images themselves
            for name in ("train", "validation", "generated"):
                if not _is_kept(recorded[name], data[name]):
                    compare(name, recorded[name], json.loads(json.dumps(config[name])))
        if differences:
            raise InvalidArgument(
                f"resume: {self.path} is another run: {'; '.join(differences)}. A run goes on as it was begun; "
                "its options may be left out"
            )

    def take_up(self, trainer: Savable) -> None:
        """Reads the rows of the epochs that a trainer has behind it."""
        epochs, self._saved_step = trainer.position.epochs_reported, trainer.position.steps
        rows = read_metrics(self.metrics) if self.metrics.exists() else []
        self.rows = rows[:epochs]
        if [row.get("epoch") for row in self.rows] != list(range(1, epochs + 1)):
            raise FormatError(f"resume: {self.metrics} does not have the {epochs} epochs that {self.last} has")
        self._events = Events(self.path)
        for row in self.rows:
            self._events.add(row)

    @property
    def checkpoint(self) -> str:
        """What there is to go on from, in words."""
        return f"{self.last} is from step {self._saved_step}" if self.last.exists() else "there is no checkpoint yet"

    def add_epoch(self, row: Row, student: Model, trainer: Savable) -> None:
        """Adds a row to metrics.csv; keeps the student if it is the best so far, and the training."""
        self.is_recorded = False
        self.has_new_rows = True
        self.rows.append(row)
        write_metrics(self.metrics, self.rows)
        if self._events is not None:
            self._events.add(row)
        if best_epoch(self.rows) == row["epoch"]:
            student.save(self.best)
        self.save(trainer)

    def save(self, trainer: Savable) -> None:
        """Writes last.h5."""
        self.is_recorded = False
        trainer.save(self.last)
        self._saved_step = trainer.position.steps
        self._saved = time.monotonic()
        self.is_recorded = True

    def save_when_due(self, trainer: Savable) -> None:
        """The same every so many minutes, where there is anything new."""
        if time.monotonic() - self._saved >= 60 * self._minutes and trainer.position.steps != self._saved_step:
            self.save(trainer)


def score(row: Mapping[str, Any]) -> float | None:
    """What decides which epoch is the best: accuracy in the validation, under PGD where it was attacked."""
    robust: float | None = row["validation_robust"]
    clean: float | None = row["validation_clean"]
    return robust if robust is not None else clean


def best_epoch(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The first of the best epochs; None without validation."""
    best: Mapping[str, Any] | None = None
    highest = -1.0
    for row in rows:
        value = score(row)
        if value is not None and value > highest:
            best, highest = row, value
    return None if best is None else int(best["epoch"])


def is_stalled(rows: Sequence[Mapping[str, Any]], patience: int | None) -> bool:
    """Whether the last `patience` epochs have brought nothing better."""
    best = best_epoch(rows)
    return patience is not None and best is not None and rows[-1]["epoch"] - best >= patience


def _data_name(data: Dataset) -> str:
    return f"data-{data.digest()[:16]}.h5"


def _is_kept(recorded: Any, given: Dataset | None) -> bool:
    """Whether data are those that the run keeps a copy of, wherever they come from now."""
    if given is None or not isinstance(recorded, dict) or "kept" not in recorded:
        return False
    if any(recorded.get(key) != given.source.get(key) for key in PARTS):
        return False
    return Path(recorded["path"]).name == _data_name(given.origin)


def _is_same(name: str, there: Any, here: Any) -> bool:
    if name in NUMBERS and there is not None and here is not None:
        return number(name, there) == number(name, here)
    return bool(there == here)


def _holds(path: Path, digest: str) -> bool:
    """Whether the checkpoint is there still, with those weights."""
    try:
        return Model.load(path).digest() == digest
    except IgdmError:
        return False


def _description(model: Model) -> dict[str, Any]:
    info = model.info
    return {
        "architecture": info.architecture,
        "classes": info.classes,
        "input_shape": list(info.input_shape),
        "width": info.width,
        "parameters": info.parameter_count,
        "exact": model.exact,
        "digest": model.digest(),
    }


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A config.json, with the paths of its models made absolute."""
    place = Path(path)
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"config: no file {place}") from None
    except (ValueError, IsADirectoryError) as error:
        raise FormatError(f"config: {place} is not JSON: {error}") from None
    try:
        for later in ("clean_teacher", "generated"):  # older runs lack them
            config[later] = config.get(later)
        for role in ("student", "teacher", "clean_teacher"):
            if config[role] is not None:
                config[role]["file"] = str(place.parent / config[role]["file"])
        for role in ("train", "validation", "generated"):
            if config[role] is not None and "kept" in config[role]:
                config[role]["path"] = str(place.parent.resolve() / config[role]["path"])
        complete = (
            all(isinstance(config[part], dict) for part in ("student", "train", "options")) and "validation" in config
        )
    except (AttributeError, KeyError, TypeError):
        complete = False
    if not complete:
        raise FormatError(f"config: {place} does not describe a run; want the config.json of a run folder")
    return dict(config)


def load_recorded(role: str, description: Mapping[str, Any]) -> Model:
    """The model that a configuration describes; one whose weights have changed since is refused."""
    model = Model.load(description["file"], exact=description.get("exact", False))
    if model.digest() != description.get("digest"):
        raise FormatError(
            f"{role}: {description['file']} is not the model that the run was made with: its weights differ; give the "
            f"{role} anew to use it all the same"
        )
    return model


def write_metrics(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows with equal keys as CSV; None becomes an empty field."""
    text = io.StringIO()
    # The rows of an earlier version may lack columns.
    writer = csv.DictWriter(text, fieldnames=list(rows[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def read_metrics(path: str | os.PathLike[str]) -> list[Row]:
    """The rows that write_metrics() wrote."""

    def number(name: str | None, text: object) -> Any:
        if name is None or not isinstance(text, str):
            raise FormatError(f"{path}: got a row that is not as long as the first one")
        try:
            return None if text == "" else int(text) if name == "epoch" else float(text)
        except ValueError:
            raise FormatError(f"{path}: {name}: got {text!r}, want a number") from None

    with open(path, newline="", encoding="utf-8") as file:
        return [{name: number(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Writes indented JSON."""
    _write(path, json.dumps(value, indent=2) + "\n")


def _write(path: str | os.PathLike[str], text: str) -> None:
    """Makes a file hold the text, whole, or leaves it as it was."""
    with replacing(Path(path), "path") as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
