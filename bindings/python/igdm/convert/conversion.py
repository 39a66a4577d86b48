"""The conversion itself: any known file to a model, any model to a known file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._arrays import Floats
from ..errors import FormatError, InvalidArgument, LibraryError
from ..models import Model
from . import files, hdf5, keras, onnx, pytorch, safetensors, weight_map
from .assembly import EPSILON, assemble, fill
from .detection import Table
from .entries import Source
from .options import Options

Path_ = str | os.PathLike[str]
Reference = Callable[[Floats], ArrayLike]


@dataclass
class Conversion:
    """What was done. Prints as a short summary."""

    source: str
    source_format: str
    source_sha256: str | None
    architecture: str
    classes: int
    input_shape: tuple[int, int, int]
    parameter_count: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    notes: list[str] = field(default_factory=list)
    """What was converted or assumed."""
    destination: str | None = None
    destination_format: str | None = None
    worst_difference: float | None = None
    """Of our logits from the source's, relative to the largest of these; None where the source was not run."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        scale = "none" if self.mean is None or self.std is None else f"mean {_list(self.mean)}; std {_list(self.std)}"
        image = "x".join(map(str, self.input_shape))
        rows = {
            "source": f"{self.source} ({self.source_format})",
            "sha256": self.source_sha256,
            "architecture": f"{self.architecture}, {self.classes} classes, input {image}",
            "parameters": f"{self.parameter_count:,}",
            "normalisation": scale,
            "logits": None if self.worst_difference is None else f"within {self.worst_difference:.1e} of the source's",
            "written": None if self.destination is None else f"{self.destination} ({self.destination_format})",
        }
        lines = [f"{name + ':':16}{value}" for name, value in rows.items() if value is not None]
        return "\n".join(lines + [f"{'note:':16}{note}" for note in self.notes])


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def load(source: Path_, **options: Any) -> Model:
    """The model in a file of any known format. `options` are the members of Options."""
    return _load(Path(source), Options(**options))[0]


def load_weights(model: Model, source: Path_, **options: Any) -> list[str]:
    """Replaces all weights of a model, of whatever architecture or layer graph, by those in a file, or none.

    options  key, weight_map, ignore, bn_epsilon and allow_not_finite of Options; files of Keras need a map
    Returns notes of what was converted.
    """
    given, path, notes = Options(**options), Path(source), list[str]()
    known = ("key", "weight_map", "ignore", "bn_epsilon", "allow_not_finite")
    if wrong := [name for name in options if name not in known]:
        raise InvalidArgument(f"{wrong[0]}: the model says it; want only {', '.join(known)}")
    format_ = files.container(path)
    if format_ == "hdf5" and keras.is_keras(path):
        if given.weight_map is None:
            raise InvalidArgument(f"weight_map: got none, and {path} is of Keras")
        format_ = "keras"
    with _reading(path, format_, given, notes) as (found, given):
        fill(model, found, given, notes)
    return notes


def convert(
    source: Path_,
    destination: Path_,
    *,
    to: str | None = None,
    reference: Reference | None = None,
    reference_inputs: ArrayLike | None = None,
    template: Path_ | None = None,
    **options: Any,
) -> Conversion:
    """Writes the model in `source` to `destination`, which is replaced as a whole or, on an error, left as it was.

    to                what to write: "checkpoint", "pytorch", "safetensors", "keras" or "onnx"; as the destination's
                      ending says where left out
    reference         computes the source's logits (N, classes) from images (N, C, H, W) in [0,1]. Ours are compared
                      with them (MismatchError beyond 1e-4 of the largest); a checkpoint keeps both as its golden block
    reference_inputs  the images to compare; 4 of noise where left out
    template          for "keras": a file of Keras for such a model, whose weights are replaced in the copy written
    options           the members of Options
    """
    origin, target, given = Path(source), Path(destination), Options(**options)
    kind = files.destination_format(target, to)
    if files.is_same(target, origin):
        raise InvalidArgument(f"destination: {target} is the source itself")
    if kind != "keras" and template is not None:
        raise InvalidArgument(f'template: got one, but writes "{kind}"; templates are for "keras"')
    # What a map and an epsilon say is said of the Keras side.
    told = Options(dataset=given.dataset, allow_not_finite=given.allow_not_finite) if kind == "keras" else given
    model, done = _load(origin, told)
    if kind == done.source_format == "checkpoint":
        raise InvalidArgument(f"source: {origin} is an igdm checkpoint already")
    if reference is not None:
        _compare(model, reference, reference_inputs, done)
    if kind == "checkpoint":
        model.save(target)
    elif kind == "pytorch":
        pytorch.write(model, target)
    elif kind == "safetensors":
        safetensors.write(model, target)
    elif kind == "onnx":
        onnx.write(model, target)
    else:
        _write_keras(model, target, given, template, done.notes)
    if kind in ("pytorch", "keras") and model.info.mean is not None:
        done.notes.append("mean and std are no part of the file written: normalise images before the network")
    done.destination, done.destination_format = str(target), kind
    return done


