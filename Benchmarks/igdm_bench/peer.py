"""PyTorch's side of each piece of work, written as well as a user of PyTorch can.

The adversary differentiates by the input only, parameters are frozen meanwhile, outputs that need no gradient are
computed without one, images lie in the network's memory format before the clock starts, the optimiser is the fused one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .inputs import (
    AUTOATTACK_EPSILON,
    EPSILON,
    IGDM_WEIGHT,
    LEARNING_RATE,
    MOMENTUM,
    STEP_SIZE,
    WEIGHT_DECAY,
    Inputs,
    check_step_size,
)
from .works import ATTACK, AUTOATTACK, FORWARD, GRADIENT, SHORT, STEP, TRAINING, Work

sys.path.append(str(Path(__file__).resolve().parents[2] / "Tests" / "Parity"))

from reference.networks import network

Results = dict[str, Any]


class Network:
    """A network in one of PyTorch's configurations: "nchw", "channels_last" or "compiled"."""

    def __init__(self, architecture: str, work: Work, path: str, config: str) -> None:
        self.module = network(architecture, work.shape[0], work.classes)
        with h5py.File(path) as file:
            weights = file["weights"]
            state = {name: torch.from_numpy(weights[name][()]) for name in weights}
        missing, unexpected = self.module.load_state_dict(state, strict=False)
        lacking = [name for name in missing if not name.endswith("num_batches_tracked")]
        if lacking or unexpected:
            raise RuntimeError(f"{architecture}: the two sides' parameters differ: {lacking} against {unexpected}")
        if config == "channels_last":
            self.module.to(memory_format=torch.channels_last)
        self.call = torch.compile(self.module, dynamic=False) if config == "compiled" else self.module
        self.passes = 0
        """Made since it was last set to 0, as Work.passes counts them."""
        self.infer()

    def __call__(self, x: Tensor) -> Tensor:
        logits = self.call(x)
        self.passes += 1
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, _: Tensor) -> None:
        self.passes += 2 if self.module.training else 1

    def infer(self) -> None:
        """Running statistics; no gradient of the parameters."""
        self.module.eval().requires_grad_(False)

    def train(self) -> None:
        """Batch statistics and gradients of the parameters."""
        self.module.train().requires_grad_(True)


class Job:
    """Work that is ready to run; the counterpart of ours.Job."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str], config: str) -> None:
        self.work, inputs = work, Inputs(work)
        self.model = Network(work.model, work, checkpoints[work.model], config)
        self.teacher = None
        if work.teacher is not None:
            self.teacher = Network(work.teacher, work, checkpoints[work.teacher], config)
        self.layout = torch.channels_last if config == "channels_last" else torch.contiguous_format
        self.x = torch.from_numpy(inputs.images).contiguous(memory_format=self.layout)
        self.adversarial = torch.from_numpy(inputs.adversarial).contiguous(memory_format=self.layout)
        self.y = torch.from_numpy(inputs.labels)
        self.cotangent = torch.from_numpy(inputs.cotangent)

    def run(self) -> None:
        raise NotImplementedError

    def check(self, first_iterate: Any) -> Results:
        """first_iterate  of our attack, for this side's to go on from; None where the work has none"""
        raise NotImplementedError

    def passes(self) -> tuple[int, int]:
        """Through model and teacher since the last call."""
        networks = (self.model, self.teacher)
        counted = tuple(0 if network is None else network.passes for network in networks)
        for one in networks:
            if one is not None:
                one.passes = 0
        return counted

    def logits(self, network: Network, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(x)

    def optimiser(self) -> torch.optim.SGD:
        self.model.train()
        parameters = self.model.module.parameters()
        return torch.optim.SGD(parameters, LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)

    def uniform_start(self) -> Tensor:
        return (self.x + torch.empty_like(self.x).uniform_(-EPSILON, EPSILON)).clamp_(0, 1)


class Forward(Job):
    def run(self) -> None:
        self.logits(self.model, self.x)

    def check(self, first_iterate: Any) -> Results:
        return {"logits": self.logits(self.model, self.x)}


class Gradient(Job):
    def run(self) -> None:
        self._gradient()

    def check(self, first_iterate: Any) -> Results:
        return {
            "logits": self.logits(self.model, self.x),
            "input gradient": self._gradient(),
        }

    def _gradient(self) -> Tensor:
        x = self.x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.model(x), x, self.cotangent)
        return gradient


class Training(Job):
    def __init__(self, work: Work, checkpoints: Mapping[str, str], config: str) -> None:
        super().__init__(work, checkpoints, config)
        self.update = self.optimiser()

    def run(self) -> None:
        self._backward()
        self.update.step()
        self.update.zero_grad()

    def check(self, first_iterate: Any) -> Results:
        self.model.infer()
        logits = self.logits(self.model, self.x)
        self.model.train()
        loss = self._backward()
        parameters = list(self.model.module.parameters())
        last = torch.cat([parameter.grad.flatten() for parameter in parameters[-2:]])
        gradients = {
            "first layer's gradient": parameters[0].grad,
            "last layer's gradients": last,
        }
        self.update.zero_grad()
        return {"logits": logits, "loss": loss, **gradients}

    def _backward(self) -> Tensor:
        loss = functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        return loss


