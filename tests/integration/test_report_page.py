"""The report's page in headless Chromium."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from srprof.cli import main
from tests.browser import browser, opened, serious, why_not
from tests.browser import drawn as every_figure

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

EVIL = "</script><img src=x onerror='window.harm=1'>"
NODES = 1000
NETWORK = f"""
from torch import nn


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("<img src=x onerror='window~harm=1'>", nn.Conv2d(3, 3, 1))

    def forward(self, x):
        (first,) = self.children()
        return first(x)


def long():
    return nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range({NODES})))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Four models: one that holds tensors, one that does not, a strange one and a long one."""
    place = tmp_path_factory.mktemp("page")
    (place / "nets.py").write_text(NETWORK)
    models = [
        "e_rfdn",
        "fmen_s",
        {"name": EVIL, "spec": f"{place}/nets.py:Odd"},
        {"name": "long", "spec": f"{place}/nets.py:long"},
    ]
    written = [
        json.dumps(m)
        if isinstance(m, str)
        else "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in m.items()) + "}"
        for m in models
    ]
    (place / "r.toml").write_text(
        f'title = "Four networks"\nmodels = [{", ".join(written)}]\ninput = "48x48"\n'
        'profiles = ["gtx1080ti", "a100"]\nreferences = ["ntire2022"]\n'
        '[[figures]]\nname = "two"\ntitle = "Two topologies"\nkind = "memory"\n'
        'unit = "feature maps"\nmodels = ["figure2_plain", "figure2_fusion"]\n'
    )
    assert main(["report", str(place / "r.toml")]) == 0
    return place / "r" / "index.html"


@pytest.fixture(scope="module")
def chromium():
    with browser() as made:
        yield made


@pytest.fixture
def page(chromium, report):
    with opened(chromium, report) as found:
        yield found
        assert found.seen.console == []
        assert found.seen.requests == []


def record(report: Path):
    return json.loads((report.parent / "data.json").read_text(encoding="utf-8"))


def rows(page) -> list[list[str]]:
    """The table of nodes as it stands."""
    return page.evaluate(
        "[...document.querySelectorAll('#nodes-table tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )


def until(page, expression: str) -> None:
    """Wait for it to hold; the page's policy forbids Playwright's own way, which evaluates text."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def drawn(page, name: str):
    """A figure, scrolled to and drawn."""
    box = page.locator(f"#{name}")
    box.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name}[data-drawn] .main-svg")
    return box


def test_it_loads_in_light_dark_and_on_a_phone_without_a_word(chromium, report, tmp_path):
    looks = set()
    for width, dark in ((1280, False), (1280, True), (390, False)):
        with opened(chromium, report, width, dark) as page:
            for box in page.locator(".plot:visible").all():
                drawn(page, box.get_attribute("id"))
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.seen.console == []
            assert page.seen.requests == []
            looks.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            shot = tmp_path / f"{width}_{dark}.png"
            page.screenshot(path=str(shot), full_page=True)
            assert shot.stat().st_size > 50_000  # an empty page is a few
    assert len(looks) == 2


def test_axe_finds_nothing_serious(page):
    page.select_option("#choose-model", label="fmen_s")
    every_figure(page)
    assert serious(page) == []


def test_places_in_the_field_are_a_table_and_sizes_are_said(page):
    assert (
        "LR 48x48, but the ranking as the challenge has it" in page.locator(".facts").text_content()
    )
    table = page.locator("#ranking h3 ~ .scroll table")
    assert table.locator("tbody tr").count() == 4
    assert table.locator("th").first.text_content() == "Model"


def test_every_figure_has_a_name_with_its_numbers(page, report):
    names = page.eval_on_selector_all(
        ".plot", "boxes => boxes.map(b => [b.getAttribute('role'), b.getAttribute('aria-label')])"
    )
    assert len(names) == len({label for _, label in names}) >= 9
    assert {role for role, _ in names} == {"group"}
    model = record(report)["models"][0]
    peak = f"{model['peak']['eager'] / 2**20:.2f} at node {model['peak_node']['eager']}"
    assert any(peak in label for _, label in names)


def test_hover_shows_op_module_line_and_sizes(page, report):
    box = drawn(page, "plot-memory")
    place = box.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(place["x"] + place["width"] * 0.5, place["y"] + place["height"] * 0.6)
    text = page.locator("#plot-memory .hovertext").text_content()
    model = record(report)["models"][0]
    nodes = [dict(zip(model["nodes"]["columns"], r, strict=True)) for r in model["nodes"]["rows"]]
    shown = next(n for n in nodes if text.startswith(f"{n['index']} {n['op']}"))
    assert f"{shown['file']}:{shown['line']}" in text
    assert shown["module"] in text
    assert f"held {shown['held'] / 2**20:.2f}" in text
    assert "x".join(map(str, shown["shape"])) in text


