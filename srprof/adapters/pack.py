"""A pack: estimates of all networks of a library in one file, each made in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import srprof_estimate
from srprof import apart
from srprof._version import __version__
from srprof.adapters.spandrel_networks import ENTRIES, Entry
from srprof.errors import InputError, ModelError
from srprof.files import read_json
from srprof.output import replacing
from srprof.progress import Progress, silent
from srprof.shown import Shown

#: Libraries whose networks there are packs of.
LIBRARIES = ("spandrel",)
#: Seconds for a network, where nobody says how many.
LIMIT = 600.0


@dataclass(frozen=True, repr=False)
class Pack(Shown):
    """Estimates by network.

    Attributes:
        library: that the networks are of. run_as: the program that runs them, "" if none was named.
        networks: as `Estimate.to_dict` has each. missing: why there is none of a network.
    """

    view = "pack"

    library: str
    run_as: str = ""
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What the file has."""
        return {
            "schema": srprof_estimate.PACK,
            "version": srprof_estimate.VERSION,
            "srprof": __version__,
            "library": self.library,
            "as": self.run_as,
            "missing": dict(self.missing),
            "networks": dict(self.networks),
        }

    def to_json(self) -> str:
        """The file: a line for each network, as small as that is."""
        head = {**self.to_dict(), "networks": 0}
        del head["networks"]
        lines = (f"{json.dumps(name)}:{_small(found)}" for name, found in self.networks.items())
        return _small(head)[:-1] + ',\n"networks":{\n' + ",\n".join(lines) + "\n}}\n"

    @classmethod
    def read(cls, path: Path, library: str, run_as: str) -> Pack:
        """What is there of a pack; an empty one without a file.

        Raises:
            InputError: the file is another one.
        """
        if not path.exists():
            return cls(library, run_as)
        data = read_json(path, mend="name another file for the pack")
        is_pack = isinstance(data, dict) and data.get("schema") == srprof_estimate.PACK
        same = is_pack and (data["library"], data["as"], data["srprof"]) == (
            *(library, run_as),
            __version__,
        )
        if not same:
            raise InputError(f"{path} is no such pack of this srprof's: name another file")
        return cls(library, run_as, data["networks"], data["missing"])


def make_pack(
    library: str,
    path: Path,
    run_as: str | None = None,
    seconds: float | None = None,
    progress: Progress = silent,
) -> Pack:
    """A pack of a library's networks, in a file that is written anew behind each of them.

    Networks that the file has already are not made again: who is interrupted goes on there.

    Args:
        seconds: for a network, behind which there is none of it.

    Raises:
        InputError: no such library, or the file is another one.
    """
    if library not in LIBRARIES:
        raise InputError(f"no networks of {library!r} are known: {', '.join(LIBRARIES)}")
    pack = Pack.read(path, library, run_as or "")
    entries = [entry.published for entry in ENTRIES]
    for place, entry in enumerate(entries):
        if entry.name not in pack.networks:
            found, reason = _alone(entry, run_as, seconds or LIMIT)
            missing = {n: why for n, why in pack.missing.items() if n != entry.name}
            if found is None:
                pack = replace(pack, missing={**missing, entry.name: reason})
            else:
                pack = replace(pack, networks={**pack.networks, entry.name: found}, missing=missing)
            with replacing(path) as temporary:
                temporary.write_text(pack.to_json(), encoding="utf-8")
        progress("networks", place + 1, len(entries))
    return pack


def _alone(
    entry: Entry, run_as: str | None, seconds: float
) -> tuple[Mapping[str, Any] | None, str]:
    """The estimate of a network, else why there is none: in a process, for some never end."""
    try:
        return apart.ask(__name__, [entry.name, run_as], seconds), ""
    except ModelError as error:
        return None, str(error)


def _small(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _respond(question: tuple[str, str | None]) -> Mapping[str, Any]:
    """The estimate of a network, by its name, in a program."""
    from srprof.adapters.importing import import_spandrel
    from srprof.call import Call
    from srprof.estimating.run import estimate

    name, run_as = question
    entry = next(e.published for e in ENTRIES if e.published.name == name)
    import_spandrel()
    found = estimate(Call(entry.spec, entry.inputs), run_as=run_as)
    return replace(found, name=entry.name, scale=entry.scale).to_dict()


if __name__ == "__main__":
    apart.serve(_respond)