def _write_keras(model: Model, target: Path, given: Options, template: Path_ | None, notes: list[str]) -> None:
    if template is None and (given.weight_map is None or given.bn_epsilon is None):
        raise InvalidArgument(
            "template: got none; Keras's weights are written into a copy of a file that Keras made, or to the places "
            "of a weight map with bn_epsilon"
        )
    pattern = None if template is None else Path(template)
    given = replace(given, architecture=model.info.architecture, final_bn=model.info.final_bn)
    if pattern is not None:
        if files.container(pattern) != "hdf5":
            raise FormatError(f"template: {pattern} is no HDF5 file")
        given = keras.with_epsilon(pattern, given, notes)
    places = (
        keras.automatic_map(pattern, given)
        if pattern is not None and given.weight_map is None
        else weight_map.weight_map(given.weight_map or {})
    )
    keras.write(model, target, places, (given.bn_epsilon or EPSILON) - EPSILON, pattern)


def from_torch_module(
    module: Any,
    destination: Path_ | None = None,
    *,
    inputs: ArrayLike | None = None,
    module_normalises: bool = False,
    source: str = "PyTorch module",
    **options: Any,
) -> tuple[Model, Conversion]:
    """The model that computes what a torch.nn.Module computes: its weights, and a comparison on images that both see.

    module             takes images (N, C, H, W) and gives logits; it is in inference mode for the call
    destination        a checkpoint to write, with the images and the module's logits as its golden block
    inputs             images in [0,1] to compare; 4 of noise where left out
    module_normalises  whether the module itself subtracts `mean` and divides by `std`. Where it does so by buffers in
                       its state_dict (mu and sigma, mean and std, normalize.*) they are found: leave mean and std out
    source             for the checkpoint's metadata
    options            the members of Options
    """
    torch = files.required("torch")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: got {type(module).__name__}, want torch.nn.Module")
    given, notes = Options(**options).with_known(), list[str]()
    model = assemble(Source("pytorch", pytorch.of_state_dict(module.state_dict())), given, notes)
    model.metadata["source"] = given.robustbench or source
    _describe(model, given)
    done = _conversion(source, "module", None, model, notes)
    outside = given.mean is not None and not module_normalises and model.info.mean is not None

    def reference(images: Floats) -> ArrayLike:
        mean, std = (
            np.array(v or d, np.float32).reshape(-1, 1, 1) for v, d in ((model.info.mean, 0), (model.info.std, 1))
        )
        batch = torch.from_numpy((images - mean) / std if outside else images.copy())
        example = next(module.parameters())
        training = module.training
        module.eval()
        try:
            with torch.no_grad():
                logits = module(batch.to(example.device, example.dtype))
        finally:
            module.train(training)
        found: Floats = logits.detach().to("cpu", torch.float32).numpy()
        return found

    _compare(model, reference, inputs, done)
    if destination is not None:
        model.save(destination)
        done.destination, done.destination_format = str(destination), "checkpoint"
    return model, done


