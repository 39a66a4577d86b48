"""Losses on logits, as means over the batch (arXiv 2312.03286; the methods as their papers have them)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from cases import StepCase
from torch import Tensor


class Logits(NamedTuple):
    """Outputs of one network at x + d, x and x - d; None where the method does not ask for them."""

    adversarial: Tensor
    clean: Tensor | None
    mirrored: Tensor | None


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()


def kl(target: Tensor, model: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """KL(softmax(target) || softmax(model)): sum over classes, mean over the batch of `weights` times it."""
    log_p, log_q = target.log_softmax(1), model.log_softmax(1)
    return (weights * (log_p.exp() * (log_p - log_q)).sum(1)).mean()


def l1(target: Tensor, model: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    return (weights * (model - target).abs().sum(1)).mean()


def l2(target: Tensor, model: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    return (weights * (model - target).square().sum(1)).mean()


DISTANCES = {"kl": kl, "l1": l1, "l2": l2}


def needs_clean(case: StepCase) -> bool:
    """Whether the loss has a term in S(x), and so there is a student pass over x."""
    if case.igdm and case.term == "trades-reg":
        return True
    if case.method in ("ard", "adaad"):
        return case.adversarial_weight < 1
    if case.method == "saad":
        return case.clean_weight > 0
    return case.method in ("rslad", "trades", "iad", "adaiad", "mtard", "dgad")


class Balance:
    """MTARD's weights of its two teachers, which follow the relative losses (arXiv 2211.03232, equations 8 to 10)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.weight = {"adversarial": 0.5, "natural": 0.5}
        self.first: dict[str, float] = {}

    def update(self, losses: dict[str, Tensor]) -> None:
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self.first = self.first or values
        relative = {name: value / self.first[name] for name, value in values.items()}
        for name in self.weight:
            self.weight[name] -= self.rate * (self.weight[name] - relative[name] / sum(relative.values()))


def introspection(case: StepCase, epoch: int, student: Logits, teacher: Logits, labels: Tensor) -> Tensor:
    """The student's own word where the teacher is unsure of the label (arXiv 2106.04928, section 4)."""
    if epoch < case.introspection_start:
        return torch.zeros((), dtype=student.clean.dtype)
    sure = teacher.adversarial.softmax(1).gather(1, labels[:, None])[:, 0] ** 0.1
    log_p, log_q = student.clean.log_softmax(1), student.adversarial.log_softmax(1)
    return ((1 - sure) * torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)).mean()


def corrected(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits of which the largest and the label's have changed places (arXiv 2409.01627, section 3.3)."""
    swapped, rows = logits.clone(), torch.arange(len(logits))
    largest = logits.argmax(1)
    swapped[rows, labels], swapped[rows, largest] = logits[rows, largest], logits[rows, labels]
    return swapped


def sample_weights(case: StepCase, teacher: Logits | None) -> Tensor | float:
    """What each sample counts in SAAD and in IGDM beside it (arXiv 2512.10275, section 4); 1 in the other methods."""
    if case.method != "saad":
        return 1.0
    p = teacher.adversarial.softmax(1)
    if case.entropy_order == 1:
        entropy = torch.distributions.Categorical(probs=p).entropy()
    else:
        entropy = (p**case.entropy_order).sum(1).log() / (1 - case.entropy_order)
    return case.entropy_scale * (entropy - entropy.min())


def base_loss(
    case: StepCase, epoch: int, student: Logits, teacher: Logits | None, labels: Tensor, balance: Balance
) -> Tensor:
    """The loss of the method without IGDM."""
    a, tau = case.adversarial_weight, case.temperature
    if case.method == "pgd-at":
        return cross_entropy(student.adversarial, labels)
    if case.method == "trades":
        return cross_entropy(student.clean, labels) + case.trades_beta * kl(student.clean, student.adversarial)
    if case.method == "ard":
        loss = a * tau**2 * kl(teacher.clean / tau, student.adversarial / tau)
        return loss if a == 1 else loss + (1 - a) * cross_entropy(student.clean, labels)
    if case.method == "iad":
        return kl(teacher.clean, student.adversarial) + introspection(case, epoch, student, teacher, labels)
    if case.method == "akd":
        hard, soft = cross_entropy(student.adversarial, labels), kl(teacher.adversarial, student.adversarial)
        return (1 - case.distillation_weight) * hard + case.distillation_weight * soft
    if case.method == "rslad":
        return (5 / 6 * kl(teacher.clean, student.adversarial) + 1 / 6 * kl(teacher.clean, student.clean)) / 10
    if case.method == "adaad":
        loss = a * kl(teacher.adversarial, student.adversarial)
        return loss if a == 1 else loss + (1 - a) * kl(teacher.clean, student.clean)
    if case.method == "adaiad":
        taught = kl(teacher.adversarial, student.adversarial)
        return taught + introspection(case, epoch, student, teacher, labels)
    if case.method == "mtard":
        parts = {
            "adversarial": kl(teacher.adversarial, student.adversarial),
            "natural": kl(teacher.clean, student.clean),
        }
        balance.update(parts)
        return sum(balance.weight[name] * part for name, part in parts.items())
    if case.method == "dgad":
        wrong = teacher.clean.argmax(1) != labels
        guide = torch.where(wrong[:, None], corrected(teacher.clean, labels), corrected(teacher.adversarial, labels))
        taught = kl(guide, torch.where(wrong[:, None], student.clean, student.adversarial))
        return taught + case.consistency_weight * torch.nn.functional.mse_loss(
            student.adversarial.softmax(1), student.clean.softmax(1)
        )
    if case.method == "saad":
        w = sample_weights(case, teacher)
        loss = kl(teacher.adversarial, student.adversarial, w)
        if not case.clean_weight:
            return loss
        return loss + case.clean_weight * kl(teacher.clean, student.clean, 1 - w / (w.max() + 1e-8))
    raise ValueError(f"method: got {case.method!r}")


def igdm_loss(case: StepCase, student: Logits, teacher: Logits | None) -> Tensor:
    """Eq. 8 of the paper: distance between f(x+d) - f(x-d) of teacher and student, both taken as logits; or a rival."""
    distance = DISTANCES[case.distance]
    if case.term == "trades-reg":
        return distance(student.adversarial, student.clean)
    if case.term == "trades-like":
        return distance(student.adversarial, student.mirrored)
    theirs, ours = teacher.adversarial - teacher.mirrored, student.adversarial - student.mirrored
    return distance(theirs, ours, sample_weights(case, teacher))


def margin(logits: Tensor, labels: Tensor, kappa: float) -> Tensor:
    """min(max_{i != y} z_i - z_y, kappa) of each sample (Carlini and Wagner 2017, to be maximised)."""
    true = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(true, -torch.inf).amax(1)
    return (others - logits[true]).clamp(max=kappa)
