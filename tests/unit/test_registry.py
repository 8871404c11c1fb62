"""Zoos: found through entry points, each network under its names, and no name twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from srprof import registry
from srprof.errors import InputError
from srprof.registry import Network

FIRST = Network("first_net", "one.nets:First", "The first", aliases=("original", "f1"))
SECOND = Network("second_net", "two.nets:Second", "The second", scale=2, channels=1)


class Announced:
    """An entry point that needs no installed package."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self.name = name
        self.value = f"{name}.zoo:ZOO"
        self.load = load


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts entry points in the place of the installed ones."""
    asked: list[str] = []

    def put(*announced: Any) -> None:
        def entry_points(group: str) -> list[Any]:
            asked.append(group)
            return list(announced)

        monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
        registry.networks.cache_clear()

    yield put
    assert set(asked) <= {"srprof.models"}
    registry.networks.cache_clear()


def zoo(*networks: Network) -> Callable[[], tuple[Network, ...]]:
    return lambda: networks


def test_index_has_names_and_aliases():
    found = registry.index([FIRST, SECOND])
    assert found == {
        "first_net": FIRST,
        "original": FIRST,
        "f1": FIRST,
        "second_net": SECOND,
    }


def test_index_of_nothing():
    assert registry.index([]) == {}


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(SECOND, name="first_net"),
        dataclasses.replace(SECOND, name="original"),
        dataclasses.replace(SECOND, aliases=("first_net",)),
        dataclasses.replace(SECOND, aliases=("x", "f1")),
    ],
)
def test_index_refuses_a_name_twice(other: Network):
    with pytest.raises(InputError) as raised:
        registry.index([FIRST, other])
    line = str(raised.value)
    assert FIRST.factory in line
    assert other.factory in line
    assert "two networks are called" in line


def test_index_refuses_an_alias_that_is_the_name():
    with pytest.raises(InputError, match="'same'"):
        registry.index([Network("same", "m:f", "", aliases=("same",))])


def test_networks_of_several_zoos_in_order_of_the_zoos_names(install: Install):
    install(Announced("zz", zoo(FIRST)), Announced("aa", lambda: iter([SECOND])))
    assert registry.networks() == (SECOND, FIRST)


def test_networks_asks_once(install: Install):
    loads = []

    def load() -> tuple[Network, ...]:
        loads.append(1)
        return (FIRST,)

    install(Announced("zoo", load))
    assert registry.networks() is registry.networks()
    assert len(loads) == 1


def test_networks_without_a_zoo(install: Install):
    install()
    assert registry.networks() == ()
    with pytest.raises(InputError, match="no zoo is installed"):
        registry.find("first_net")


def broken() -> tuple[Network, ...]:
    raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    "entry",
    [
        EntryPoint("lost", "not_installed_anywhere.zoo:ZOO", registry.GROUP),
        EntryPoint("lost", "json:NO_SUCH_NAME", registry.GROUP),
        Announced("lost", broken),
        Announced("lost", lambda: 3),
    ],
)
def test_zoo_that_cannot_be_loaded_is_named(install: Install, entry: Any):
    install(entry)
    with pytest.raises(InputError) as raised:
        registry.networks()
    line = str(raised.value)
    assert "'lost'" in line
    assert entry.value in line
    assert "uninstall" in line
    assert "\n" not in line


def test_zoo_that_lists_something_else_is_named(install: Install):
    install(Announced("odd", lambda: ["first_net", SECOND]))
    with pytest.raises(InputError, match="'odd'"):
        registry.find("second_net")


def test_broken_zoo_does_not_hide_files(install: Install):
    """A file of one's own needs no zoo."""
    from srprof import spec

    install(Announced("lost", broken))
    parsed = spec.parse(f"{__file__}:Factory")
    assert parsed.factory == "Factory"


def test_find(install: Install):
    install(Announced("zoo", zoo(FIRST, SECOND)))
    assert registry.find("first_net") is FIRST
    assert registry.find("f1") is FIRST
    assert registry.find("second_net") is SECOND


@pytest.mark.parametrize("name", ["frist_net", "FIRST_NET", "first-net", "firstnet", "orginal"])
def test_find_suggests(install: Install, name: str):
    install(Announced("zoo", zoo(FIRST, SECOND)))
    with pytest.raises(InputError, match="did you mean") as raised:
        registry.find(name)
    line = str(raised.value)
    assert repr(name) in line
    assert "first_net" in line or "original" in line


def test_find_with_nothing_near(install: Install):
    install(Announced("zoo", zoo(FIRST, SECOND)))
    with pytest.raises(InputError, match="srprof list"):
        registry.find("qqqq")


def test_find_refuses_two_zoos_with_one_name(install: Install):
    install(Announced("aa", zoo(FIRST)), Announced("bb", zoo(FIRST)))
    with pytest.raises(InputError, match="two networks are called 'first_net'"):
        registry.find("first_net")


def test_load():
    assert (
        Network("ordered", "collections:OrderedDict", "").load()
        is __import__("collections").OrderedDict
    )


def test_own_zoo_is_announced():
    names = {network.name for network in registry.networks()}
    assert {"fmen", "fmen_s", "e_rfdn", "imdn"} <= names
    for network in registry.networks():
        assert callable(network.load())
