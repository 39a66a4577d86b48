"""Networks that igdm has as layer graphs only (docs/graph-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TransformerSpec:
    """A vision transformer (Dosovitskiy et al., arXiv 2010.11929) under timm's names."""

    name: str
    shape: tuple[int, int, int]
    patch: int
    width: int
    depth: int
    heads: int
    classes: int
    count: int = 2
    ratio: int = 4
    """Hidden numbers of a token's perceptron for each of its own."""

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.shape[1] // self.patch) * (self.shape[2] // self.patch) + 1

    def graph(self) -> dict[str, Any]:
        layers: list[dict[str, Any]] = []

        def layer(name: str, type: str, *inputs: str, **keys: object) -> str:
            layers.append({"name": name, "type": type, "inputs": list(inputs), **keys})
            return name

        patch = {"channels": self.width, "kernel": self.patch, "stride": self.patch, "bias": True}
        x = layer("patch_embed.proj", "conv", "input", **patch)
        x = layer("pos_embed", "position_embedding", layer("cls_token", "class_token", x))
        for index in range(self.depth):
            block = f"blocks.{index}"
            y = layer(f"{block}.norm1", "layer_norm", x, epsilon=1e-6)
            y = layer(f"{block}.attn.qkv", "token_linear", y, outputs=3 * self.width)
            y = layer(f"{block}.attn", "attention", y, heads=self.heads)
            y = layer(f"{block}.attn.proj", "token_linear", y, outputs=self.width)
            x = layer(f"{block}.sum1", "add", x, y)
            y = layer(f"{block}.norm2", "layer_norm", x, epsilon=1e-6)
            y = layer(f"{block}.mlp.fc1", "token_linear", y, outputs=self.ratio * self.width)
            y = layer(f"{block}.mlp.act", "gelu", y)
            y = layer(f"{block}.mlp.fc2", "token_linear", y, outputs=self.width)
            x = layer(f"{block}.sum2", "add", x, y)
        x = layer("token", "select_token", layer("norm", "layer_norm", x, epsilon=1e-6), index=0)
        output = layer("head", "linear", x, outputs=self.classes)
        return {"format": "igdm-graph", "version": 1, "input": list(self.shape), "layers": layers, "output": output}


DEIT_TINY = TransformerSpec("deit-tiny", (3, 224, 224), patch=16, width=192, depth=12, heads=3, classes=1000)
TRANSFORMERS = [
    TransformerSpec("vit-cifar", (3, 32, 32), patch=4, width=48, depth=4, heads=4, classes=10, count=4),
    TransformerSpec("vit-odd", (1, 15, 21), patch=3, width=30, depth=2, heads=5, classes=7, count=3, ratio=2),
    DEIT_TINY,
]
