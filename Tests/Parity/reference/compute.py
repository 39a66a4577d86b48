"""Results of the reference for each kind of case, as numpy arrays.

Weights and inputs are float32 numbers; the computation is float64 unless told otherwise, so that a comparison measures
the error of igdm and not of the reference. The derivative of a network with ReLU is not continuous: where an input of
a ReLU lies within rounding of 0, or a gradient whose sign is taken does, two correct programs may disagree by more than
any tolerance. `compute` measures how near each case comes to that (`Clearance`), and for input gradients by how much
the units within rounding of their kink may change the result (`kink_allowance`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from cases import Arrays, AttackCase, Case, CurveCase, ModelCase, ModelSpec, StepCase
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reference import attacks, losses
from reference.networks import Classifier, network

# The order of summation, and so the last bits, depends on the number of threads.
torch.set_num_threads(1)

# What float32 may be off by at the input of a ReLU, as a part of the largest input of that layer.
ROUNDING = 5e-7


@dataclass
class Clearance:
    """How far a computation stays from the points where its result jumps, relative to the largest value there."""

    relu: float = np.inf
    sign: float = np.inf

    def watch(self, model: nn.Module) -> None:
        on_kinks(model, lambda values, _: self.at_relu(values))

    def at_relu(self, values: Tensor) -> None:
        self.relu = min(self.relu, relative_minimum(values))

    def at_sign(self, gradient: Tensor) -> None:
        self.sign = min([self.sign, *(relative_minimum(sample) for sample in gradient if sample.any())])


def on_kinks(model: Classifier, see: Callable[[Tensor, Tensor], None]) -> None:
    """Calls `see(values, output)` on each forward pass through a layer whose derivative jumps where a value is 0.

    A ReLU's values are its inputs. The maximum of a window is its second largest value + relu(largest - second), so
    the values of max pooling are these differences; where all of a window is 0 there is nothing to jump.
    """

    def see_pool(pool: nn.MaxPool2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        windows = functional.unfold(x, pool.kernel_size, padding=pool.padding, stride=pool.stride)
        largest = windows.view(len(x), x.shape[1], -1, windows.shape[2]).topk(2, dim=2).values
        first, second = (largest[:, :, place].view_as(output) for place in (0, 1))
        see(torch.where(first > 0, first - second, largest.max()), output)

    model.relu.register_forward_hook(lambda _, inputs, output: see(inputs[0], output))
    if isinstance(pool := getattr(model, "maxpool", None), nn.MaxPool2d):
        pool.register_forward_hook(see_pool)


def relative_minimum(values: Tensor) -> float:
    magnitude = values.detach().abs()
    return float(magnitude.min() / magnitude.max())


def empty(spec: ModelSpec) -> Classifier:
    """The network of a spec, with weights of PyTorch's choice."""
    normalisation = {} if not spec.normalised else {"mean": torch.tensor(spec.mean), "std": torch.tensor(spec.std)}
    form = {"shortcut_input": spec.shortcut_input or "activated", "final_bn": spec.final_bn}
    return network(spec.architecture, spec.shape[0], spec.classes, spec.width, **form, **normalisation)


def build(spec: ModelSpec, dtype: torch.dtype) -> Classifier:
    """The network with the weights of its spec, in inference mode."""
    model = empty(spec)
    state = model.state_dict()
    values = {name: torch.tensor(spec.parameter(name, tuple(state[name].shape))) for name in stored_names(model)}
    model.load_state_dict(state | values)
    return model.to(dtype).eval()


