"""The pages of commands in headless Chromium: `-o net.html` of analyze, diff, advise, lean, check.

Each is looked at in light and dark, on a phone and on paper, and by axe-core.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srprof.cli import main
from tests.browser import browser, contrasts, drawn, opened, serious, why_not

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

#: A name from a model that would do harm if it were read as HTML.
EVIL = "<img src=x onerror='window~harm=1'>"
NET = f"""
import torch
from torch import nn


class Net(nn.Module):
    scale = 2

    def __init__(self, nf=16):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.add_module({EVIL!r}, nn.Conv2d(nf, nf, 3, padding=1))
        self.tail = nn.Conv2d(2 * nf, 12, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        body = self.get_submodule({EVIL!r})
        shallow = self.head(x)
        deep = body(shallow).relu()
        return self.shuffle(self.tail(torch.cat([shallow, deep], 1)))
"""
CHECKS = """
baseline = false
[[check]]
model = "net.py:Net"
input = "64x64"
peak.eager = "9 MiB"
params = "1M"
"""
#: A command for each page, the charts that it has, and further words of it.
PAGES = {
    "analyze": ("analyze net.py:Net --input 64 --profile h100", 5, "Complexity"),
    "nodes": ("analyze net.py:Net --input 64 --view nodes", 2, "Nodes (6)"),
    "modules": ("analyze net.py:Net --input 64 --view modules", 1, "├─ head"),
    "diff": ("diff net.py:Net net.py:Net(nf=8) --input 64", 2, "Nodes that changed"),
    "advise": ("advise net.py:Net --input 64", 1, "what to write"),
    "lean": ("lean net.py:Net --input 64", 1, "Proof"),
    "check": ("check", 1, "verdict"),
    "rank": ("rank net.py:Net fsrcnn --input 16", 0, "fsrcnn"),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every page."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    (folder / "srprof.toml").write_text(CHECKS, encoding="utf-8")
    before = os.getcwd()
    os.chdir(folder)
    try:
        for name, (command, _, _) in PAGES.items():
            assert main([*command.split(), "-o", f"{name}.html"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_light_dark_on_a_phone_and_on_paper(chromium: Any, pages: Path, name: str):
    _, charts, word = PAGES[name]
    looks = set()
    for width, dark in ((1280, False), (1280, True), (390, False)):
        with opened(chromium, pages / f"{name}.html", width, dark) as page:
            plots = drawn(page)
            tables = page.locator("[id^=plot-].scroll").count()
            assert len(plots) + tables == charts
            assert word in page.locator("body").text_content()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("window.harm") is None
            assert page.locator("h1").count() == 1
            assert {pair: c for pair, c in contrasts(page).items() if c < 4.5} == {}
            assert width < 1280 or dark or serious(page) == []
            looks.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert (page.seen.console, page.seen.requests) == ([], [])
    assert len(looks) == 2
    with opened(chromium, pages / f"{name}.html", dark=True) as page:
        page.emulate_media(media="print")
        drawn(page)
        fill = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(fill) == "rgb(255, 255, 255)"
        assert len(page.pdf()) > 10_000
        assert (page.seen.console, page.seen.requests) == ([], [])


def test_the_toolbar_is_there_when_it_is_hovered(chromium: Any, pages: Path):
    with opened(chromium, pages / "analyze.html") as page:
        (box, *_) = drawn(page)
        group = f"#{box.get_attribute('id')} .modebar-group"
        opacity = f"getComputedStyle(document.querySelector('{group}')).opacity"
        assert page.evaluate(opacity) == "0"
        box.hover()
        page.wait_for_timeout(600)  # it fades in
        assert page.evaluate(opacity) == "1"
        names = box.locator(".modebar-btn").evaluate_all("bs => bs.map(b => b.dataset.title)")
        assert "Zoom" in names
        assert not [name for name in names if "hare" in name or "loud" in name], "no upload"


@pytest.mark.parametrize("name", ["analyze", "diff", "advise", "check"])
def test_a_caption_stands_right_under_its_chart(chromium: Any, pages: Path, name: str):
    with opened(chromium, pages / f"{name}.html") as page:
        drawn(page)
        gaps = page.evaluate(
            """[...document.querySelectorAll("figure")].map(f =>
                f.querySelector("figcaption").getBoundingClientRect().top
                - f.querySelector(".main-svg").getBoundingClientRect().bottom)"""
        )
        assert gaps and all(0 <= gap <= 12 for gap in gaps), gaps


def test_a_pages_charts_show_what_the_json_has(chromium: Any, pages: Path, tmp_path: Path):
    target = tmp_path / "diff.json"
    command = ["diff", f"{pages}/net.py:Net", f"{pages}/net.py:Net(nf=8)", "--input", "64"]
    assert main([*command, "-o", str(target)]) == 0
    peaks = json.loads(target.read_text(encoding="utf-8"))["peaks"]
    with opened(chromium, pages / "diff.html") as page:
        (bars, lines) = drawn(page)
        series = bars.evaluate("box => box.data.map(trace => [trace.name, trace.x])")
        for name, values in series:
            expected = [peak[name] / 2**20 for peak in peaks.values()]
            assert values == pytest.approx(expected, rel=1e-5)
        tops = lines.evaluate("box => box.data.map(trace => Math.max(...trace.y))")
        assert tops == pytest.approx(
            [peaks["eager"][side] / 2**20 for side in ("before", "after")], rel=1e-5
        )


def test_the_nodes_of_a_page_are_filtered_and_sorted(chromium: Any, pages: Path):
    with opened(chromium, pages / "nodes.html") as page:
        drawn(page)
        rows = "[...document.querySelectorAll('[id^=plot-].scroll tbody tr')].length"
        assert page.evaluate(rows) == 6
        page.locator("input[type=search]").fill("convolution head")
        assert page.evaluate(rows) == 1
        page.locator("input[type=search]").fill("")
        page.locator('th[data-name="held"] button').press("Enter")
        values = page.evaluate(
            "[...document.querySelectorAll('[id^=plot-].scroll tbody tr')]"
            ".map(row => row.cells[9].textContent)"
        )
        assert values == sorted(values, key=float, reverse=True)
        assert EVIL in page.locator("[id^=plot-].scroll tbody").text_content()


def test_data_are_in_a_page_once(pages: Path):
    """All charts of a run are drawn from one object; a page without charts has no script."""
    text = (pages / "analyze.html").read_text(encoding="utf-8")
    assert text.count('"columns":["index","op"') == 1
    assert len(text) < 6_000_000
    assert "<script" not in (pages / "rank.html").read_text(encoding="utf-8")


def test_without_plotly_a_page_has_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("srprof.render.writers.html.plotly_script", lambda: None)
    assert main(["analyze", "fsrcnn", "--input", "8", "-o", "net.html"]) == 0
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert "<script" not in text and "Largest nodes" in text and "<figure" not in text
