"""The paper's settings as options."""

from __future__ import annotations

import igdm
import pytest
from conftest import make_model
from igdm import recipes


def test_the_example_of_the_documentation() -> None:
    options = recipes.paper("cifar100", "resnet18", "bdm-at", "adaad+igdm")
    assert (options["method"], options["igdm"], options["epochs"]) == ("adaad", 70, 200)
    assert (options["milestones"], options["weight_decay"], options["eps"]) == ([100, 150], 5e-4, "8/255")
    assert recipes.paper("cifar100", "resnet18", "bdm-at", "adaad")["igdm"] == 0


@pytest.mark.parametrize("method", igdm.methods())
@pytest.mark.parametrize("key", recipes.ALPHA, ids="-".join)
def test_every_recipe_is_accepted_by_a_trainer(key: tuple[str, str, str], method: str) -> None:
    student, clean, robust = (igdm.Model("small_cnn", width=4, seed=seed) for seed in range(3))
    options = recipes.paper(*key, method)
    teachers = {"pgd-at": None, "trades": None, "mtard": [clean, robust]}.get(method, robust)
    with igdm.Trainer(student, teachers, **options) as trainer:
        assert {name: trainer.options[name] for name in options} == options
    if method in ("mtard", "dgad") or (method == "saad" and key[0] == "svhn"):
        with pytest.raises(igdm.InvalidArgument, match=f"no alpha for {method}"):
            recipes.paper(*key, f"{method}+igdm")
    else:
        assert recipes.paper(*key, f"{method}+igdm")["igdm"] > 0


def test_every_method_has_its_recipe() -> None:
    assert set(recipes.METHODS) == set(igdm.methods())
    assert all(len(alphas) == len(recipes.ALPHA_ORDER) for alphas in recipes.ALPHA.values())


def test_exceptions() -> None:
    assert recipes.paper("cifar10", "resnet18", "ltd", "rslad+igdm")["epochs"] == 300
    assert recipes.paper("svhn", "resnet18", "pgd-at", "rslad")["epochs"] == 50
    assert recipes.paper("svhn", "resnet18", "pgd-at", "ard")["crop_padding"] == 0
    adaiad, adaad = (
        recipes.paper("cifar10", "resnet18", "ltd", f"{name}+igdm")["igdm"] for name in ("adaiad", "adaad")
    )
    assert adaiad == adaad == 5
    changed = recipes.paper("cifar10", "resnet18", "ltd", "ard")
    changed["milestones"].append(170)
    assert recipes.paper("cifar10", "resnet18", "ltd", "ard")["milestones"] == [100, 150]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar100", "resnet18", "bdm-at", "adaad+igmd"), "method"),
        (("cifar100", "resnet18", "bdm-at", "ARD"), "pgd-at, trades"),
        (("cifar100", "resnet18", "trades", "ard"), "data, student, teacher"),
        (("mnist", "resnet18", "ltd", "ard"), "cifar10, resnet18, ltd"),
    ],
)
def test_unknown_names(arguments: tuple[str, str, str, str], message: str) -> None:
    with pytest.raises(igdm.InvalidArgument, match=message):
        recipes.paper(*arguments)


@pytest.mark.parametrize("name", igdm.recipes.AUGMENTATIONS)
def test_augmentations_are_options(name: str, data: igdm.Dataset) -> None:
    options = igdm.recipes.augmentation(name)
    with igdm.Trainer(make_model(), None, **{"method": "pgd-at", **options}) as trainer:
        assert {key: trainer.options[key] for key in options} == options
    with pytest.raises(igdm.InvalidArgument, match='augmentation: got "idbh"'):
        igdm.recipes.augmentation("idbh")
