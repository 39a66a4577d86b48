"""What published attacks and igdm's are both let loose on: the teacher in examples/data, also as a PyTorch module, and
a ResNet-18 that igdm trains for a minute."""

from __future__ import annotations

from pathlib import Path

import igdm
import numpy as np
import torch
from twin import twin

TEACHER = Path(__file__).resolve().parents[2] / "examples" / "data" / "fashion_teacher.h5"
RADIUS = {"linf": 0.1, "l2": 1.0, "l1": 8.0}
RADIUS_RESNET18 = {"linf": 4 / 255, "l2": 0.5, "l1": 12.0}


def colourful(images: np.ndarray) -> np.ndarray:
    """Fashion-MNIST as red, green and blue of different brightness, padded to 32×32."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.concatenate([padded, 0.8 * padded, 0.5 + 0.5 * padded], axis=1).astype(np.float32)


def resnet18() -> igdm.Model:
    """For colourful() images; the same each time on one kind of processor."""
    images, labels = igdm.datasets.fashion_mnist().train.read(0, 1024)
    model = igdm.Model("resnet18", classes=10, input_shape=(3, 32, 32), seed=0)
    eps = RADIUS_RESNET18["linf"]
    igdm.distill(
        model, None, igdm.datasets.from_arrays(colourful(images), labels, classes=10), method="pgd-at", eps=eps,
        step=eps, steps=1, epochs=2, batch_size=64, learning_rate=0.05, schedule="onecycle", flip=False,
        crop_padding=0, progress=False,
    )  # fmt: skip
    return model


class Recorder(torch.nn.Module):
    """A module that keeps what it was given, and computes in float64."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module.double()
        self.seen: list[np.ndarray] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.detach().numpy().copy())
        return self.module(images.double())


def recorder() -> Recorder:
    # The wrapper too: torchattacks puts a model back into the mode in which it finds the outermost module.
    return Recorder(twin(igdm.Model.load(TEACHER)).requires_grad_(False)).eval()


def host_of(model: Recorder) -> igdm.HostModel:
    """The same module for igdm."""

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.tensor(images)).float().numpy()

    def gradient(images: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        x = torch.tensor(images, requires_grad=True)
        return torch.autograd.grad(model.module(x.double()), x, torch.tensor(cotangent).double())[0].numpy()

    return igdm.HostModel(forward, gradient, classes=10, input_shape=(1, 28, 28))


def correct_samples(model: Recorder, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` test images that the model classifies correctly."""
    images, labels = igdm.datasets.fashion_mnist().test.read(0, 2 * count)
    with torch.no_grad():
        right = model(torch.from_numpy(images)).argmax(1).numpy() == labels
    return images[right][:count].copy(), labels[right][:count].copy()
