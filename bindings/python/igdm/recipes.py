"""Ready options for whole trainings: the settings of the paper (arXiv 2312.03286, section 4 and appendix), and this
project's for small students of Fashion-MNIST.

    options = igdm.recipes.paper("cifar100", "resnet18", "bdm-at", "adaad+igdm")
    igdm.distill(student, teacher, train, **options)

Where the paper and its public code disagree (weight decay 5e-4 or 2e-4) the paper counts.
"""

from __future__ import annotations

from typing import Any

from .errors import InvalidArgument

_COMMON: dict[str, Any] = {
    "eps": "8/255",
    "step": "2/255",
    "steps": 10,
    "optimiser": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "batch_size": 128,
    "schedule": "multistep",
    "decay": 0.1,
    "mirror": "paper",
    "igdm_distance": "kl",
}
_CROPS = {"crop_padding": 4, "flip": True}
_CIFAR = {"epochs": 200, "milestones": [100, 150], **_CROPS}

DATA: dict[str, dict[str, Any]] = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "svhn": {"epochs": 50, "milestones": [40, 45], "crop_padding": 0, "flip": False},
    "tiny-imagenet": {"epochs": 100, "milestones": [50, 80], **_CROPS},
}
"""Epochs, decay of the learning rate and augmentation by data set."""

METHODS: dict[str, dict[str, Any]] = {
    "pgd-at": {},
    "trades": {"trades_beta": 6.0},
    "ard": {"temperature": 1.0, "adversarial_weight": 1.0},
    "iad": {"introspection_power": 0.1},
    "akd": {"distillation_weight": 0.5},
    "rslad": {},
    "adaad": {"adversarial_weight": 1.0},
    "adaiad": {"introspection_power": 0.1},
    "mtard": {"balance_rate": 0.025},
    "dgad": {"consistency_weight": 1.0},
    "saad": {"entropy_scale": 5.0, "entropy_order": 1.0, "clean_weight": 0.0, "weight_decay": 2e-4},
}
"""The methods' own numbers. The paper does not state the weight of AKD; 0.5 is this project's. SAAD's are those of its
authors' code, https://github.com/HongsinLee/saad."""

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "idbh-weak": {"crop_shift": 10, "augment": "idbh-color", "erasing": 0.5},
    "idbh-strong": {"crop_shift": 10, "augment": "idbh-color", "erasing": 1.0},
    "idbh-svhn": {"crop_shift": 8, "augment": "idbh-shape", "erasing": 1.0, "erasing_area": 0.5},
}
"""IDBH (Li and Spratling 2023): for CIFAR-10, strong with ResNet-18, weak with wide networks and averages; for SVHN."""

RSLAD_ON_CIFAR = {"epochs": 300, "milestones": [215, 260, 285]}
"""RSLAD trains longer than the others on CIFAR."""

ALPHA_ORDER = ("pgd-at", "trades", "ard", "iad", "akd", "rslad", "adaad")
ALPHA: dict[tuple[str, str, str], tuple[float, ...]] = {
    ("cifar100", "resnet18", "ltd"): (100, 5, 50, 20, 50, 3, 15),
    ("cifar100", "resnet18", "bdm-at"): (220, 5, 100, 50, 25, 10, 70),
    ("cifar100", "resnet18", "ikl-at"): (100, 5, 100, 50, 40, 10, 50),
    ("cifar10", "resnet18", "ltd"): (60, 20, 5, 50, 7, 0.9, 5),
    ("cifar10", "resnet18", "bdm-at"): (70, 20, 10, 30, 10, 0.9, 10),
    ("cifar10", "resnet18", "ikl-at"): (70, 20, 10, 30, 15, 1, 5),
    ("svhn", "resnet18", "pgd-at"): (60, 30, 50, 40, 10, 3, 9),
    ("tiny-imagenet", "preact_resnet18", "wrn_34_10"): (30, 20, 10, 20, 10, 1, 10),
    ("cifar100", "mobilenet_v2", "ltd"): (150, 10, 70, 20, 30, 3, 20),
    ("cifar100", "mobilenet_v2", "bdm-at"): (160, 10, 70, 50, 30, 4, 50),
    ("cifar100", "mobilenet_v2", "ikl-at"): (160, 3, 70, 50, 30, 10, 40),
    ("cifar10", "mobilenet_v2", "ltd"): (70, 1, 10, 50, 15, 0.5, 10),
    ("cifar10", "mobilenet_v2", "bdm-at"): (40, 0.5, 8, 50, 15, 0.7, 10),
    ("cifar10", "mobilenet_v2", "ikl-at"): (50, 0.2, 9, 50, 15, 0.7, 10),
}
"""alpha of IGDM, in the order of ALPHA_ORDER, by data set, student and teacher. AdaIAD has AdaAD's."""

SAAD_ALPHA = {"cifar10": 1.0, "cifar100": 10.0, "tiny-imagenet": 10.0}
"""alpha of SAAD with IGDM by data set, for all students and teachers of its authors' code."""

