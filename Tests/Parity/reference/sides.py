"""The reference on igdm's side of every kink.

At an input of 0 a ReLU's derivative may be 0 or 1. A unit whose input lies within rounding of 0 is on in one correct
computation and off in another, and each such unit changes the gradients of all layers before it by far more than any
tolerance. Full-size networks on images of full size have dozens of them, whatever the seed. So here the reference
takes, for these units alone, the side that igdm has taken; everything else is its own.

Which side that is, igdm's gradients tell. The gradient of the bias of the BatchNorm in front of a ReLU is, channel by
channel, the sum over the units that are on of what flows back to them. Going backwards through the network, this sum is
right but for the units of this very layer: the switches among a channel's doubtful units that bring it nearest to
igdm's are those that igdm has made. That uses up one number a channel, where there is a doubtful unit at all; the
gradients of the convolutions, thousands a channel, then have to agree in every layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reference.networks import Classifier

DOUBT = 1e-5
"""A unit is doubtful whose input is below this part of the largest of its layer: float32's rounding, summed over dozens
of layers with BatchNorm, stays below."""
_MOST_UNITS = 12


@dataclass
class Sides:
    """The sides of a network's units, chosen in its next backward pass."""

    gradients: Mapping[str, NDArray[Any]]
    """Igdm's, by parameter."""
    units: int = 0
    doubtful: int = 0
    switched: int = 0
    _norm: str = field(default="", repr=False)

    def watch(self, model: Classifier) -> None:
        """Makes the network's ReLUs choose."""
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(lambda *_, name=name: setattr(self, "_norm", name))
        model.relu.forward = lambda values: _ReLU.apply(values, self, self._norm)

    def choose(self, norm: str, values: Tensor, slope: Tensor) -> Tensor:
        """Which units are on: 1 or 0 for each.

        norm    the BatchNorm that came last before the ReLU: its biases are terms of the inputs and of nothing else
        values  the inputs
        slope   what flows back to the outputs
        """
        on = (values > 0).to(slope.dtype)
        doubtful = values.abs() < DOUBT * values.abs().max()
        self.units += values.numel()
        self.doubtful += int(doubtful.sum())
        wanted = torch.from_numpy(self.gradients[f"{norm}.bias"]).to(slope.dtype)
        left = wanted - (slope * on).sum(dim=(0, 2, 3))
        for channel in doubtful.any(dim=(0, 2, 3)).nonzero()[:, 0].tolist():
            places = [(n, channel, y, x) for n, y, x in doubtful[:, channel].nonzero().tolist()]
            places = sorted(places, key=lambda place: float(values[place].abs()))[:_MOST_UNITS]
            changes = [float(slope[place] * (1 - 2 * on[place])) for place in places]
            for index in _nearest(changes, float(left[channel])):
                on[places[index]] = 1 - on[places[index]]
                self.switched += 1
        return on


def _nearest(changes: list[float], wanted: float) -> Iterable[int]:
    """Which of the changes give, together, the sum nearest to what is wanted."""
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(len(changes)), count) for count in range(len(changes) + 1)
    )
    return min(subsets, key=lambda subset: abs(wanted - sum(changes[index] for index in subset)))


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, sides: Sides, norm: str) -> Tensor:
        ctx.save_for_backward(values)
        ctx.sides, ctx.norm = sides, norm
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (values,) = ctx.saved_tensors
        return slope * ctx.sides.choose(ctx.norm, values, slope), None, None
