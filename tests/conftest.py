"""What holds for every test: torch's threads, Hypothesis' profile, golden files.

One thread of torch in each process, set before torch is loaded: threads of several processes on
the same cores wait for each other, and results of the tests that compare bits across processes
depend on how many there are.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.golden_files import Golden

os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a rendered text with its committed file: `golden(text, "rank.txt")`."""
    return Golden(request.config.getoption("--update-golden"))