def test_a_click_on_the_legend_hides_a_part(page):
    drawn(page, "plot-memory")
    held = "document.getElementById('plot-memory').data.find(t => t.name === 'held').visible"
    assert page.evaluate(held) is None
    page.locator("#plot-memory .legendtoggle").nth(2).click()  # allocated, eager, held
    until(page, f"({held}) === 'legendonly'")


def test_a_drag_zooms(page):
    box = drawn(page, "plot-memory")
    span = "document.getElementById('plot-memory').layout.xaxis.range"
    before = page.evaluate(span)
    place = box.locator(".nsewdrag").first.bounding_box()
    x, y = place["x"], place["y"] + place["height"] / 2
    page.mouse.move(x + place["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(x + place["width"] * 0.6, y, steps=5)
    page.mouse.up()
    until(page, f"({span})[1] - ({span})[0] < {before[1] - before[0]} / 2")


def test_sorting_sorts(page):
    for name, numeric in (("held", True), ("op", False), ("µs", True), ("node", True)):
        head = page.locator(f'#nodes-table th[data-name="{name}"]')
        column = head.evaluate("cell => cell.cellIndex")
        for _ in range(2):
            before = head.get_attribute("aria-sort")
            # by keyboard: figures that are drawn meanwhile move what a mouse aims at
            head.locator("button").press("Enter")
            cell = f"""document.querySelector('#nodes-table th[data-name="{name}"]')"""
            until(page, f"{cell}.getAttribute('aria-sort') !== '{before}'")
            values = [row[column] for row in rows(page)]
            found = [float(v) for v in values if v != "-"] if numeric else values
            down = head.get_attribute("aria-sort") == "descending"
            assert found == sorted(found, reverse=down)
            assert len(set(found)) > 1
    assert page.locator("#nodes-table th[aria-sort=none]").count() == 14


def test_the_filter_filters(page):
    all_rows = rows(page)
    page.fill("#nodes-table-filter", "b1 relu")
    wanted = [r for r in all_rows if "relu" in r[1] and r[2].startswith("B1")]
    assert wanted and rows(page) == wanted
    assert (
        page.locator("#nodes-table-count").text_content()
        == f"{len(wanted)} of {len(all_rows)} nodes"
    )
    page.fill("#nodes-table-filter", "")
    assert rows(page) == all_rows


def test_another_model_and_device(page, report):
    page.select_option("#choose-model", label="fmen_s")
    page.select_option("#choose-device", index=1)
    model = record(report)["models"][1]
    assert len(rows(page)) == len(model["nodes"]["rows"])
    label = drawn(page, "plot-roofline").get_attribute("aria-label")
    assert f"{model['devices'][1]['predicted_ms']:.2f} ms predicted on a100" in label
    assert not model["held"]
    assert page.locator("#none-held").is_visible()
    assert not page.locator("#plot-held").is_visible()


def test_what_could_be_saved_is_said_of_the_chosen_model_and_device(page, report):
    """As the record has it of each; a device that waits for each launch has no line of bounds."""
    for i, model in enumerate(record(report)["models"][:2]):
        page.select_option("#choose-model", index=i)
        for j, times in enumerate(model["devices"]):
            page.select_option("#choose-device", index=j)
            lines = page.locator("#spent li").all_text_contents()
            costs = times["avoidable"][:3]
            assert len(lines) == len(costs) > 0
            for line, cost in zip(lines, costs, strict=True):
                assert f"{cost['ms']:.2f}" in line or f"{cost['ms']:.3f}" in line
            assert page.locator("#bounds").is_visible() == ("host_ms" in times)
            if "host_ms" in times:
                assert f"host {times['host_ms']:.2f} ms" in page.locator("#bounds").text_content()


def test_names_from_models_are_text(page):
    page.select_option("#choose-model", label=EVIL)
    for name in ("plot-memory", "plot-modules", "plot-bubbles-0", "plot-peaks"):
        drawn(page, name)
    assert "<img src=x onerror='window~harm=1'>" in rows(page)[0][2]
    assert page.evaluate("window.harm") is None
    assert page.locator("img").count() == 0
    assert EVIL in page.locator("#plot-peaks").text_content()


def test_a_thousand_nodes(page, report):
    page.select_option("#choose-model", label="long")
    assert len(rows(page)) == NODES
    drawn(page, "plot-memory")
    drawn(page, "plot-roofline")
    page.locator('#nodes-table th[data-name="eager MiB"] button').click()
    assert report.stat().st_size < 6_000_000


def test_paper_has_every_figure_in_light_colours(chromium, report):
    with opened(chromium, report, dark=True) as page:
        page.emulate_media(media="print")
        for box in page.locator(".plot:visible").all():
            page.wait_for_selector(f"#{box.get_attribute('id')}[data-drawn]")
        fill = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(fill) == "rgb(255, 255, 255)"
        ink = page.evaluate("document.getElementById('plot-memory').layout.font.color")
        assert ink == "#000000"
        assert len(page.pdf()) > 100_000
        assert page.seen.console == []
