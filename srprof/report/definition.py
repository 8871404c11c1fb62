"""What a report is to show: its TOML file, as `srprof report --help` has one, checked.

`[[tables]]` and `[[figures]]` add a paper's own: published figures beside ours, and pictures of
other models than the report's. Nothing here loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from srprof.codec import Key
from srprof.compare.published import MEASURES
from srprof.compare.results import REFERENCES
from srprof.cost.profiles import load_profile
from srprof.errors import InputError
from srprof.files import load_table
from srprof.inputs import parse_input
from srprof.rules import Filled, distinct, each, entries, known, passes, rule, short
from srprof.spec import refuse_unknown

#: Titles of what `sections` may name, in the order in which a report has them.
TITLES = {
    "ranking": "Ranking",
    "runtime-memory": "Runtime against memory",
    "tables": "Published figures beside ours",
    "figures": "The paper's figures",
    "peaks": "Peak memory, by way of counting",
    "memory": "Memory over the nodes",
    "held": "Held at the eager peak, by variable and line",
    "roofline": "Roofline",
    "modules": "Time by module",
    "nodes": "Nodes",
    "environment": "How this was made",
}
SECTIONS = tuple(TITLES)
#: Sections that need a predicted latency.
TIMED = frozenset({"roofline", "modules", "runtime-memory"})
_NAME = re.compile(r"[-_]*[A-Za-z0-9][A-Za-z0-9_-]*")
_Size = Annotated[str, passes(parse_input)]
_Measures = tuple[Annotated[str, known(lambda: MEASURES)], ...]
_Profiles = tuple[Annotated[str, passes(load_profile)], ...]
_References = tuple[Annotated[str, known(lambda: REFERENCES)], ...]
_Sections = tuple[Annotated[str, known(lambda: SECTIONS)], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a report.

    Attributes:
        name: what the report calls it. spec: as `srprof analyze` takes it.
        published: its published figures, by name in `srprof.compare.published.MEASURES`, where
            the zoo does not know them.
    """

    spec: Filled
    name: Filled
    published: Annotated[Mapping[str, float], entries(lambda: dict.fromkeys(MEASURES, float))] = (
        field(default_factory=dict)
    )


def _named(entry: Any) -> Any:
    """A SPEC for a model of that SPEC and name."""
    entry = {"spec": entry} if isinstance(entry, str) else entry
    named = isinstance(entry, Mapping) and "spec" in entry
    return {"name": entry["spec"], **entry} if named else entry


_Models = Annotated[
    tuple[Annotated[Model, short(_named), rule("a SPEC, or a table with name and spec")], ...],
    distinct("models", lambda model: model.name),
    rule('a list of models, ["fmen_s"]', bool),
]


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table of published figures beside ours.

    Attributes:
        measures: names in `srprof.compare.published.MEASURES`.
        scales: those at which the zoo's networks are compared; each network's own if empty.
        input: LR size at which time is predicted.
    """

    title: Filled
    models: _Models
    measures: Annotated[_Measures, distinct("measures"), rule("a list of measures", bool)]
    note: str = ""
    scales: Annotated[tuple[int, ...], rule("a list such as [2, 3, 4]")] = ()
    input: _Size = "256x256"


@dataclass(frozen=True, slots=True)
class FigureDefinition:
    """A figure of its own models; `name` is its file's."""

    name: Annotated[str, rule("letters, digits, - and _: it names files", _NAME.fullmatch)]
    title: Filled
    models: _Models
    note: str = ""
    kind: Literal["memory", "runtime-memory"] = "memory"
    input: _Size = "256x256"
    unit: Literal["MiB", "feature maps"] = "MiB"


@dataclass(frozen=True, slots=True)
class Definition:
    """A report.

    Attributes:
        models: those of every section but `tables` and `figures`.
        input: LR size of the analyses, `HxW` or `NxCxHxW`.
        profiles: by which latency is predicted; the first is the ranking's.
        references: the published table to stand beside the models, whose year's rules hold.
        sections: in the order of the page; all that can be shown if none is named.
    """

    title: Filled
    models: _Models
    note: str = ""
    input: _Size = "256x256"
    profiles: Annotated[_Profiles, distinct("profiles"), Key(older="devices")] = ()
    references: Annotated[
        _References,
        distinct("references"),
        rule("one published table: each year counts by its own rules", lambda r: len(r) < 2),
    ] = ()
    sections: Annotated[_Sections, distinct("sections")] = ()
    tables: Annotated[
        tuple[TableDefinition, ...], each("table"), rule("[[tables]] in double brackets")
    ] = ()
    figures: Annotated[
        tuple[FigureDefinition, ...],
        each("figure"),
        distinct("figures", lambda figure: figure.name),
        rule("[[figures]] in double brackets"),
    ] = ()

    def __post_init__(self) -> None:
        shown = [f"section {section}" for section in self.sections if section in TIMED]
        shown += [f"kind {figure.kind}" for figure in self.figures if figure.kind in TIMED]
        if shown and not self.profiles:
            raise InputError(f"{shown[0]} shows time: name profiles")
        named = self.sections or [s for s in SECTIONS if self.profiles or s not in TIMED]
        object.__setattr__(self, "sections", tuple(s for s in SECTIONS if s in named))


def read_definition(path: str) -> Definition:
    """Read and check a report's TOML file; an InputError says what is wrong in it."""
    source = f"report {path}"
    definition = load_table(Definition, path, source)
    for model in definition.models:
        refuse_unknown(model.spec, f"{source}: models")
    return definition
