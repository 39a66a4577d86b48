"""ARD with the input gradients of student and teacher matched directly: what IGDM spares.

arXiv 2312.03286, section 3: the distance of the input gradients themselves needs a second derivative, which igdm does
not compute and PyTorch does. So these students are trained in PyTorch, from the same first weights and with the same
options; only the order of the samples, crops, flips and random starts are other draws.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import igdm
import numpy as np

from . import ROOT

if TYPE_CHECKING:
    from torch import Tensor, nn


def train(model: igdm.Model, teacher: igdm.Model, data: igdm.Dataset, alpha: float, options: dict[str, Any]) -> None:
    """Trains `model` in place: KL(T(x) ‖ S(x+d)) + α e/E · mean ‖∇CE(S(x)) − ∇CE(T(x))‖₂ in epoch e of E.

    The gradients are those by x. The student passes over x with that batch's statistics, which leave the running ones
    alone, as those of x − d do in the other trainings. `options` are those of distill(); data (N, 1, H, W) in [0,1].
    """
    import torch  # only here: everything else of the reproduction does without

    sys.path.insert(0, str(ROOT / "Tests" / "Parity"))
    from twin import twin

    options = igdm.default_options() | options
    torch.set_num_threads(1)
    torch.manual_seed(options["seed"])
    student, guide = twin(model).train(), twin(teacher).requires_grad_(False).eval()
    images, labels = (torch.from_numpy(np.array(values)) for values in data.read(0, len(data)))
    batch, epochs = options["batch_size"], options["epochs"]
    optimiser = torch.optim.SGD(
        student.parameters(), options["learning_rate"], options["momentum"], weight_decay=options["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options["learning_rate"], total_steps=epochs * -(-len(images) // batch), pct_start=options["warmup"],
        cycle_momentum=False,
    )  # fmt: skip
    for epoch in range(1, epochs + 1):
        for chosen in torch.randperm(len(images)).split(batch):
            x, y = _augmented(images[chosen], options["crop_padding"]), labels[chosen]
            found = _adversarial(student, x, y, options)
            with torch.no_grad():
                taught = guide(x).log_softmax(1)
            learnt = student(found).log_softmax(1)
            loss = torch.nn.functional.kl_div(learnt, taught, reduction="batchmean", log_target=True)
            if alpha:
                difference = _slope(student, x, y, keep=True) - _slope(guide, x, y, keep=False)
                loss = loss + alpha * epoch / epochs * difference.flatten(1).norm(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    for name, value in student.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            model.parameters[name] = value.numpy()


def _augmented(images: Tensor, padding: int) -> Tensor:
    """Each cropped and flipped in its own way."""
    import torch

    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    made = []
    for image, (top, left), mirrored in zip(
        padded, torch.randint(2 * padding + 1, (len(images), 2)), torch.randint(2, (len(images),)), strict=True
    ):
        window = image[:, top : top + height, left : left + width]
        made.append(window.flip(2) if mirrored else window)
    return torch.stack(made)


def _adversarial(student: nn.Module, x: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    """PGD on the cross-entropy of the student in inference mode, from a uniform start."""
    import torch

    student.eval()
    low, high = (x - options["eps"]).clamp(0, 1), (x + options["eps"]).clamp(0, 1)
    point = (x + torch.empty_like(x).uniform_(-options["eps"], options["eps"])).clamp(0, 1)
    for _ in range(options["steps"]):
        point.requires_grad_()
        (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(student(point), y, reduction="sum"), point)
        point = (point.detach() + options["step"] * slope.sign()).clamp(low, high)
    student.train()
    return point


def _slope(model: nn.Module, x: Tensor, y: Tensor, *, keep: bool) -> Tensor:
    """The gradient of the cross-entropy, summed over the batch, by the images: in inference mode each sample's own.
    With `keep` it can be differentiated by the weights."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)] if keep else []
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    x = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return torch.autograd.grad(loss, x, create_graph=keep)[0]
