"""Losses on logits, as means over the batch (arXiv 2312.03286; ARD, RSLAD and AdaAD as their papers have them)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Logits(NamedTuple):
    """Outputs of one network at x + d, x and x - d; None where the method does not ask for them."""

    adversarial: Tensor
    clean: Tensor | None
    mirrored: Tensor | None


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()


def kl(target: Tensor, model: Tensor) -> Tensor:
    """KL(softmax(target) || softmax(model)): sum over classes, mean over the batch."""
    log_p, log_q = target.log_softmax(1), model.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def l1(target: Tensor, model: Tensor) -> Tensor:
    return (model - target).abs().sum(1).mean()


def l2(target: Tensor, model: Tensor) -> Tensor:
    return (model - target).square().sum(1).mean()


DISTANCES = {"kl": kl, "l1": l1, "l2": l2}


def needs_clean(method: str, adversarial_weight: float) -> bool:
    """Whether the method has a term in S(x), and so a student pass over x."""
    return method == "rslad" or (method in ("ard", "adaad") and adversarial_weight < 1)


def base_loss(
    method: str, student: Logits, teacher: Logits | None, labels: Tensor, temperature: float, adversarial_weight: float
) -> Tensor:
    """The loss of the method without IGDM."""
    a, tau = adversarial_weight, temperature
    if method == "pgd-at":
        return cross_entropy(student.adversarial, labels)
    if method == "ard":
        loss = a * tau**2 * kl(teacher.clean / tau, student.adversarial / tau)
        return loss if a == 1 else loss + (1 - a) * cross_entropy(student.clean, labels)
    if method == "rslad":
        return (5 / 6 * kl(teacher.clean, student.adversarial) + 1 / 6 * kl(teacher.clean, student.clean)) / 10
    if method == "adaad":
        loss = a * kl(teacher.adversarial, student.adversarial)
        return loss if a == 1 else loss + (1 - a) * kl(teacher.clean, student.clean)
    raise ValueError(f"method: got {method!r}")


def igdm_loss(student: Logits, teacher: Logits, distance: str) -> Tensor:
    """Eq. 8 of the paper: distance between f(x+d) - f(x-d) of teacher and student, both taken as logits."""
    return DISTANCES[distance](
        teacher.adversarial - teacher.mirrored,
        student.adversarial - student.mirrored,
    )


def margin(logits: Tensor, labels: Tensor, kappa: float) -> Tensor:
    """min(max_{i != y} z_i - z_y, kappa) of each sample (Carlini and Wagner 2017, to be maximised)."""
    true = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(true, -torch.inf).amax(1)
    return (others - logits[true]).clamp(max=kappa)
