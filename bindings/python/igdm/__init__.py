"""Adversarially robust distillation with Indirect Gradient Matching (Lee, Cho, Kim, ICLR 2025).

The whole job::

    import igdm
    data = igdm.datasets.fashion_mnist()
    teacher = igdm.Model.load("examples/data/fashion_teacher.h5")
    student = igdm.Model("resnet8", classes=10, input_shape=(1, 28, 28), width=8, seed=0)
    run = igdm.distill(student, teacher, data.train, validation=data.test,
                       method="ard", igdm=3.0, mirror="clip", mirror_statistics=False,
                       eps=0.1, step=0.025, steps=7, epochs=5)
    print(igdm.evaluate(student, data.test, attacks=["fgsm", "pgd-20", "cw"], eps=0.1, teacher=teacher))
    student.save("student.h5")

Conventions

- Images are (N, C, H, W), float32, each value in [0,1]. Normalisation lives inside the model, so eps and step are
  always on the [0,1] pixel scale; both also take strings such as "8/255".
- Arrays are used where they lie. Another dtype than float32 (TypeError) or a layout that is not C-contiguous
  (InvalidArgument) is refused with the conversion to use, never converted silently. Labels may have any integer dtype.
- None for an option means the library's default; no default is repeated here.
- Errors are IgdmError and its subclasses in igdm.errors, which are ValueError, FileNotFoundError and so on as well.
- An exception in a callback, Ctrl-C included, stops the call and comes out of it.
- The library's own messages go to ``logging.getLogger("igdm")``.
"""

from . import attacks, convert, datasets, errors, recipes, report, runs
from ._library import ask as _ask
from ._library import call as _call
from ._library import loaded_path as library_path
from ._structures import integer as _integer
from .attacks import Adversarial, attack
from .checkpoints import Description, describe
from .convert import export_onnx
from .corruptions import Corruptions, corrupt, evaluate_corruptions
from .datasets import Dataset, TrainTest
from .distillation import FitEvent, Position, Run, StepReport, Trainer, default_options, distill, methods
from .ensemble import AutoAttack, autoattack, benchmark
from .errors import (
    BusyError,
    Cancelled,
    FormatError,
    IgdmError,
    InputOutputError,
    InternalError,
    InvalidArgument,
    LibraryError,
    MismatchError,
    NotFiniteError,
    NotFoundError,
    OutOfMemory,
    ShapeError,
)
from .evaluation import Evaluation, evaluate
from .hosts import HostModel
from .linearity import local_linearity
from .models import Model, ModelInfo, Parameters, architectures
from .options import TrainingOptions
from .progress import Progress
from .provenance import Golden, Metadata, Verification
from .samples import save_samples
from .sweep import Sweep, sweep

__version__ = "0.1.0"


def set_threads(threads: int) -> None:
    """How many threads compute, 1 .. 256. Results do not depend on it."""
    _call("igdm_set_threads", _integer("threads", threads))


def get_threads() -> int:
    """The number of threads that compute."""
    return int(_ask("igdm_get_threads"))


def build_info() -> dict[str, str]:
    """Version and build of the C library, what it is linked with, the CPU path in use, and the file it came from."""
    info = {}
    for entry in _ask("igdm_build_info").split("; "):
        key, value = entry.split("=", 1)
        info[key] = value
    info["library"] = library_path()
    return info


__all__ = [
    "Adversarial",
    "AutoAttack",
    "BusyError",
    "Cancelled",
    "Corruptions",
    "Dataset",
    "Description",
    "Evaluation",
    "FitEvent",
    "FormatError",
    "Golden",
    "HostModel",
    "IgdmError",
    "InputOutputError",
    "InternalError",
    "InvalidArgument",
    "LibraryError",
    "Metadata",
    "MismatchError",
    "Model",
    "ModelInfo",
    "NotFiniteError",
    "NotFoundError",
    "OutOfMemory",
    "Parameters",
    "Position",
    "Progress",
    "Run",
    "ShapeError",
    "StepReport",
    "Sweep",
    "TrainTest",
    "Trainer",
    "TrainingOptions",
    "Verification",
    "architectures",
    "attack",
    "attacks",
    "autoattack",
    "benchmark",
    "build_info",
    "convert",
    "corrupt",
    "datasets",
    "default_options",
    "describe",
    "distill",
    "errors",
    "evaluate",
    "evaluate_corruptions",
    "export_onnx",
    "get_threads",
    "library_path",
    "local_linearity",
    "methods",
    "recipes",
    "report",
    "runs",
    "save_samples",
    "set_threads",
    "sweep",
]
