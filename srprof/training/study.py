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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from srprof.codec import decode_table
from srprof.errors import InputError
from srprof.files import read_toml
from srprof.inputs import parse_size
from srprof.rules import Filled, each, passes, rule
from srprof.spec import refuse_unknown
from srprof.training.config import TrainingConfig

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


@dataclass(frozen=True, slots=True)
class _Entry:
    """A variant as the file has it."""

    name: Filled
    model: Filled
    training: Mapping[str, object] = field(default_factory=dict)


_VARIANTS = rule("[[variants]] with name and model", bool)


@dataclass(frozen=True, slots=True)
class _File:
    """A study as the file has it."""

    title: Filled
    output: Filled
    variants: Annotated[tuple[_Entry, ...], each("variant", "name"), _VARIANTS]
    note: str = ""
    input: Annotated[str, passes(parse_size)] = "256x256"
    training: Mapping[str, object] = field(default_factory=dict)


def read_study(path: str) -> Study:
    """A study's TOML file, checked; an InputError says which key or value cannot be."""
    source = f"study {path}"
    study = parse_study(read_toml(path, source), source)
    for variant in study.variants:
        refuse_unknown(variant.training.model, f"{source}: variant {variant.name!r}: model")
    return study


def parse_study(table: Mapping[str, object], where: str) -> Study:
    """A study from its table; errors as for `read_study`, in which `where` names it."""
    file = decode_table(_File, table, where)
    variants = tuple(
        _variant(entry, file, f"{where}: variant {entry.name!r}") for entry in file.variants
    )
    names, folders = [v.name for v in variants], [v.training.output for v in variants]
    for key, values in (("name", names), ("folder", folders)):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InputError(f"{where}: two variants have the {key} {twice!r}; rename one")
    return Study(file.title, file.note, file.input, variants)


def _variant(entry: _Entry, file: _File, where: str) -> Variant:
    training = {**file.training, **entry.training}
    for key in entry.training:
        if key in _COMMON:
            raise InputError(f"{where}: {key} is the same for all variants; put it in [training]")
    for key in ("model", "output"):
        if key in training:
            raise InputError(f"{where}: {key} is not of training here; leave it out")
    folder = "".join(c if c.isalnum() else "_" for c in entry.name.lower())
    run = {"model": entry.model, "output": str(Path(file.output) / folder)}
    return Variant(entry.name, decode_table(TrainingConfig, {**training, **run}, where))
