"""report.html: self-contained, with the numbers, curves and images of what it reports."""

from __future__ import annotations

import base64
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import igdm
import numpy as np
import pytest
from conftest import TRAINING, make_model
from igdm import _chart, _png, report


class Page(HTMLParser):
    """Collects tags, their attributes and the text, and checks that tags are balanced."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str, wanted: str = "") -> int:
        return sum(1 for name, attributes in self.tags if name == tag and wanted in (attributes.get("class") or ""))


def decode_png(content: bytes) -> np.ndarray:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    position, chunks = 8, {}
    while position < len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        body = content[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", content[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        position += 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    channels = {0: 1, 2: 3}[colour]
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7)).astype(np.uint8)
    url = _png.data_url(image.astype(np.float32) / 255)
    shown = image if channels == 3 else image[:1]
    np.testing.assert_array_equal(decode_png(base64.b64decode(url.split(",")[1])), shown.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (63.2, 68.9), (0.001, 0.0013), (5.0, 5.0), (0.0, 0.0), (-3.0, 900.0)]
)
def test_ticks_are_few_round_and_enclose(low: float, high: float) -> None:
    ticks = _chart._ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 7
    assert all(float(f"{tick:.4g}") == pytest.approx(tick) for tick in ticks)


def test_a_chart_leaves_gaps_where_nothing_was_measured() -> None:
    chart = _chart.line_chart("a < b", [_chart.Series("one", 0, [0.5, None, float("nan"), 0.7])], percent=True)
    assert chart.count("<circle") == 2
    assert "a &lt; b" in chart
    assert "nan" not in chart


def test_a_comparison(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    contenders = []
    for name, alpha in (("base", 0.0), ("base & IGDM", 2.0)):
        student = make_model()
        options = dict(TRAINING, igdm=alpha, mirror="clip")
        run = igdm.distill(student, teacher, data, validation=data[:16], **options)
        evaluation = igdm.evaluate(student, data, attacks=["fgsm", "pgd-2"], eps=0.1, teacher=teacher)
        base = contenders[0] if contenders else None
        contenders.append(report.Contender(name, student, run.history, evaluation, base=base))
    judged = igdm.evaluate(teacher, data, attacks=["fgsm", "pgd-2"], eps=0.1)
    contenders.append(report.Contender("teacher", evaluation=judged))
    report.write(
        tmp_path / "report.html",
        "A <title>",
        contenders,
        configuration=report.describe(student, teacher, data, run.options),
        gallery=report.Gallery(data, {"eps": 0.1, "steps": 2}, "PGD-2", teacher),
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "://" not in text
    assert page.count("script") == page.count("link") == 0
    assert all(attributes["src"].startswith("data:image/png;base64,") for tag, attributes in page.tags if tag == "img")
    # For each class: clean, and two models with image and change; image, and the input gradients of three models.
    assert page.count("img") == 3 * (1 + 2 * 2) + 3 * (1 + 3)
    assert "prefers-color-scheme: dark" in text
    assert page.count("figure", "chart") == 6
    assert page.count("polyline") == 4 + 2 + 2 + 2 + 2 + 1
    for contender in contenders:
        for accuracy in contender.evaluation.accuracy.values():
            assert f"{100 * accuracy:.2f} %" in page.text
    difference = [one.evaluation.accuracy["pgd-2"] for one in contenders[:2]]
    assert f"{100 * (difference[1] - difference[0]):+.2f}" in page.text
    assert "A <title>" in page.text
    assert "base & IGDM" in page.text


def test_gallery_shows_the_data_and_the_verdicts(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    gallery = report.Gallery(data, {"eps": 0.3, "steps": 10, "seed": 1})
    report.write(tmp_path / "r.html", "One", [report.Contender("teacher", teacher)], configuration={}, gallery=gallery)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    first = [int(np.flatnonzero(data.labels == label)[0]) for label in range(3)]
    images, labels = data.images[first], data.labels[first]
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    for source, image in zip(sources[::3], images, strict=True):
        expected = np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0)
        np.testing.assert_array_equal(decode_png(base64.b64decode(str(source).split(",")[1])), expected)
    attacked = igdm.attack(teacher, images, labels, eps=0.3, steps=10, seed=1)
    clean_errors = int((teacher.predict(images).argmax(1) != labels).sum())
    legend = 1
    assert page.count("span", "wrong") == clean_errors + int(attacked.success.sum()) + legend


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report.write(page, "One", [], configuration={"Seed": "0"})
    before = page.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        report.write(page, "half a character \udcff", [], configuration={"Seed": "0"})
    assert page.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_a_single_run_without_validation(teacher: igdm.Model, data: igdm.Dataset, tmp_path: Path) -> None:
    student = make_model()
    run = igdm.distill(student, teacher, data, **dict(TRAINING, epochs=1))
    contender = report.Contender("student", history=run.history)
    report.write(tmp_path / "r.html", "One", [contender], configuration={"Seed": "0"}, subtitle="No table, no gallery.")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.count("figure") == 2
    assert page.count("table") == page.count("img") == 0
