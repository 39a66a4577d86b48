"""What the adversaries of the methods maximise, a number for each sample (arXiv 2312.03286 and the methods' papers)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Objective = Callable[[nn.Module, nn.Module, Tensor, Tensor, Tensor], Tensor]
"""Of student and teacher in inference mode, x, x' (which carries the gradient), y."""


def cross_entropy(student: nn.Module, _: nn.Module, __: Tensor, point: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(student(point), labels, reduction="none")


def from_clean_student(student: nn.Module, _: nn.Module, x: Tensor, point: Tensor, __: Tensor) -> Tensor:
    return divergences(student(x).detach(), student(point))


def from_clean_teacher(student: nn.Module, teacher: nn.Module, x: Tensor, point: Tensor, _: Tensor) -> Tensor:
    return divergences(teacher(x).detach(), student(point))


def from_teacher(student: nn.Module, teacher: nn.Module, _: Tensor, point: Tensor, __: Tensor) -> Tensor:
    return divergences(teacher(point), student(point))


def from_linearised_teacher(student: nn.Module, teacher: nn.Module, x: Tensor, point: Tensor, labels: Tensor) -> Tensor:
    """The label's logit follows its gradient at x (arXiv 2512.10275)."""
    x = x.detach().requires_grad_()
    logits = teacher(x)
    own = nn.functional.one_hot(labels, logits.shape[1])
    (slope,) = torch.autograd.grad((logits * own).sum(), x)
    rise = (slope * (point - x.detach())).flatten(1).sum(1)
    return divergences(logits.detach() + own * rise[:, None], student(point))


def divergences(target: Tensor, model: Tensor) -> Tensor:
    log_p, log_q = target.log_softmax(1), model.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


OBJECTIVES: dict[str, Objective] = {
    "pgd-at": cross_entropy,
    "trades": from_clean_student,
    "ard": cross_entropy,
    "iad": cross_entropy,
    "akd": cross_entropy,
    "rslad": from_clean_teacher,
    "adaad": from_teacher,
    "adaiad": from_teacher,
    "mtard": cross_entropy,
    "dgad": from_teacher,
    "saad": from_linearised_teacher,
}