class Attack(Job):
    def run(self) -> None:
        self._attack(self.uniform_start(), STEP_SIZE)

    def check(self, first_iterate: Any) -> Results:
        logits = self.logits(self.model, self.x)
        attacked, _ = self._attack(self.x, check_step_size(self.work.steps))
        return {"logits": logits, "adversarial images": attacked}

    def _attack(self, start: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
        """The adversarial images, and which are misclassified."""
        attacked = maximise(self.x, start, self._loss, step_size, self.work.steps)
        return attacked, self.logits(self.model, attacked).argmax(1) != self.y

    def _loss(self, x: Tensor) -> Tensor:
        return functional.cross_entropy(self.model(x), self.y)


class AutoAttack(Job):
    """The package of AutoAttack's authors, with the same iterations; it too goes on with what is left only."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str], config: str) -> None:
        if config == "compiled":
            raise RuntimeError("compiled for one batch size, and AutoAttack's batches shrink")
        super().__init__(work, checkpoints, config)
        self.y = self.logits(self.model, self.x).argmax(1)

    def run(self) -> None:
        self._attack()

    def check(self, first_iterate: Any) -> Results:
        attacked = self._attack()
        robust = (self.logits(self.model, attacked).argmax(1) == self.y).double().mean()
        return {"logits": self.logits(self.model, self.x), "robust samples": robust}

    def _attack(self) -> Tensor:
        from pyautoattack import AutoAttack as Published

        attack = Published(
            self.model, norm="Linf", eps=AUTOATTACK_EPSILON, version="custom", device="cpu", seed=0,
            attacks=["apgd-ce", "apgd-t", "fab-t", "square"],
        )  # fmt: skip
        attack.verbose = False
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = SHORT["steps"]
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = SHORT["targets"]
        attack.apgd.n_restarts = attack.apgd_targeted.n_restarts = attack.fab.n_restarts = 1
        attack.square.n_queries = SHORT["queries"]
        # Its code flattens images by view(), which channels_last images do not allow; the weights keep that format.
        found = attack.run_standard_evaluation(self.x.contiguous(), self.y, batch_size=self.work.batch)
        return found[0] if isinstance(found, tuple) else found


class Step(Job):
    """ARD or AdaAD with IGDM: inner maximisation, outer passes over x + d and x - d, update."""

    def __init__(self, work: Work, checkpoints: Mapping[str, str], config: str) -> None:
        super().__init__(work, checkpoints, config)
        self.update = self.optimiser()

    def run(self) -> None:
        self._losses(self._attack(self._start(), STEP_SIZE, self.work.steps))["loss"].backward()
        self.update.step()
        self.update.zero_grad()

    def check(self, first_iterate: Any) -> Results:
        start = torch.from_numpy(first_iterate).contiguous(memory_format=self.layout)
        attacked = self._attack(start, check_step_size(self.work.steps), self.work.steps - 1)
        logits = {
            "logits": self.logits(self.model, self.x),
            "teacher logits": self.logits(self.teacher, self.x),
        }
        losses = self._losses(self.adversarial)
        losses["loss"].backward()
        self.update.zero_grad()
        return {**logits, **losses, "adversarial images": attacked}

    def _start(self) -> Tensor:
        return self.x + 0.001 * torch.randn_like(self.x) if self.work.method == "adaad" else self.uniform_start()

    def _attack(self, start: Tensor, step_size: float, steps: int) -> Tensor:
        self.model.infer()
        return maximise(self.x, start, self._inner_loss, step_size, steps)

    def _inner_loss(self, x: Tensor) -> Tensor:
        if self.work.method == "adaad":
            return kl(self.teacher(x), self.model(x))
        return functional.cross_entropy(self.model(x), self.y)

    def _losses(self, attacked: Tensor) -> dict[str, Tensor]:
        mirrored = 2 * self.x - attacked
        with torch.no_grad():
            teacher = self.teacher(attacked)
            teacher_mirrored = self.teacher(mirrored)
            target = teacher if self.work.method == "adaad" else self.teacher(self.x)
        self.model.train()
        student, student_mirrored = self.model(attacked), self.model(mirrored)
        base = kl(target, student)
        igdm = kl(teacher - teacher_mirrored, student - student_mirrored)
        return {"loss": base + IGDM_WEIGHT * igdm, "base loss": base, "IGDM loss": igdm}


JOBS = {
    FORWARD: Forward,
    GRADIENT: Gradient,
    TRAINING: Training,
    ATTACK: Attack,
    AUTOATTACK: AutoAttack,
    STEP: Step,
}


def prepare(work: Work, checkpoints: Mapping[str, str], config: str, threads: int) -> Job:
    torch.set_num_threads(threads)
    return JOBS[work.kind](work, checkpoints, config)


def facts() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
    }


def maximise(
    x: Tensor,
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    step_size: float,
    steps: int,
) -> Tensor:
    """PGD in the L-infinity ball around x, inside [0,1]; differentiates by the input only."""
    low, high = (x - EPSILON).clamp_(min=0), (x + EPSILON).clamp_(max=1)
    attacked = start
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        attacked = torch.clamp(attacked.detach() + step_size * gradient.sign_(), low, high)
    return attacked


def kl(target: Tensor, model: Tensor) -> Tensor:
    """KL(softmax(target) || softmax(model)), mean over the batch."""
    return functional.kl_div(
        model.log_softmax(1),
        target.log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