FASHION: dict[str, Any] = {
    "eps": 0.1,
    "step": 0.03,
    "steps": 5,
    "batch_size": 128,
    "schedule": "onecycle",
    "learning_rate": 0.2,
    "weight_decay": 5e-4,
    "epochs": 20,
    "crop_padding": 2,
    "flip": True,
    "mirror": "clip",
    "mirror_statistics": False,
}
"""Of docs/reproduction.md. The mirror is clipped, and leaves the running statistics alone, because most pixels of these
images lie on the border of [0,1]."""

FASHION_ALPHA = {
    "pgd-at": 10.0, "trades": 3.0, "ard": 10.0, "iad": 3.0, "akd": 10.0, "rslad": 0.3, "adaad": 3.0, "adaiad": 3.0,
}  # fmt: skip
"""alpha: what was chosen there, but for TRADES and IAD, where that turned out to be too large."""

INTROSPECTION_START = 60 / 200
"""IAD and AdaIAD: epoch 60 of CIFAR's 200, as a part of the epochs there are."""
SAAD_AVERAGE_START = 95 / 200
"""SAAD averages the weights of the later epochs: from the 95th of CIFAR's 200 on."""


def paper(data: str, student: str, teacher: str, method: str) -> dict[str, Any]:
    """The paper's options for distill() and Trainer().

    data     "cifar10", "cifar100", "svhn" or "tiny-imagenet"
    student  "resnet18", "mobilenet_v2", or "preact_resnet18" on Tiny-ImageNet
    teacher  "ltd", "bdm-at" or "ikl-at" on CIFAR; "pgd-at" on SVHN; "wrn_34_10" on Tiny-ImageNet
    method   one of METHODS, alone or with "+igdm" behind it

    "mtard", "dgad" and "saad", which the paper did not run, have their authors' numbers within its common settings.
    Starts within the training are the same part of it everywhere (INTROSPECTION_START, SAAD_AVERAGE_START). "+igdm" is
    refused where nobody has published an alpha: for MTARD, DGAD, and SAAD on SVHN.
    """
    base = _base(method)
    key = (data, student, teacher)
    if key not in ALPHA:
        known = "; ".join(", ".join(one) for one in ALPHA)
        raise InvalidArgument(f"data, student, teacher: got {', '.join(key)}, want one of: {known}")
    options = {"method": base, "igdm": 0.0, **_COMMON, **DATA[data], **METHODS[base]}
    if base == "rslad" and data in ("cifar10", "cifar100"):
        options |= RSLAD_ON_CIFAR
    if base in ("iad", "adaiad"):
        options["introspection_start"] = round(INTROSPECTION_START * options["epochs"])
    if base == "saad" and data in SAAD_ALPHA:
        options |= {"average": "swa", "swa_start": round(SAAD_AVERAGE_START * options["epochs"])}
    if base != method:
        counterpart = "adaad" if base == "adaiad" else base
        known = dict(zip(ALPHA_ORDER, ALPHA[key], strict=True))
        if data in SAAD_ALPHA:
            known["saad"] = SAAD_ALPHA[data]
        if counterpart not in known:
            raise InvalidArgument(f'method: got "{method}", but there is no alpha for {base} on {data}')
        options["igdm"] = float(known[counterpart])
    # Lists of the tables are not to be changed through a result.
    return {name: list(value) if isinstance(value, list) else value for name, value in options.items()}


def fashion_mnist(method: str) -> dict[str, Any]:
    """Options for a small student of Fashion-MNIST with eps 0.1 (docs/reproduction.md).

    method   one of METHODS, alone or with "+igdm" behind it; "+igdm" is refused for "mtard", "dgad" and "saad", for
             which no alpha has been looked for
    """
    base = _base(method)
    options = {"method": base, "igdm": 0.0, **METHODS[base], **FASHION}
    if base in ("iad", "adaiad"):
        options["introspection_start"] = round(INTROSPECTION_START * options["epochs"])
    if base != method:
        if base not in FASHION_ALPHA:
            raise InvalidArgument(f'method: got "{method}", but there is no alpha for {base} on fashion-mnist')
        options["igdm"] = FASHION_ALPHA[base]
    return options


def _base(method: str) -> str:
    """The name without "+igdm"."""
    base, plus, rest = str(method).partition("+")
    if (plus and rest != "igdm") or base not in METHODS:
        names = ", ".join(METHODS)
        raise InvalidArgument(f'method: got "{method}", want one of {names}, alone or with "+igdm" behind it')
    return base


def augmentation(name: str) -> dict[str, Any]:
    """Options of a published augmentation, to be merged into others: "idbh-weak", "idbh-strong" or "idbh-svhn"."""
    if name not in AUGMENTATIONS:
        raise InvalidArgument(f'augmentation: got "{name}", want one of {", ".join(AUGMENTATIONS)}')
    return {"crop_padding": 0, "flip": True, **AUGMENTATIONS[name]}
