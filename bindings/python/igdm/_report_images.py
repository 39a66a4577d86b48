"""The images of a report: what attacks do to them, and by which pixels the models judge them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from ._arrays import Floats, Labels
from ._chart import colour
from ._contenders import Contender, Gallery
from ._png import data_url
from .attacks import attack
from .datasets import Dataset
from .models import Model

UP, DOWN = (0.76, 0.16, 0.22), (0.10, 0.35, 0.80)  # red and blue


def _shown(contenders: Sequence[Contender]) -> list[tuple[int, Contender, Model]]:
    return [(index, one, one.model) for index, one in enumerate(contenders) if one.model is not None]


def _chosen(gallery: Gallery) -> tuple[Floats, Labels]:
    chosen = gallery.first_of_each_class()
    return np.stack([gallery.data.read(index, 1)[0][0] for index in chosen]), gallery.data.labels[chosen]


def attacked_images(contenders: Sequence[Contender], gallery: Gallery) -> str:
    """The section with clean and attacked images."""
    shown, options = _shown(contenders), gallery.attack
    if not shown or options is None:
        return ""
    data = gallery.data
    images, labels = _chosen(gallery)
    attacked = [attack(model, images, labels, progress=False, **options).images for _, _, model in shown]
    largest = max(float(np.abs(result - images).max()) for result in attacked) or 1.0
    cards = []
    for i, label in enumerate(labels):
        blocks = [
            f'<div class="block">{_image(images[i], "clean image")}<div class="says">'
            f'<b>{escape(data.class_names[label])}</b><span class="kind truth">true class</span></div></div>'
        ]
        for (index, one, model), result in zip(shown, attacked, strict=True):
            change = 0.5 + (result[i] - images[i]) / (2 * largest)
            logits = model.predict(np.stack([images[i], result[i]]))
            blocks.append(
                f'<div class="block {colour(index)}">{_image(result[i], "attacked image")}'
                f'{_image(change, "perturbation")}<div class="says"><b>{escape(one.name)}</b>'
                f"{_verdict('clean', logits[0], int(label), data)}{_verdict('attacked', logits[1], int(label), data)}"
                "</div></div>"
            )
        cards.append(f'<div class="card sample">{"".join(blocks)}</div>')
    return (
        f'<h2>What the attacks look like</h2><p class="note">For each class the first image of the data: clean, '
        f"attacked with {escape(gallery.attack_name)} against each model, and the change, amplified so that grey is "
        f"none and black and white are the largest ({largest:.3g}). Predictions with their probability: "
        f'<span class="right">✓&nbsp;right</span>, <span class="wrong">✗&nbsp;wrong</span>.</p>'
        f'<div class="samples">{"".join(cards)}</div>'
    )


def input_gradients(contenders: Sequence[Contender], gallery: Gallery) -> str:
    """The section with the input gradients of teacher and contenders side by side."""
    shown = [(index, one, model) for index, one, model in _shown(contenders) if model is not gallery.teacher]
    if gallery.teacher is None or not shown:
        return ""
    images, labels = _chosen(gallery)
    guide = loss_gradient(gallery.teacher, images, labels)
    gradients = [loss_gradient(model, images, labels) for _, _, model in shown]
    cards = []
    for i, label in enumerate(labels):
        tiles = [
            _tile(_image(images[i], "image"), gallery.data.class_names[label], "image"),
            _tile(_image(gradient_map(guide[i]), "input gradient of the teacher"), "teacher", "gradient"),
        ]
        for (index, one, _), gradient in zip(shown, gradients, strict=True):
            picture = _image(gradient_map(gradient[i]), f"input gradient of {one.name}")
            tiles.append(_tile(picture, one.name, f"cosine {cosine(guide[i], gradient[i]):.3f}", colour(index)))
        cards.append(f'<div class="card maps">{"".join(tiles)}</div>')
    return (
        '<h2>Input gradients beside the teacher\'s</h2><p class="note">Gradient of the cross-entropy by the pixels of '
        'the same images, summed over channels: <span class="wrong">red</span> where a brighter pixel raises the loss, '
        '<span class="blue">blue</span> where it lowers it, each map scaled by its own largest values. Below, the '
        f'cosine with the teacher\'s gradient.</p><div class="samples twice">{"".join(cards)}</div>'
    )


def loss_gradient(model: Model, images: Floats, labels: Labels) -> Floats:
    """The gradient of each sample's cross-entropy by its image, shaped as the images."""
    logits = model.predict(images).astype(np.float64)
    likely = np.exp(logits - logits.max(1, keepdims=True))
    likely /= likely.sum(1, keepdims=True)
    likely[np.arange(len(labels)), labels] -= 1
    return model.input_gradient(images, likely.astype(np.float32))


def cosine(one: Floats, other: Floats) -> float:
    """Of the angle between two gradients; 0 where one of them is 0."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def gradient_map(gradient: Floats) -> NDArray[np.float64]:
    """A gradient (C, H, W) as an image (3, H, W): white is 0, full red and blue are its largest values; the largest
    hundredth is cut, so that single pixels do not make all others pale."""
    values = gradient.astype(np.float64).sum(0)
    scale = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    share = np.clip(values / scale, -1, 1)
    ends = np.where(share[None] >= 0, np.reshape(UP, (3, 1, 1)), np.reshape(DOWN, (3, 1, 1)))
    return np.asarray(1 + np.abs(share)[None] * (ends - 1))


def _tile(picture: str, title: str, about: str, own: str = "") -> str:
    return (
        f'<figure class="{own}">{picture}<figcaption><b>{escape(title)}</b><span class="soft">{escape(about)}</span>'
        "</figcaption></figure>"
    )


def _image(image: NDArray[np.floating], description: str) -> str:
    said = escape(description)
    return f'<img src="{data_url(image)}" alt="{said}" title="{said}">'


def _verdict(state: str, logits: Floats, label: int, data: Dataset) -> str:
    exponentials = np.exp(logits - logits.max())
    predicted = int(logits.argmax())
    percent = 100 * exponentials[predicted] / exponentials.sum()
    kind, sign = ("right", "✓") if predicted == label else ("wrong", "✗")
    return (
        f'<span class="kind">{state}</span><span class="{kind}">{sign} {escape(data.class_names[predicted])}, '
        f"{percent:.0f}&nbsp;%</span>"
    )
