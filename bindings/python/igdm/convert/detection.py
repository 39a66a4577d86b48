"""Which architecture weights are of, and with which options: told from names and shapes alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import InvalidArgument
from ..models import Model, architectures
from .entries import Entry, joined
from .names import compare

Shapes = Mapping[str, tuple[int, ...]]

# Widths in steps of this many give whole numbers of channels everywhere.
_STEP = 16
_CHANNELS = 5
# Blocks of a wide network's first group, in both families of names.
_FIRST_GROUP = re.compile(r"(?:block1\.layer|layer\.0\.block)\.(\d+)\.conv_?1\.weight")


class Table:
    """The parameters of an architecture for any width, number of classes and of channels.

    Only the first convolution knows the channels, only the last layer the classes. All other dimensions are constant or
    grow with the width (of a wide network with the K of its name), which small models tell: no large one need be made
    before the shapes of a file are known to fit.
    """

    def __init__(self, architecture: str, final_bn: bool = False) -> None:
        self.base, self.factor = split_name(architecture)
        self.final_bn = final_bn
        # With K = 1 the first group keeps its 16 channels and has no projection: another set of names.
        self.unit = _STEP if self.factor is None else min(self.factor, 2)
        self.small, self.is_preactivated = self._at(self.unit)
        self.stem = next(name for name, shape in self.small.items() if len(shape) == 4)
        self.head = next(name for name, shape in reversed(list(self.small.items())) if len(shape) == 2)

    def options_of(self, entries: Mapping[str, Entry]) -> dict[str, int]:
        """classes, channels and, where the name does not have it, width, as far as stem and head tell."""
        found = {}
        stem, head = (entries.get(name) for name in (self.stem, self.head))
        if head is not None and len(head.shape) == 2:
            found["classes"] = head.shape[0]
        if stem is not None and len(stem.shape) == 4:
            found["channels"] = stem.shape[1]
            if self.factor is None:
                found["width"] = stem.shape[0] * self.unit // self.small[self.stem][0]
        return found

    def shapes(self, classes: int, channels: int, width: int) -> Shapes:
        """Every parameter's shape; the width of a wide network is its K."""
        if width < 1:
            raise InvalidArgument(f"width: got {width}, want at least 1")
        step = _STEP if self.factor is None else 1
        # MobileNetV2 rounds parts of the width up: only whole steps are proportional.
        near = width if width < 2 * self.unit else self.unit + width % step
        wanted = dict(self._at(near)[0])
        if near != width:
            one, two = self._at(self.unit)[0], self._at(self.unit + step)[0]
            steps = (width - near) // step
            for name, shape in wanted.items():
                grown = zip(shape, one[name], two[name], strict=True)
                wanted[name] = tuple(size + steps * (after - before) for size, before, after in grown)
        wanted[self.stem] = (wanted[self.stem][0], channels, *wanted[self.stem][2:])
        wanted[self.head] = (classes, *wanted[self.head][1:])
        wanted[self.head.replace("weight", "bias")] = (classes,)
        return wanted

    def _at(self, width: int) -> tuple[Shapes, bool]:
        return _small(self.base, self.factor is not None, width, self.final_bn)


def split_name(architecture: str) -> tuple[str, int | None]:
    """("wrn_28", 10) for wrn_28_10, (name, None) for one without K."""
    found = re.fullmatch(r"((?:\w+_)?wrn_\d+)_(\d+)", architecture)
    return (found[1], int(found[2])) if found else (architecture, None)


@functools.cache
def _small(base: str, in_name: bool, unit: int, final_bn: bool) -> tuple[Shapes, bool]:
    """The parameters of a small model, and whether its weights leave open what its shortcuts see."""
    options: dict[str, Any] = {} if in_name else {"width": unit}
    if final_bn:
        options["final_bn"] = True
    name = f"{base}_{unit}" if in_name else base
    with Model(name, classes=2, input_shape=(_CHANNELS, 64, 64), **options) as model:
        return dict(model.parameters.shapes), model.info.shortcut_input is not None


def guess(entries: Mapping[str, Entry]) -> str:
    """The one architecture that has these names.

    Raises FormatError, with the difference, where one has nearly these names, and InvalidArgument where several have
    them or none does.
    """
    given = set(entries)
    tables = {name: Table(name, has_final_bn(name, entries)).small for name in _candidates(entries)}
    matches = [name for name, shapes in tables.items() if set(shapes) == given]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InvalidArgument(f"architecture: the weights' names are those of {joined(matches)}; say which")
    nearest = max(tables, key=lambda name: len(given & set(tables[name])))
    if len(given & set(tables[nearest])) > 0.8 * len(given | set(tables[nearest])):
        compare(entries, tables[nearest], f"{nearest}, the nearest architecture", shapes=False)
    raise InvalidArgument(
        f"architecture: the weights ({joined(entries, 4)}) are those of none of {', '.join(architectures())}; "
        "give the architecture to see what differs, or a weight map"
    )


def has_final_bn(architecture: str, entries: Mapping[str, Entry]) -> bool:
    """Whether weights of a pre-activation network have BatchNorm after the last block."""
    return architecture.startswith("preact_") and "bn.weight" in entries


def _candidates(entries: Mapping[str, Entry]) -> Iterator[str]:
    for pattern in architectures():
        if "_D_K" not in pattern:
            yield pattern
            continue
        blocks = {int(found[1]): entry for name, entry in entries.items() if (found := _FIRST_GROUP.fullmatch(name))}
        if blocks and len(blocks) == max(blocks) + 1 <= 100 and blocks[0].shape[:1]:
            factor = blocks[0].shape[0] // 16
            if 1 <= factor <= 64:
                yield pattern.replace("_D_K", f"_{6 * len(blocks) + 4}_{factor}")
