"""Size and speed of the report's page in headless Chromium, with a network of 1,000 nodes.

    apt-get install chromium; pip install -e '.[test]'; python benchmarks/report_page.py

Load is from navigation to the end of the load event; the other times end when the page has drawn.
The median of five, in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from srprof.cli import main as srprof
from tests.browser import browser, opened, why_not

REPEAT = 5
NETWORK = """
from torch import nn

def long():
    return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(1000)))
"""
DEFINITION = """
title = "Speed"
models = ["e_rfdn", {{ name = "long", spec = "{folder}/net.py:long" }}]
devices = ["gtx1080ti"]
references = ["ntire2022"]
"""


def milliseconds(do: Callable[[], Any]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    do()
    return 1e3 * (time.perf_counter() - start)


def until_painted(page: Any, action: str) -> float:
    """Run a script and wait until what it changed is on the screen."""
    script = (
        f"async () => {{ const start = performance.now(); {action};"
        "await new Promise(done => requestAnimationFrame(() => setTimeout(done)));"
        "return performance.now() - start; }"
    )
    return float(page.evaluate(script))


def main() -> int:
    """Print one line for each measurement."""
    if why_not():
        print(why_not())
        return 2
    with tempfile.TemporaryDirectory() as folder, browser() as made:
        place = Path(folder)
        (place / "net.py").write_text(NETWORK)
        (place / "r.toml").write_text(DEFINITION.format(folder=folder))
        srprof(["report", str(place / "r.toml")])
        index = place / "r" / "index.html"
        print(f"page: {index.stat().st_size / 1e6:.2f} MB")
        times: dict[str, list[float]] = {}
        for _ in range(REPEAT):
            with opened(made, index) as page:
                load = "performance.getEntriesByType('navigation')[0].loadEventEnd"
                times.setdefault("load", []).append(page.evaluate(load))
                page.locator("#memory").scroll_into_view_if_needed()
                for name, action in (
                    ("choose 1,000 nodes", _CHOOSE),
                    (
                        "sort 1,000 rows",
                        "document.querySelector('th[data-name=held] button').click()",
                    ),
                    ("filter 1,000 rows", _FILTER),
                ):
                    times.setdefault(name, []).append(until_painted(page, action))
        for name, found in times.items():
            print(f"{name}: {statistics.median(found):.0f} ms")
    return 0


_CHOOSE = (
    "const box = document.getElementById('choose-model'); box.value = '1';"
    "box.dispatchEvent(new Event('change'))"
)
_FILTER = (
    "const box = document.getElementById('nodes-filter'); box.value = '99';"
    "box.dispatchEvent(new Event('input'))"
)

if __name__ == "__main__":
    sys.exit(main())
