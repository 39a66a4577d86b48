"""What is shown while the library works: bars on terminals, lines elsewhere, nothing when not asked for."""

from __future__ import annotations

import io
from types import SimpleNamespace

import igdm
import pytest
from conftest import TRAINING, make_model
from igdm import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["tqdm", "plain"])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in the place of stderr, with tqdm or without it."""
    screen = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    if request.param == "plain":
        monkeypatch.setattr(progress, "tqdm", None)
        monkeypatch.setattr(progress._PlainBar, "_INTERVAL", 0)
    return screen


def test_bars_on_a_terminal(terminal: Terminal, teacher: igdm.Model, data: igdm.Dataset) -> None:
    igdm.distill(make_model(), teacher, data, validation=data, **TRAINING)
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown
    assert "/3" in shown
    assert "validation clean" in shown
    assert shown.count("\n") == 2  # what stays is one line for each epoch


def test_false_shows_nothing_on_a_terminal(terminal: Terminal, teacher: igdm.Model, data: igdm.Dataset) -> None:
    igdm.distill(make_model(), teacher, data, progress=False, **TRAINING)
    igdm.evaluate(teacher, data, attacks=[], progress=False)
    assert terminal.getvalue() == ""


def test_a_bar_does_not_stay_behind_an_exception(terminal: Terminal, teacher: igdm.Model, data: igdm.Dataset) -> None:
    with pytest.raises(ZeroDivisionError):
        igdm.distill(make_model(), teacher, data, callback=lambda _: 1 / 0, **TRAINING)
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown
    assert "\n" not in shown
    assert shown.endswith(("\r", "\r\x1b[K"))


def test_lines_elsewhere_when_asked_for(
    teacher: igdm.Model, data: igdm.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    igdm.distill(make_model(), teacher, data, progress=True, **TRAINING)
    igdm.evaluate(teacher, data, attacks=["fgsm"], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2", "clean", "fgsm"]
    assert "\r" not in err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (65, "1:05 min"), (7380, "2:03:00 h"), (-1, "0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
