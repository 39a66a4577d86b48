"""Weights from and to other programs' files.

::

    igdm.convert.convert("teacher.pt", "teacher.h5")                       # PyTorch, safetensors, Keras -> checkpoint
    igdm.convert.convert("student.h5", "student.safetensors")              # and back
    igdm.convert.convert("student.h5", "student.onnx")                     # for other runtimes (docs/onnx.md)
    igdm.convert.convert("Wang2023.pt", "teacher.h5", robustbench="Wang2023Better_WRN-28-10", dataset="cifar100")
    model, done = igdm.convert.from_torch_module(net, "teacher.h5")        # compared with the module on images

docs/converting.md has the whole of it; on a command line ``python -m igdm convert``. PyTorch, safetensors and h5py are
needed only for files of theirs.
"""

from .conversion import Conversion, convert, draft_weight_map, from_torch_module, load, load_weights
from .onnx import export_onnx
from .options import Options
from .robustbench import KnownModel, known_models

__all__ = [
    "Conversion",
    "KnownModel",
    "Options",
    "convert",
    "draft_weight_map",
    "export_onnx",
    "from_torch_module",
    "known_models",
    "load",
    "load_weights",
]
