"""What an entry's file needs besides Python and PyTorch: its repository, packages, own kernels.

Modules are found and not imported.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Literal

from srprof.files import parse_python
from srprof.linting.source import Guard, Import, Source, live
from srprof.paths import short_path

Kind = Literal["python", "repository", "kernel", "package", "missing"]

#: Packages whose purpose is to compile kernels of one's own.
_COMPILERS = frozenset("triton cupy numba pycuda tilelang cutlass taichi".split())
#: What builds, or loads, a compiled extension while the program runs.
_LOADS = re.compile(
    r"^torch\.utils\.cpp_extension\.(load|load_inline)$|^torch\.ops\.load_library$"
    r"|^torch\.classes\.load_library$|^ctypes\.(CDLL|cdll\.LoadLibrary)$"
)
#: Calls of a `setup.py` that name an extension.
_BUILDS = frozenset("CUDAExtension CppExtension Extension SYCLExtension".split())
_SETUPS = ("setup.py", "*/setup.py", "*/*/setup.py")


@dataclass(frozen=True)
class Need:
    """A module that the file imports.

    Attributes:
        kind: "python" with it and PyTorch; "repository", another file of it; "kernel", code that is
            compiled; "package", installed, of some `version`; "missing", none of these.
        where: the repository's file, or what builds a kernel.
        there: whether it can be imported here.
    """

    module: Import
    kind: Kind
    where: str = ""
    version: str = ""
    there: bool = True


@dataclass(frozen=True)
class Operator:
    """A line that runs code which PyTorch does not have; `what` says which."""

    what: str
    line: int
    guard: Guard
    there: bool


def needs(source: Source, folders: Sequence[str]) -> list[Need]:
    """What each import needs; `folders` are those in which the repository's modules are found."""
    built = _Built(folders)
    return [_need(module, source.file, folders, built) for module in source.imports()]


def _need(module: Import, file: str, folders: Sequence[str], built: _Built) -> Need:
    top = module.top
    if module.name.startswith("."):
        return Need(module, "repository", module.name)
    if top in sys.stdlib_module_names or top == "torch":
        return Need(module, "python")
    here = _in_folders(module.name, folders)
    if here.endswith(tuple(EXTENSION_SUFFIXES)):
        return Need(module, "kernel", here)
    if here and os.path.realpath(here) != os.path.realpath(file):
        return Need(module, "repository", here)
    if here:
        return Need(module, "python")  # itself
    there = _is_installed(top)
    if top in _COMPILERS:
        return Need(module, "kernel", top, there=there)
    if there:
        return Need(module, "package", version=_version(top))
    setup = built.by(top)
    return Need(module, "kernel" if setup else "missing", setup, there=False)


def _in_folders(name: str, folders: Sequence[str]) -> str:
    """The file, or folder, that an import finds in these; "" if none."""
    parts = name.split(".")
    for folder in folders:
        for depth in range(len(parts), 0, -1):
            path = os.path.join(folder, *parts[:depth])
            files = [f"{path}.py", os.path.join(path, "__init__.py")]
            files += [path + suffix for suffix in EXTENSION_SUFFIXES]
            found = next((f for f in files if os.path.isfile(f)), "")
            if found:
                return found
        path = os.path.join(folder, parts[0])
        if any(Path(path).glob("*.py")) and not _is_installed(parts[0]):
            return path
    return ""


def _is_installed(top: str) -> bool:
    """Whether Python finds a package of that name, and not in the current folder."""
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if found is None:
        return False
    places = [found.origin or "", *(found.submodule_search_locations or ())]
    here = os.path.realpath(os.getcwd()) + os.sep
    return not all(
        os.path.realpath(place).startswith(here) and "site-packages" not in place
        for place in places
        if place
    )


def _version(top: str) -> str:
    distributions = packages_distributions().get(top, ())
    return version(distributions[0]) if distributions else ""


class _Built:
    """Extensions that a `setup.py` of the repository builds; read when one is asked for."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = folders
        self._known: dict[str, str] | None = None

    def by(self, name: str) -> str:
        """The file that builds an extension of that name; "" if none does."""
        if self._known is None:
            self._known = dict(self._read())
        return self._known.get(name, "")

    def _read(self) -> Iterator[tuple[str, str]]:
        for folder in self._folders:
            for pattern in _SETUPS:
                for file in sorted(Path(folder).glob(pattern)):
                    yield from ((name, str(file)) for name in _extensions(file))


def _extensions(file: Path) -> Iterator[str]:
    try:
        tree = parse_python(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) in _BUILDS:
            named = [k.value for k in node.keywords if k.arg == "name"]
            for value in [*named, *node.args[:1]]:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value.partition(".")[0]


def _last(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def operators(source: Source, found: Sequence[Need], known: Collection[str]) -> list[Operator]:
    """Lines that need code which is not PyTorch's; `known` are the namespaces of its operators."""
    lines = {
        need.module.line: Operator(_said(need), need.module.line, need.module.guard, need.there)
        for need in found
        if need.kind == "kernel"
    }
    own = _defined_here(source)
    for node in live(source.tree):
        what = ""
        if isinstance(node, ast.Call) and _LOADS.search(source.dotted(node.func)):
            what = f"{source.dotted(node.func)}, which loads compiled code"
        elif isinstance(node, ast.Attribute):
            parts = source.dotted(node).split(".")
            if parts[:2] == ["torch", "ops"] and len(parts) == 4:
                name = parts[2]
                if name not in known and name not in own:
                    what = f"torch.ops.{name}.{parts[3]}, which PyTorch does not have"
        if what:
            line = getattr(node, "lineno", 0)
            lines.setdefault(line, Operator(what, line, source.guard(node), False))
    return [lines[line] for line in sorted(lines)]


def _said(need: Need) -> str:
    if need.module.top in _COMPILERS:
        return f"{need.module.name}, for kernels of its own"
    how = "built by" if need.where.endswith("setup.py") else "compiled,"
    return f"{need.module.name}, an extension {how} {short_path(need.where)}"


def _defined_here(source: Source) -> set[str]:
    """Namespaces in which the file defines operators itself, in Python."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and source.dotted(node.func) in (
            "torch.library.custom_op",
            "torch.library.Library",
            "torch.library.define",
            "torch.library.triton_op",
        ):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value.partition("::")[0])
    return found


def versions(found: Sequence[Need]) -> Mapping[str, str]:
    """The packages that are installed, by name, with their versions."""
    return {n.module.top: n.version for n in found if n.kind == "package"}
