"""What distribution.py and autoattack.py share: where modules and documents are, names of norms, and results that are
kept one by one, so that another machine goes on from the committed file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bindings" / "python"), str(ROOT / "Tests" / "Parity")]

import igdm  # noqa: E402
import torch  # noqa: E402
from fashion import TEACHER  # noqa: E402
from igdm.runs import write_json  # noqa: E402
from random_attacks import Comparison  # noqa: E402

DOCUMENT = ROOT / "docs" / "attacks.md"
SYMBOLS = {"linf": "L∞", "l2": "L2", "l1": "L1"}

# The passes are igdm's, which uses all cores; what is left for PyTorch is too little to share.
torch.set_num_threads(1)


class Results:
    """By key, with the digests of the networks that they are of. Results on another teacher count for nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        teacher = igdm.Model.load(TEACHER).digest()
        kept = json.loads(path.read_text()) if path.exists() else {}
        is_same = kept.get("networks", {}).get("small") == teacher
        self._networks: dict[str, str] = kept["networks"] if is_same else {"small": teacher}
        self.values: dict[str, Any] = kept["results"] if is_same else {}
        self._comparisons: dict[str, Comparison] = {}

    def comparison(self, image_count: int, network: str = "small") -> Comparison:
        """The network with its images, made once. Ends the program where it is not the one that results are of."""
        if network not in self._comparisons:
            made = self._comparisons[network] = Comparison(image_count, network)
            if self._networks.setdefault(network, made.model.digest()) != made.model.digest():
                raise SystemExit(f"{network}: this machine trains another one than {self._path.name} is of")
        return self._comparisons[network]

    def keep(self, key: str, value: Any) -> None:
        self.values[key] = value
        write_json(self._path, {"networks": self._networks, "results": self.values})
