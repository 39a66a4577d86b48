"""Trains and measures, one result file each: what is there already is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import igdm
from igdm.progress import duration
from igdm.runs import write_json

from .experiments import EPS, STUDENT, TEACHER, TRAINING, Experiment, Scale

ATTACKS = ["fgsm", "pgd-20", "cw"]


class Laboratory:
    """The results of one scale in one folder, `folder`/<scale>."""

    def __init__(self, scale: Scale, folder: Path) -> None:
        self.scale = scale
        self.folder = folder / scale.name
        self.folder.mkdir(parents=True, exist_ok=True)
        data = igdm.datasets.fashion_mnist()
        self.train = data.train[: scale.train_count]
        self.choice = data.train[-scale.choice_count :]
        self.test = data.test[: scale.test_count]
        self.autoattacked = data.test[: scale.autoattack_count]
        self.teacher = self._teacher(data.train[: scale.teacher_count])
        self.seconds = 0.0
        self.done = 0

    def _teacher(self, images: igdm.Dataset) -> igdm.Model:
        """PGD adversarial training (Madry et al. 2018), as examples/python/train_teacher.py has it."""
        path = self.folder / "teacher.h5"
        if path.exists():
            return igdm.Model.load(path)
        teacher = self._model(TEACHER, seed=1)
        options = TRAINING | {"method": "pgd-at", "epochs": self.scale.teacher_epochs, "seed": 1, "flip": True}
        print(f"teacher: {self.scale.teacher_count} images, {self.scale.teacher_epochs} epochs", flush=True)
        igdm.distill(teacher, None, images, progress=None, **options)
        teacher.save(path)
        return teacher

    def _model(self, model: dict[str, Any], seed: int) -> igdm.Model:
        architecture, width = model["architecture"], model["width"]
        return igdm.Model(architecture, classes=10, input_shape=(1, 28, 28), width=width, seed=seed)

    def on_choice(self, experiment: Experiment, seed: int) -> dict[str, Any]:
        """Accuracy in [0,1] on the images that alpha is chosen on."""

        def measure(student: igdm.Model) -> dict[str, Any]:
            return dict(igdm.evaluate(student, self.choice, attacks=["pgd-20"], eps=EPS, progress=None).accuracy)

        return self._result("choice", experiment, seed, measure)

    def on_test(self, experiment: Experiment, seed: int) -> dict[str, Any]:
        """Accuracies in [0,1] on the test images, and the agreement of the input gradients with the teacher's."""

        def measure(student: igdm.Model) -> dict[str, Any]:
            found = igdm.evaluate(student, self.test, attacks=ATTACKS, eps=EPS, teacher=self.teacher, progress=None)
            robust = igdm.autoattack(student, self.autoattacked, eps=EPS, progress=None).robust
            gradients = {"GD": found.gradient_distance, "GC": found.gradient_cosine}
            return found.accuracy | {"autoattack": robust} | gradients

        return self._result("test", experiment, seed, measure)

    def teacher_on_test(self) -> dict[str, Any]:
        path = self.folder / "teacher.json"
        if path.exists():
            return json.loads(path.read_text())
        found = igdm.evaluate(self.teacher, self.test, attacks=ATTACKS, eps=EPS, progress=None)
        robust = igdm.autoattack(self.teacher, self.autoattacked, eps=EPS, progress=None).robust
        write_json(path, found.accuracy | {"autoattack": robust})
        return json.loads(path.read_text())

    def _result(self, kind: str, experiment: Experiment, seed: int, measure: Any) -> dict[str, Any]:
        options = experiment.training(self.scale, seed)
        # Whatever changes the numbers changes the name.
        key = json.dumps([options, asdict(self.scale), STUDENT, TEACHER], sort_keys=True)
        name = f"{experiment.method}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        path = self.folder / f"{kind}-{name}.json"
        if path.exists():
            return json.loads(path.read_text())["result"]
        began = time.monotonic()
        student = self._student(experiment, options, seed, self.folder / f"{name}.h5")
        result = measure(student)
        seconds = time.monotonic() - began
        write_json(path, {"title": experiment.title, "seed": seed, "options": options, "result": result,
                          "seconds": seconds})  # fmt: skip
        self.seconds += seconds
        self.done += 1
        shown = ", ".join(f"{what} {value:.3f}" for what, value in result.items())
        print(f"{experiment.title}, seed {seed}: {shown} ({duration(seconds)})", flush=True)
        return result

    def _student(self, experiment: Experiment, options: dict[str, Any], seed: int, path: Path) -> igdm.Model:
        if path.exists():
            return igdm.Model.load(path)
        student = self._model(STUDENT, seed)
        needs_teacher = experiment.method not in ("pgd-at", "trades") or options.get("igdm")
        igdm.distill(student, self.teacher if needs_teacher else None, self.train, progress=None, **options)
        student.save(path)
        return student
