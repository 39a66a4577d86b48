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


@pytest.mark.parametrize("method", igdm.methods())
def test_recipes_of_fashion_mnist(method: str) -> None:
    student, clean, robust = (
        igdm.Model("small_cnn", classes=10, input_shape=(1, 28, 28), width=2, seed=seed) for seed in range(3)
    )
    options = recipes.fashion_mnist(method)
    assert (options["mirror"], options["mirror_statistics"], options["eps"]) == ("clip", False, 0.1)
    teachers = {"pgd-at": None, "trades": None, "mtard": [clean, robust]}.get(method, robust)
    with igdm.Trainer(student, teachers, **options) as trainer:
        assert {name: trainer.options[name] for name in options} == options
    if method in ("mtard", "dgad", "saad"):
        with pytest.raises(igdm.InvalidArgument, match=f"no alpha for {method} on fashion-mnist"):
            recipes.fashion_mnist(f"{method}+igdm")
    else:
        assert recipes.fashion_mnist(f"{method}+igdm")["igdm"] == recipes.FASHION_ALPHA[method]
    with pytest.raises(igdm.InvalidArgument, match="method: got"):
        recipes.fashion_mnist(f"{method}+more")


def test_every_method_has_its_recipe() -> None:
    assert set(recipes.METHODS) == set(igdm.methods())
    assert all(len(alphas) == len(recipes.ALPHA_ORDER) for alphas in recipes.ALPHA.values())


# alpha for PGD-AT / TRADES / ARD / IAD / AKD / RSLAD / AdaAD, from the paper's appendix.
PAPER = """
cifar100      resnet18         ltd        100 / 5 / 50 / 20 / 50 / 3 / 15
cifar100      resnet18         bdm-at     220 / 5 / 100 / 50 / 25 / 10 / 70
cifar100      resnet18         ikl-at     100 / 5 / 100 / 50 / 40 / 10 / 50
cifar10       resnet18         ltd        60 / 20 / 5 / 50 / 7 / 0.9 / 5
cifar10       resnet18         bdm-at     70 / 20 / 10 / 30 / 10 / 0.9 / 10
cifar10       resnet18         ikl-at     70 / 20 / 10 / 30 / 15 / 1 / 5
svhn          resnet18         pgd-at     60 / 30 / 50 / 40 / 10 / 3 / 9
tiny-imagenet preact_resnet18  wrn_34_10  30 / 20 / 10 / 20 / 10 / 1 / 10
cifar100      mobilenet_v2     ltd        150 / 10 / 70 / 20 / 30 / 3 / 20
cifar100      mobilenet_v2     bdm-at     160 / 10 / 70 / 50 / 30 / 4 / 50
cifar100      mobilenet_v2     ikl-at     160 / 3 / 70 / 50 / 30 / 10 / 40
cifar10       mobilenet_v2     ltd        70 / 1 / 10 / 50 / 15 / 0.5 / 10
cifar10       mobilenet_v2     bdm-at     40 / 0.5 / 8 / 50 / 15 / 0.7 / 10
cifar10       mobilenet_v2     ikl-at     50 / 0.2 / 9 / 50 / 15 / 0.7 / 10
"""
METHODS = ("pgd-at", "trades", "ard", "iad", "akd", "rslad", "adaad", "adaiad")


def test_alpha_is_the_papers() -> None:
    rows = [line.split(maxsplit=3) for line in PAPER.strip().splitlines()]
    assert {tuple(row[:3]) for row in rows} == set(recipes.ALPHA)
    for data, student, teacher, numbers in rows:
        wanted = [float(one) for one in numbers.split("/")]
        got = [recipes.paper(data, student, teacher, f"{method}+igdm")["igdm"] for method in METHODS]
        assert got == [*wanted, wanted[-1]], "AdaIAD has AdaAD's"


@pytest.mark.parametrize(
    ("key", "epochs", "introspection", "average"),
    [
        (("cifar10", "resnet18", "ltd"), 200, 60, 95),
        (("cifar100", "mobilenet_v2", "ltd"), 200, 60, 95),
        (("svhn", "resnet18", "pgd-at"), 50, 15, None),
        (("tiny-imagenet", "preact_resnet18", "wrn_34_10"), 100, 30, 48),
    ],
)
def test_starts_are_parts_of_the_epochs(
    key: tuple[str, str, str], epochs: int, introspection: int, average: int | None
) -> None:
    for method in ("iad", "adaiad"):
        options = recipes.paper(*key, method)
        assert (options["epochs"], options["introspection_start"]) == (epochs, introspection)
    assert recipes.paper(*key, "saad").get("swa_start") == average


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
