"""Gradient attacks that start at the image: FGSM, PGD in both norms, C&W-inf (PGD on the margin loss)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reference import losses


def sample_losses(loss: str, labels: Tensor, targets: Tensor | None, kappa: float) -> Callable[[Tensor], Tensor]:
    """What the attack maximises, as a function of the logits; one number per sample."""
    if loss == "ce":
        return lambda logits: torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    if loss == "margin":
        return lambda logits: losses.margin(logits, labels, kappa)
    if loss == "kl":
        p = targets.softmax(1)
        return lambda logits: (p * (p.log() - logits.log_softmax(1))).sum(1)
    raise ValueError(f"loss: got {loss!r}")


def iterates(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    norm: str,
    epsilon: float,
    step: float,
    steps: int,
    on_gradient: Callable[[Tensor], None],
) -> list[Tensor]:
    """x_1 ... x_steps; each is the last one moved along the gradient, projected to the ball, then to the box [0,1]."""
    path = []
    x = images
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(x)).sum(), x)
        on_gradient(gradient)
        if norm == "linf":
            delta = (x.detach() + step * gradient.sign() - images).clamp(-epsilon, epsilon)
        else:
            delta = x.detach() + step * unit(gradient) - images
            length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = delta * (epsilon / length.clamp(min=epsilon))
        x = (images + delta).clamp(0, 1)
        path.append(x)
    return path


def unit(gradient: Tensor) -> Tensor:
    """Each sample divided by its L2 norm; a zero gradient stays zero."""
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(length > 0, gradient / length, 0)
