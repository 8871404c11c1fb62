"""Some hostile commands of each kind; `benchmarks/fuzz.py` runs as many as one likes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.arguments import GOOD
from tests.fuzzing.case import Case, Outcome
from tests.fuzzing.folder import READERS, Folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Files of each kind, in the current folder."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield Folder()
    os.chdir(before)


@pytest.mark.parametrize(
    ("kinds", "examples"), [(tuple(READERS), 100), (("arguments",), 60), (("network",), 12)]
)
def test_every_command_ends_with_a_line_and_its_code(
    whole: Folder, kinds: tuple[str, ...], examples: int
):
    """Whatever its arguments, files and networks are."""

    @settings(max_examples=examples)
    @given(st.integers(0, 2**64 - 1))
    def one(seed: int) -> None:
        case = whole.case(Random(seed), kinds)
        outcome = case.run()
        assert not outcome.wrong, f"{case.argv}\n{outcome.said}"

    one()


def test_what_is_spoilt_is_good(whole: Folder):
    """Else the cases would end before what they are to try."""
    for argv in GOOD:
        outcome = Case("arguments", argv, whole.files).run()
        assert outcome == Outcome(2 if argv[0] == "calibrate" else 0, outcome.said, ""), argv