def draft_weight_map(
    source: Path_, architecture: str, classes: int, channels: int = 3, width: int | None = None, final_bn: bool = False
) -> dict[str, Any]:
    """A weight map for a file of Keras, to be read before it is used: layers of one kind are paired with ours in the
    order in which they were made. The arguments are those of igdm.Model."""
    table = Table(architecture, final_bn)
    unit = table.factor or width
    if unit is None:
        with Model(architecture, classes=classes, input_shape=(channels, 64, 64)) as model:
            unit = model.info.width
    return weight_map.to_json(keras.draft_map(Path(source), table, table.shapes(classes, channels, unit)))


def _load(path: Path, given: Options) -> tuple[Model, Conversion]:
    format_, digest, notes = files.container(path), files.sha256(path), list[str]()
    model = None
    if format_ == "hdf5":
        format_, model = _checkpoint(path, given)
    if model is None:
        given = given.with_known()
        with _reading(path, format_, given, notes) as (source, known):
            model = assemble(source, known, notes)
        model.metadata["source"] = given.robustbench or path.name
        model.metadata["source_sha256"] = digest
        model.metadata["source_format"] = format_
        _describe(model, given)
    return model, _conversion(str(path), format_, digest, model, notes)


def _describe(model: Model, given: Options) -> None:
    from .. import __version__

    if given.dataset is not None:
        model.metadata["dataset"] = given.dataset
    model.metadata["converter"] = f"igdm {__version__}"


def _checkpoint(path: Path, given: Options) -> tuple[str, Model | None]:
    """What kind of HDF5 file it is; a checkpoint of ours as a model, which needs no h5py."""
    if given.weight_map is not None:
        return ("keras" if keras.is_keras(path) else "hdf5"), None
    try:
        model = Model.load(path, allow_not_finite=given.allow_not_finite)
    except FormatError as error:
        try:
            with hdf5.opened(path) as file, hdf5.undamaged(path):
                ours = file.attrs.get("format") in (b"igdm", "igdm")
        except LibraryError:
            ours = True
        if ours:
            raise error from None
        return ("keras" if keras.is_keras(path) else "hdf5"), None
    free = ("dataset", "ignore", "allow_not_finite")
    told = [name for name, value in vars(given).items() if name not in free and value is not None]
    if told:
        raise InvalidArgument(f"{told[0]}: {path} is an igdm checkpoint, which says itself what it is")
    return "checkpoint", model


@contextmanager
def _reading(path: Path, format_: str, given: Options, notes: list[str]) -> Iterator[tuple[Source, Options]]:
    """The source, and the options with what only its format tells."""
    if format_ != "pytorch" and given.key is not None:
        raise InvalidArgument(f'key: got "{given.key}", but {path} is no PyTorch file')
    if format_ in ("pytorch", "safetensors") and given.weight_map is not None:
        raise InvalidArgument(f"weight_map: got one, but {path} is no HDF5 file")
    if format_ == "pytorch":
        with pytorch.reading(path, given.key) as source:
            yield source, given
    elif format_ == "safetensors":
        with safetensors.reading(path) as source:
            yield source, given
    else:
        places = None if given.weight_map is None else weight_map.weight_map(given.weight_map)
        if format_ == "keras":
            given = keras.with_epsilon(path, given, notes)
            if places is None:
                places = keras.automatic_map(path, given)
        with hdf5.reading(path, places) as source:
            yield replace(source, format=format_), given


def _compare(model: Model, reference: Reference, inputs: ArrayLike | None, done: Conversion) -> None:
    """Runs the source, gives the model its golden block, and raises MismatchError where the logits differ."""
    if inputs is None:
        inputs = np.random.default_rng(0).random((4, *model.info.input_shape), np.float32)
    images = np.ascontiguousarray(inputs, dtype=np.float32)
    logits = np.ascontiguousarray(reference(images.copy()), dtype=np.float32)
    model.set_golden(images, logits, f"{done.source}, run at its conversion")
    done.worst_difference = model.verify().worst_difference


def _conversion(source: str, format_: str, digest: str | None, model: Model, notes: list[str]) -> Conversion:
    info = model.info
    return Conversion(
        source=source, source_format=format_, source_sha256=digest, architecture=info.architecture,
        classes=info.classes, input_shape=info.input_shape, parameter_count=info.parameter_count, mean=info.mean,
        std=info.std, notes=notes,
    )  # fmt: skip