def stored_names(model: nn.Module) -> list[str]:
    """State-dict names without num_batches_tracked, which igdm does not store."""
    return [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def numbers(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().to(torch.float32, copy=True).numpy()


def compute(case: Case, dtype: torch.dtype = torch.float64) -> Arrays:
    """Everything the tests compare for `case`."""
    if isinstance(case, ModelCase):
        return model_results(case, dtype)
    if isinstance(case, AttackCase):
        return attack_results(case, dtype)
    if isinstance(case, CurveCase):
        return curve_results(case, dtype)
    return step_results(case, dtype)


def model_results(case: ModelCase, dtype: torch.dtype) -> Arrays:
    clearance = Clearance()
    model = build(case.model, dtype)
    clearance.watch(model)
    units: list[tuple[Tensor, Tensor]] = []
    on_kinks(model, lambda values, output: units.append((values, output)))
    images = torch.tensor(case.images, dtype=dtype, requires_grad=True)
    logits = model(images)
    target = (logits * torch.tensor(case.cotangent, dtype=dtype)).sum()
    (gradient,) = torch.autograd.grad(target, images, retain_graph=True)
    state = model.state_dict()
    names = stored_names(model)
    return {
        "names": np.array(names),
        "shapes": np.array(["x".join(map(str, state[name].shape)) for name in names]),
        "logits": numbers(logits),
        "gradient": numbers(gradient),
        "allowance": numbers(kink_allowance(target, images, units)),
        "clearance": np.array([clearance.relu, clearance.sign]),
    }


def kink_allowance(target: Tensor, images: Tensor, units: list[tuple[Tensor, Tensor]]) -> Tensor:
    """By how much d target / d images changes if every unit with its input within rounding of 0 switches sides.

    A unit with input z(x) and output r adds d target / d r * dz/dx where it is on, and nothing where it is off.
    """
    allowance = torch.zeros_like(images)
    if not units:
        return allowance
    slopes = torch.autograd.grad(target, [output for _, output in units], retain_graph=True)
    for (values, _), slope in zip(units, slopes, strict=True):
        inputs = values.flatten()
        near = inputs.detach().abs() < ROUNDING * inputs.detach().abs().max()
        for unit in near.nonzero()[:, 0]:
            (direction,) = torch.autograd.grad(inputs[unit], images, retain_graph=True)
            allowance += (slope.flatten()[unit] * direction).abs()
    return allowance


def attack_results(case: AttackCase, dtype: torch.dtype) -> Arrays:
    clearance = Clearance()
    model = build(case.model, dtype)
    clearance.watch(model)
    images = torch.tensor(case.images, dtype=dtype)
    labels = torch.tensor(case.labels)
    targets = None if case.targets is None else torch.tensor(case.targets, dtype=dtype)
    path = attacks.iterates(
        model,
        images,
        attacks.sample_losses(case.loss, labels, targets, case.kappa),
        case.norm,
        case.epsilon,
        case.epsilon if case.attack == "fgsm" else case.step,
        case.steps,
        on_gradient=clearance.at_sign if case.norm == "linf" else lambda _: None,
    )
    fooled = model(path[-1]).argmax(1) != labels
    return {
        "iterates": np.stack([numbers(x) for x in path]),
        "success": fooled.numpy().astype(np.uint8),
        "clearance": np.array([clearance.relu, clearance.sign]),
    }


class Training:
    """A training of a case in PyTorch: student, teachers, optimiser, schedule, averages."""

    def __init__(self, case: StepCase, dtype: torch.dtype) -> None:
        self.case = case
        self.dtype = dtype
        self.student = build(case.student, dtype)
        self.teacher = None if case.teacher is None else build(case.teacher, dtype)
        self.clean_teacher = self.teacher if case.clean_teacher is None else build(case.clean_teacher, dtype)
        self.clearance = Clearance()
        self.clearance.watch(self.student)
        self.balance = losses.Balance(case.balance_rate)
        self.optimiser = optimiser_for(case, self.student)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimiser, case.milestones, gamma=0.1)
        ema = torch.optim.swa_utils.get_ema_multi_avg_fn(case.ema_decay)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.student, multi_avg_fn=ema if case.average == "ema" else None, use_buffers=True
        )

    def tensor(self, values: NDArray) -> Tensor:
        return torch.tensor(values, dtype=self.dtype if values.dtype.kind == "f" else None)

    def step(self, step: int, adversarial: NDArray[np.float32]) -> Arrays:
        """One step, each an epoch: losses, gradients, weights after the update."""
        case = self.case
        x, adversarial, labels = map(self.tensor, (case.images(step), adversarial, case.labels(step)))
        mirrored = x - (adversarial - x)
        has_mirror = case.igdm > 0 and case.term != "trades-reg"
        outside = ((mirrored < 0) | (mirrored > 1)).double().mean() if has_mirror else 0.0
        if case.mirror == "clip":
            mirrored = mirrored.clamp(0, 1)
        theirs = None
        if self.teacher is not None:
            with torch.no_grad():
                theirs = losses.Logits(self.teacher(adversarial), self.clean_teacher(x), self.teacher(mirrored))
        weight = case.igdm * (step / case.epochs if case.ramp == "linear" else 1)

        def take(student: Classifier, balance: losses.Balance) -> tuple[losses.Logits, Tensor, Tensor]:
            student.train()
            student.zero_grad()
            ours = losses.Logits(
                student(adversarial),
                student(x) if losses.needs_clean(case) else None,
                mirrored_logits(student, mirrored, case.mirror_statistics) if has_mirror else None,
            )
            base = losses.base_loss(case, step, ours, theirs, labels, balance)
            igdm = losses.igdm_loss(case, ours, theirs) if case.igdm else torch.zeros((), dtype=self.dtype)
            (base + weight * igdm).backward()
            return ours, base.detach(), igdm.detach()

        before = [parameter.detach().clone() for parameter in self.student.parameters()]
        if case.awp:
            proxy = copy.deepcopy(self.student)
            take(proxy, copy.deepcopy(self.balance))
            climb(self.student, proxy, case.awp)
        ours, base, igdm = take(self.student, self.balance)
        with torch.no_grad():
            for parameter, value in zip(self.student.parameters(), before, strict=True):
                parameter.copy_(value)
        arrays = {f"gradient/{name}": numbers(one.grad) for name, one in self.student.named_parameters()}
        learning_rate = self.optimiser.param_groups[0]["lr"]
        if case.gradient_clip:
            nn.utils.clip_grad_norm_(self.student.parameters(), case.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        if case.average == "ema" or (case.average == "swa" and step >= case.swa_start):
            self.average.update_parameters(self.student)

        state = self.student.state_dict()
        arrays |= {f"updated/{name}": numbers(state[name]) for name in stored_names(self.student)}
        scalars = {
            "loss": base + weight * igdm,
            "base_loss": base,
            "igdm_loss": igdm,
            "igdm_weight": weight,
            "learning_rate": learning_rate,
            "adversarial_accuracy": (ours.adversarial.argmax(1) == labels).double().mean(),
            "mirror_outside": outside,
        }
        return arrays | {name: np.float64(value) for name, value in scalars.items()}

    def averages(self) -> Arrays:
        """The average's weights and statistics, and the statistics of the steps' images with those weights."""
        model = self.average.module
        state = model.state_dict()
        arrays = {f"average/{name}": numbers(state[name]) for name in stored_names(model)}
        batches = [self.tensor(self.case.images(step)) for step in range(1, self.case.steps + 1)]
        torch.optim.swa_utils.update_bn(batches, self.average)
        state = model.state_dict()
        running = [name for name in stored_names(model) if "running" in name]
        return arrays | {f"estimated/{name}": numbers(state[name]) for name in running}


def optimiser_for(case: StepCase, student: Classifier) -> torch.optim.Optimizer:
    if case.optimiser == "adamw":
        return torch.optim.AdamW(
            student.parameters(), case.learning_rate, (case.momentum, 0.999), 1e-8, case.weight_decay
        )
    return torch.optim.SGD(student.parameters(), case.learning_rate, case.momentum, 0, case.weight_decay, case.nesterov)


def climb(student: Classifier, proxy: Classifier, gamma: float) -> None:
    """Moves each layer's weights up the proxy's gradient by `gamma` times their length (arXiv 2004.05884)."""
    with torch.no_grad():
        for weight, other in zip(student.parameters(), proxy.parameters(), strict=True):
            if weight.dim() > 1:
                weight += gamma * weight.norm() * other.grad / (other.grad.norm() + 1e-20)


def step_results(case: StepCase, dtype: torch.dtype) -> Arrays:
    """`case.steps` training steps; the arrays of step k carry the prefix "k/"."""
    training = Training(case, dtype)
    results: Arrays = {}
    for step in range(1, case.steps + 1):
        arrays = training.step(step, case.adversarial(step))
        results |= {f"{step}/{name}": values for name, values in arrays.items()}
    if case.average != "none":
        results |= training.averages()
    return results | {"clearance": np.array([training.clearance.relu, training.clearance.sign])}


def curve_results(case: CurveCase, dtype: torch.dtype) -> Arrays:
    """The loss of each of many steps."""
    training = Training(case, dtype)
    return {
        "loss": np.array([training.step(step, case.adversarial(step))["loss"] for step in range(1, case.steps + 1)])
    }


def mirrored_logits(student: Classifier, mirrored: Tensor, moves_statistics: bool) -> Tensor:
    """S(x-d) with its own batch statistics, which move the running ones or not."""
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = norm.momentum if moves_statistics else 0.0
    logits = student(mirrored)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return logits
