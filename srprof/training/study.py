"""What an ablation study trains: its TOML file, checked. No torch.

title = "RB, ERB and PB in FMEN"
output = "runs/blocks"
input = "256x256"

[training]                     # as `srprof train` takes it, without model and output
data = ["DIV2K/DIV2K_train_HR"]

[[variants]]
name = "FMEN, RB"
model = "fmen(block='rb')"
training = { lr = 1e-4 }       # what is different for this one, if anything is
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srprof.errors import InputError
from srprof.inputs import parse_size
from srprof.toml import check_keys, read_toml
from srprof.training.config import TrainingConfig, parse_training

_KEYS = ("title", "note", "output", "input", "training", "variants")
_VARIANT_KEYS = ("name", "model", "training")
#: What all variants have in common, so that they are compared on the same pixels.
_COMMON = ("data", "validation", "held_out", "crop", "cache", "device")


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the networks that are compared, and its run."""

    name: str
    training: TrainingConfig


@dataclass(frozen=True, slots=True)
class Study:
    """A study; `input` is the LR size at which FLOPs and memory are taken."""

    title: str
    note: str
    input: str
    variants: tuple[Variant, ...]


def read_study(path: str) -> Study:
    """Read and check a study's TOML file.

    Raises:
        InputError: no such file, no TOML, or a key or value that cannot be; says which.
    """
    return parse_study(read_toml(Path(path), "study"), f"study {path}")


def parse_study(table: Mapping[str, Any], where: str) -> Study:
    """Check a study.

    Args:
        table: as TOML gives it. where: names it in messages.

    Raises:
        InputError: a key is unknown or missing, or a value cannot be; says which.
    """
    check_keys(table, _KEYS, where)
    output = _text(table, "output", where)
    base = _table(table, "training", where)
    entries = table.get("variants")
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
        raise InputError(f"{where}: variants is missing; give [[variants]] with name and model")
    variants = tuple(_variant(entry, base, output, where) for entry in entries)
    for key, names in (
        ("name", [v.name for v in variants]),
        ("folder", [v.training.output for v in variants]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{where}: two variants have the {key} {twice!r}; rename one")
    size = _text(table, "input", where, "256x256")
    try:
        parse_size(size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return Study(_text(table, "title", where), _text(table, "note", where, ""), size, variants)


def _variant(entry: Mapping[str, Any], base: Mapping[str, Any], output: str, where: str) -> Variant:
    check_keys(entry, _VARIANT_KEYS, where, "variants.")
    name, model = _text(entry, "name", where), _text(entry, "model", where)
    where = f"{where}: variant {name!r}"
    own = _table(entry, "training", where)
    for key in _COMMON:
        if key in own:
            raise InputError(f"{where}: {key} is the same for all variants; put it in [training]")
    for key in ("model", "output"):
        if key in {**base, **own}:
            raise InputError(f"{where}: {key} is not of training here; leave it out")
    folder = "".join(c if c.isalnum() else "_" for c in name.lower())
    training = {**base, **own, "model": model, "output": str(Path(output) / folder)}
    return Variant(name, parse_training(training, where))


def _text(table: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise InputError(f"{where}: {key} is missing or no text; give a text")
    return value


def _table(table: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {key} = {value!r} cannot be: it must be a table")
    return value
