"""What holds for every test: threads, Ctrl-C, Hypothesis' profile, the collector, golden files.

One thread of torch in each process, set before torch is loaded: threads of several processes on
the same cores wait for each other, and results of the tests that compare bits across processes
depend on how many there are.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.golden_files import Golden

os.environ.setdefault("OMP_NUM_THREADS", "1")
#: A shell that starts the tests in the background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: No deadline, as a busy machine is no defect; the same examples on every machine. Other ones:
#: `pytest --hypothesis-profile search`.
settings.register_profile(
    "srprof",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("search", settings.get_profile("srprof"), derandomize=False)
settings.load_profile("srprof")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Rendered files are made anew by the tests that compare with them."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is rendered into the golden files and the committed reports",
    )


#: How many modules were loaded when objects were last put out of the garbage collector's sight.
_frozen_with = pytest.StashKey[int]()
#: So many objects of earlier tests may be looked through in each collection: a millisecond or two.
_IN_SIGHT = 20_000


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put what is loaded out of the garbage collector's sight, again where it has grown by much.

    Measuring collects garbage in each run, and would look through all of torch, sympy and the
    tests themselves: a quarter of a second, thousands of times. So would it through the traces
    that earlier tests keep for later ones.
    """
    loaded, stash = len(sys.modules), item.config.stash
    grown = loaded > stash.get(_frozen_with, 0) + 50
    if grown or len(gc.get_objects(generation=2)) > _IN_SIGHT:
        gc.collect()
        gc.freeze()
        stash[_frozen_with] = loaded


@pytest.fixture
def all_in_sight(request: pytest.FixtureRequest) -> None:
    """For a test in which the collector must know what was there before it."""
    gc.unfreeze()
    request.config.stash[_frozen_with] = 0


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a rendered text with its committed file: `golden(text, "rank.txt")`."""
    return Golden(request.config.getoption("--update-golden"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """A command's JSON; the command must succeed."""

    def call(*argv: str) -> Any:
        from srprof.cli import main

        code = main([*argv, "--format", "json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return call
