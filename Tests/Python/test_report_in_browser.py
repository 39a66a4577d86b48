"""`python -m igdm report`: what it compares, and how its page looks in a browser, wide and narrow, light and dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import igdm
import numpy as np
import pytest
from browser import Browser
from conftest import CLASSES, TRAINING, make_arrays, make_model
from igdm import __main__ as command_line
from igdm import comparison
from igdm._report_images import cosine, gradient_map, loss_gradient
from PIL import Image

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def folders(teacher: igdm.Model, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs with and without IGDM, from two seeds, and one of another method."""
    import h5py

    root = tmp_path_factory.mktemp("runs")
    images, labels = make_arrays(96)
    with h5py.File(root / "data.h5", "w") as file:
        file["images"], file["labels"] = images, labels
    data = igdm.datasets.hdf5(root / "data.h5", classes=CLASSES)
    teacher.save(root / "teacher.h5")
    guide = igdm.Model.load(root / "teacher.h5")
    made = []
    jobs = [("ard", alpha, seed) for seed in SEEDS for alpha in (0.0, 2.0)] + [("pgd-at", 0.0, 0)]
    for method, alpha, seed in jobs:
        folder = root / f"{method}-{alpha:g}-{seed}"
        options = dict(TRAINING, method=method, igdm=alpha, mirror="clip", seed=seed, epochs=5)
        igdm.distill(
            make_model(seed), guide if method == "ard" else None, data[:80], validation=data[80:], run_dir=folder,
            **options,
        )  # fmt: skip
        made.append(folder)
    return made


@pytest.fixture(scope="module")
def page(folders: list[Path]) -> Path:
    path = folders[0].parent / "page.html"
    status = command_line.main(
        ["report", *map(str, folders), "--output", str(path), "--attacks", "fgsm,pgd-2", "--quiet"]
    )
    assert status == 0
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize("several", [True, False], ids=["several runs", "one run"])
def test_the_page_in_a_browser(
    browser: Browser, folders: list[Path], page: Path, tmp_path: Path, width: int, scheme: str, several: bool
) -> None:
    shown = page
    if not several:
        shown = tmp_path / "one.html"
        comparison.write_comparison(shown, folders[1:2], attacks=["fgsm", "pgd-2"], progress=False)
    browser.open(shown, width, scheme)
    assert browser.complaints == []
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    # What is wider than the page scrolls within its card.
    sticking_out = """[...document.querySelectorAll("main *")].filter(one => !one.closest(".scroll")
        && one.getBoundingClientRect().right > innerWidth + 0.5).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.ask(sticking_out) == []
    loaded = "[...document.images].filter(one => !one.complete || one.naturalWidth === 0).length"
    assert browser.ask(loaded) == 0
    assert browser.ask("document.images.length") > 0
    colour, text = (browser.ask(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))

    def brightness(rgb: str) -> int:
        return sum(int(part) for part in rgb.strip("rgb()").split(","))

    assert (brightness(colour) > brightness(text)) == (scheme == "light")
    kept = os.environ.get("IGDM_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path
    picture = folder / f"report-{'several' if several else 'one'}-{width}-{scheme}.png"
    browser.screenshot(picture)
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape[1] == width and pixels.shape[0] > 1500
    assert pixels.std() > 5, "an empty page"


def test_the_browser_would_complain(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(
        '<!doctype html><body style="width: 3000px"><script>console.error("a"); throw Error("b")</script>'
        '<img src="http://127.0.0.1:1/none.png"><p>wide</p>'
    )
    browser.open(broken, 400, "light")
    assert any("'a'" in one for one in browser.complaints)
    assert any("Error: b" in one for one in browser.complaints)
    assert any("none.png" in one for one in browser.complaints)
    assert browser.ask("document.documentElement.scrollWidth") > 400


def test_runs_are_compared_with_their_base(folders: list[Path], page: Path) -> None:
    contenders = comparison.write_comparison(
        page.with_name("again.html"), folders, attacks="pgd-2", radii=[], count=16, progress=False
    )
    names = ["ARD, ard-0-0", "ARD + IGDM, ard-2-0", "ARD, ard-0-1", "ARD + IGDM, ard-2-1", "PGD-AT", "teacher"]
    assert [one.name for one in contenders] == names
    assert [one.base and one.base.name for one in contenders] == [None, names[0], None, names[2], None, None]
    text = page.with_name("again.html").read_text()
    gains = []
    for old, new in ((0, 1), (2, 3)):
        before, after = (contenders[i].evaluation.accuracy["pgd-2"] for i in (old, new))
        gains.append(100 * (after - before))
        assert f">{gains[-1]:+.2f}</td>" in text
        assert contenders[new].evaluation.gradient_cosine is not None
    assert f"{np.mean(gains):+.2f}" in text
    assert f"± {np.std(gains, ddof=1):.2f}" in text
    assert "mean of 2 differences" in text
    assert "Accuracy over the radius" not in text


def test_the_order_of_runs_does_not_matter(folders: list[Path], tmp_path: Path) -> None:
    contenders = comparison.write_comparison(
        tmp_path / "r.html", [folders[1], folders[0]], attacks=[], radii=[], progress=False
    )
    assert contenders[0].base is not None and contenders[0].base.name == "ARD"


def test_what_a_report_refuses(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["report", str(tmp_path)]) == 1
    assert "no config.json" in capsys.readouterr().err
    assert command_line.main(["report", str(folders[0]), "--checkpoint", "average"]) == 1
    assert "has no average.h5" in capsys.readouterr().err
    with pytest.raises(igdm.InvalidArgument, match="folders"):
        comparison.write_comparison(tmp_path / "r.html", [])


def test_gradients_are_those_of_the_cross_entropy(teacher: igdm.Model) -> None:
    images, labels = make_arrays(4)
    gradient = loss_gradient(teacher, images, labels)
    direction = np.random.default_rng(3).normal(size=images.shape).astype(np.float32)

    def losses(batch: np.ndarray) -> np.ndarray:
        logits = teacher.predict(batch).astype(np.float64)
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(4), labels]

    inside = np.clip(images, 0.01, 0.99)
    gradient = loss_gradient(teacher, inside, labels)
    step = 2e-3
    numeric = (losses(inside + step * direction / 10) - losses(inside - step * direction / 10)) / (2 * step / 10)
    np.testing.assert_allclose((gradient * direction).sum((1, 2, 3)), numeric, rtol=0.05, atol=0.02)
    assert cosine(gradient[0], 2 * gradient[0]) == pytest.approx(1)
    assert cosine(gradient[0], -gradient[0]) == pytest.approx(-1)
    assert cosine(gradient[0], np.zeros_like(gradient[0])) == 0


def test_a_gradient_map_shows_signs() -> None:
    gradient = np.zeros((2, 1, 3), np.float32)
    gradient[:, 0, 0], gradient[:, 0, 1] = 1, -1
    red, blue, white = gradient_map(gradient)[:, 0].T
    assert red[0] > red[2] and blue[2] > blue[0]
    np.testing.assert_array_equal(white, 1)
    np.testing.assert_array_equal(gradient_map(np.zeros((3, 2, 2), np.float32)), 1)
