"""The models of RobustBench (Croce et al. 2021, arXiv 2010.09670) whose networks igdm has: what their files do not say.

``robustbench.json`` has, for each id, data set and threat model: architecture, options, normalisation, and under which
key a file with several states has the one that counts; from RobustBench's model_zoo
(https://github.com/RobustBench/robustbench, commit 78fcc9e). Nothing is downloaded here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

from ..errors import InvalidArgument
from .entries import joined

CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
THREAT_MODELS = ("Linf", "L2", "corruptions")


@dataclass(frozen=True)
class KnownModel:
    """One model."""

    id: str
    dataset: str
    threat_model: str
    architecture: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    shortcut_input: str | None = None
    final_bn: bool | None = None
    input_shape: tuple[int, int, int] = (3, 32, 32)
    key: str | None = None

    @property
    def classes(self) -> int:
        return CLASSES[self.dataset]


@functools.cache
def known_models() -> tuple[KnownModel, ...]:
    """All of the table."""
    content = json.loads(resources.files(__package__).joinpath("robustbench.json").read_text("utf-8"))
    models = []
    for row in content["models"]:
        scale = content["normalisations"].get(row.pop("normalisation", None), {})
        mean, std = (tuple(scale[name]) if scale else None for name in ("mean", "std"))
        row["input_shape"] = tuple(row.get("input_shape", KnownModel.input_shape))
        models.append(KnownModel(mean=mean, std=std, **row))
    return tuple(models)


def lookup(id_: str, dataset: str | None = None, threat_model: str | None = None) -> KnownModel:
    """The model of that id. Where several data sets or threat models have it, both must be given."""
    for name, value, known in (("dataset", dataset, CLASSES), ("threat_model", threat_model, THREAT_MODELS)):
        if value is not None and value not in known:
            raise InvalidArgument(f'{name}: got "{value}", want one of {", ".join(known)}')
    of_id = [model for model in known_models() if model.id == id_]
    if not of_id:
        ids = dict.fromkeys(model.id for model in known_models() if dataset in (None, model.dataset))
        raise InvalidArgument(f'robustbench: got "{id_}", want one of {", ".join(ids)}')
    found = [
        model for model in of_id if dataset in (None, model.dataset) and threat_model in (None, model.threat_model)
    ]
    listed = joined([f"{model.dataset} {model.threat_model}" for model in of_id], 10)
    if not found:
        raise InvalidArgument(f"robustbench: {id_} is there for {listed} only")
    if len({model.dataset for model in found}) > 1:
        raise InvalidArgument(f"dataset: got none; {id_} is there for {listed}")
    if (
        threat_model is None
        and len({(model.architecture, model.shortcut_input, model.final_bn, model.mean) for model in found}) > 1
    ):
        raise InvalidArgument(f"threat_model: got none; {id_} has different networks for {listed}")
    return found[0]
