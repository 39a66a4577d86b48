"""Run folders: what a training was asked to do, what came out of it, and how to do it again.

config.json   student, teacher, data and every option: `python -m igdm distill --config FILE` repeats the run
initial.h5    the student before the training
metrics.csv   a row for each epoch, written as it ends
student.h5    the student after it, also after an interruption
average.h5    with averaged weights, where the options ask for them
teacher.h5    the teacher, only where no file has it; clean_teacher.h5, where there are two
"""

from __future__ import annotations

import csv
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._library import ask
from .datasets import Dataset
from .errors import FormatError, IgdmError, InvalidArgument, NotFoundError
from .models import Model


class RunFolder:
    """Writes the files of one run."""

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.initial = self.path / "initial.h5"
        self.metrics = self.path / "metrics.csv"
        self.student = self.path / "student.h5"
        self.average = self.path / "average.h5"
        self._rows: list[dict[str, Any]] = []
        if self.config.exists() and not overwrite:
            raise InvalidArgument(
                f"run_dir: {self.path} has a run already; choose another folder, or allow it with overwrite=True"
            )
        self.path.mkdir(parents=True, exist_ok=True)

    def begin(
        self,
        student: Model,
        teacher: Model | None,
        clean_teacher: Model | None,
        train: Dataset,
        validation: Dataset | None,
        options: Mapping[str, Any],
    ) -> None:
        """Writes all that is known before the training."""
        for stale in (self.metrics, self.student, self.average):
            stale.unlink(missing_ok=True)
        student.save(self.initial)
        config = {
            "igdm": ask("igdm_version_string"),
            "build": ask("igdm_build_info"),
            "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "student": _description(student) | {"file": self.initial.name},
            "teacher": None if teacher is None else self._teacher(teacher, "teacher.h5"),
            "clean_teacher": None if clean_teacher is None else self._teacher(clean_teacher, "clean_teacher.h5"),
            "train": train.source,
            "validation": None if validation is None else validation.source,
            "options": dict(options),
        }
        write_json(self.config, config)

    def _teacher(self, teacher: Model, name: str) -> dict[str, Any]:
        description = _description(teacher)
        if teacher.loaded_from is not None and _holds(teacher.loaded_from, description["digest"]):
            return description | {"file": str(teacher.loaded_from.absolute())}
        teacher.save(self.path / name)
        return description | {"file": name}

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Adds a row to metrics.csv."""
        self._rows.append(row)
        write_metrics(self.metrics, self._rows)


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
        config["clean_teacher"] = config.get("clean_teacher")
        for role in ("student", "teacher", "clean_teacher"):
            if config[role] is not None:
                config[role]["file"] = str(place.parent / config[role]["file"])
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
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Writes indented JSON."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
