"""Checkpoints of every format version there has been load, and mean what they meant."""

from __future__ import annotations

import json
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import CHECKOUT

FOLDER = CHECKOUT / "Tests" / "Formats"
FILES = sorted(FOLDER.glob("version-*.h5"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_computes_what_it_did(path: Path) -> None:
    wanted = np.array(json.loads(path.with_suffix(".json").read_text()), np.float32)
    assert path.stem == f"version-{igdm.describe(path).format_version}"
    model = igdm.Model.load(path)
    shape = (len(wanted), *model.info.input_shape)
    inputs = ((np.arange(np.prod(shape)) % 23) / 22).astype(np.float32).reshape(shape)
    np.testing.assert_allclose(model.predict(inputs), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_there_is_a_file_for_every_version(model: igdm.Model, tmp_path: Path) -> None:
    igdm.Model.from_graph(model.graph).save(tmp_path / "new.h5")
    newest = igdm.describe(tmp_path / "new.h5").format_version
    assert [path.stem for path in FILES] == [f"version-{number}" for number in range(1, newest + 1)]


def test_version_1_is_still_written_byte_for_byte(tmp_path: Path) -> None:
    """A model without what came later gives the file that it always gave."""
    path = FOLDER / "version-1.h5"
    igdm.Model.load(path).save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()
