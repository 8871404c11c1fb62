"""The pytest plugin: a marker that limits a network's peak, and a fixture.

pytest imports this file in every project of an environment that has srprof, so nothing heavy is
imported before a test asks for it: no torch at collection.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from srprof.analysis import Analysis

MARKER = "limit_peak"


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers",
        f'{MARKER}(max, input="256x256", memory="eager", **options): the network that the test '
        "returns or yields needs at most this much memory at its peak (srprof); options are "
        "those of srprof.analyze",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Any:
    """Collect a marked test that yields; pytest itself refuses generators."""
    marks = getattr(obj, "pytestmark", ())
    if not inspect.isgeneratorfunction(obj) or not any(mark.name == MARKER for mark in marks):
        return None
    if not collector.istestfunction(obj, name):
        return None
    return list(collector._genfunctions(name, obj))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a marked test, and hold the network that it gives to the limit."""
    marker = pyfuncitem.get_closest_marker(MARKER)
    if marker is None:
        return None
    if len(marker.args) != 1:
        pytest.fail(f'write @pytest.mark.{MARKER}("210 MiB", input="256x256")', pytrace=False)
    names = pyfuncitem._fixtureinfo.argnames
    given = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    generator = given if inspect.isgenerator(given) else None
    try:
        model = next(generator, None) if generator is not None else given
        _hold(model, marker.args[0], **marker.kwargs)
        for _ in generator or ():
            pytest.fail(f"a test with {MARKER} yields one network", pytrace=False)
    finally:
        if generator is not None:
            generator.close()
    return True


def _hold(model: Any, limit: Any, **options: Any) -> None:
    if model is None:
        pytest.fail(f"a test with {MARKER} returns or yields the network", pytrace=False)
    inputs = options.pop("input", "256x256")  # one, or a list of sizes
    several = isinstance(inputs, list) and all(isinstance(size, str) for size in inputs)
    Srprof().assert_peak(model, *(inputs if several else [inputs]), max=limit, **options)


class Srprof:
    """What the fixture `srprof` gives."""

    def analyze(self, model: Any, *inputs: Any, **options: Any) -> Analysis:
        """`srprof.analyze`."""
        from srprof.analysis import analyze

        return analyze(model, *inputs, **options)

    def assert_peak(
        self,
        model: Any,
        *inputs: Any,
        max: str | int,  # noqa: A002 - reads as a sentence where it is called
        memory: str = "eager",
        **options: Any,
    ) -> None:
        """Fail the test, saying who holds what, if the peak is larger.

        Args:
            model, inputs, options: as for `srprof.analyze`. memory: the peak's name.
            max: the limit, as "210 MiB" or in bytes.
        """
        __tracebackhide__ = True
        from srprof.errors import SrprofError
        from srprof.gate.record import describe
        from srprof.gate.run import check_model
        from srprof.quantities import parse_quantity

        try:
            limit = max if type(max) is int else parse_quantity(max, "bytes")
            row, why = check_model(model, inputs, memory, limit, **options)
        except SrprofError as error:
            pytest.fail(f"srprof: {error}", pytrace=False)
        if row.over:
            name = model if isinstance(model, str) else type(model).__name__
            pytest.fail("\n".join((f"{name}: {describe(row)}", *why)), pytrace=False)


@pytest.fixture
def srprof() -> Srprof:
    """`srprof.analyze(...)` and `srprof.assert_peak(model, input, max="210 MiB")`."""
    return Srprof()
