"""A network of a challenge's repository, built as the repository's own script builds it.

The script's `select_model(args, device)` is run by itself, with what it needs of the script: no
image is read. A network that it says to run in tiles is called by the script's `forward`, and one
for which `run` has a function of its own (`if args.model_id == 34:`) by that. Weights are neither
read nor loaded, so they need not be there. Modules of a repository are called as those of another
(`models`, `utils`), and stay loaded: each network is for a process of its own, whose current folder
is the repository.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.files import parse_python, read_text
from srprof.paths import working_in
from srprof.words import one_line

if TYPE_CHECKING:
    from torch import nn

    from srprof.records import Trace

#: What the challenge's repositories call their script, and its functions: what builds a network,
#: with the size of tiles if it is to run in these, what calls it, and what calls that for an image.
SCRIPT = "test_demo.py"
FUNCTION, FORWARD, RUN = "select_model", "forward", "run"
#: The classes of a network in tiles, and of one that the script calls by a function of its own.
_TILED, _CALLED = "Tiled", "Called"
#: Of scripts that the networks' files import and never call.
_NEVER_CALLED = ("cv2", "lmdb")


def network(repository: str, number: int, script: str = SCRIPT) -> nn.Module:
    """A network as the script builds it on a GPU, which need not be there: a SPEC may name this.

    `srprof analyze "srprof.challenge.script:network('.', 18)"` in the repository's folder.
    """
    return build(Path(repository), number, "cuda", script)


def build(
    repository: Path,
    number: int,
    device: str = "cpu",
    script: str = SCRIPT,
    weights: Callable[[], AbstractContextManager[object]] | None = None,
    as_called: bool = True,
) -> nn.Module:
    """A network of a repository by its number, in evaluation mode.

    Args:
        device: "cuda", or "cpu": then the network's code puts nothing on a GPU, also later on.
        script: the script's path, from the repository.
        weights: how the script's `torch.load` and the networks' `load_state_dict` are to be; by
            default nothing is read or loaded.
        as_called: whether it is called as the script does, where that is in tiles or its own way.

    Raises:
        InputError: there is no such script, or no `select_model` in it.
        Exception: whatever the script's or the network's code raises.
    """
    import torch

    file = repository.resolve() / script
    needed, caller = _needed(file, number)
    for name in _NEVER_CALLED:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = _stand_in(name)
    if str(repository.resolve()) not in sys.path:
        sys.path.insert(0, str(repository.resolve()))
    if device == "cpu":
        torch.nn.Module.cuda = lambda self, *_: self  # type: ignore[method-assign]
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    arguments = argparse.Namespace(model_id=number, save_dir="", hdr=False)
    with working_in(str(repository)), (weights or _without_weights)():
        scope: dict[str, Any] = {"os": os, "torch": torch, "__file__": str(file)}
        exec(compile(ast.Module(needed, []), str(file), "exec"), scope)
        found = scope[FUNCTION](arguments, torch.device(device))
    model, *more = found if isinstance(found, tuple) else (found,)
    tile = more[2] if len(more) > 2 else None
    if as_called and caller in scope and (tile is not None or caller != FORWARD):
        model = _called(model, scope[caller], tile)
    whole: nn.Module = model.eval()
    return whole


def is_tiled(trace: Trace) -> bool:
    """Whether what was run is a network that the script has run in tiles."""
    return trace.modules[0].kind.rpartition(".")[2] == _TILED


def _called(model: nn.Module, forward: Callable[..., Any], tile: int | None) -> nn.Module:
    """A network that is called as the script calls it, in tiles of this size if one is given."""
    from torch import Tensor, nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Any:
            return forward(image, self.model, tile)

    Whole.__name__ = _CALLED if tile is None else _TILED
    return Whole()


def check_script(repository: Path, script: str = SCRIPT) -> None:
    """An InputError if the repository has no such script, or that no `select_model`."""
    if not repository.is_dir():
        raise InputError(f"there is no folder {str(repository)!r}: name the repository")
    _needed(repository / script)


def _needed(file: Path, number: int | None = None) -> tuple[list[ast.stmt], str]:
    """What a script needs to build and to call a network, and the function that calls it.

    Two functions, and what they name.
    """
    try:
        body = parse_python(read_text(file, mend="name the repository, and --script"), str(file))
    except SyntaxError as error:
        raise InputError(f"{file} is no Python: {one_line(error)}") from error
    binding: dict[str, ast.stmt] = {}
    for statement in body.body:
        binding |= dict.fromkeys(_bound(statement), statement)
    if not isinstance(binding.get(FUNCTION), ast.FunctionDef):
        raise InputError(f"{file} has no function {FUNCTION}(args, device): give another --script")
    caller = _caller(binding.get(RUN), number, binding)
    wanted, needed = [FUNCTION, caller], set()
    while wanted:
        statement = binding.pop(wanted.pop(), None)
        if statement is not None and statement not in needed:
            needed.add(statement)
            names = (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            wanted += names
    return [statement for statement in body.body if statement in needed], caller


def _caller(run: ast.stmt | None, number: int | None, known: Collection[str]) -> str:
    """The function by which the script's `run` calls a network: one for this number, if any."""
    branches = [] if run is None else [n for n in ast.walk(run) if isinstance(n, ast.If)]
    for branch in branches:
        if ast.unparse(branch.test) == f"args.model_id == {number}":
            calls = (n for part in branch.body for n in ast.walk(part) if isinstance(n, ast.Call))
            names = (call.func.id for call in calls if isinstance(call.func, ast.Name))
            return next((name for name in names if name in known), FORWARD)
    return FORWARD


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module binds."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from ((a.asname or a.name).partition(".")[0] for a in statement.names)
    elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
        yield from (name.id for name in stored if isinstance(name.ctx, ast.Store))


class Anything(dict[str, Any]):
    """The weights that are not there: whatever is looked up in them is weights again."""

    def __missing__(self, key: str) -> Any:
        return Anything()


@contextmanager
def loading_by(read: Callable[..., Any], load: Callable[..., Any] | None = None) -> Iterator[None]:
    """These for `torch.load` and, if given, for `Module.load_state_dict`."""
    import torch

    before = torch.load, torch.nn.Module.load_state_dict
    torch.load = read
    torch.nn.Module.load_state_dict = load or before[1]  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.load, torch.nn.Module.load_state_dict = before  # type: ignore[method-assign]


def _without_weights() -> AbstractContextManager[None]:
    """No checkpoint is read, and none is loaded into a network."""
    return loading_by(lambda *_, **__: Anything(), lambda *_, **__: None)


def _stand_in(name: str) -> ModuleType:
    """A module of which everything may be imported."""

    def attribute(of: str) -> Any:
        if of.startswith("__"):
            raise AttributeError(of)
        return lambda *_, **__: None

    module = ModuleType(name)
    module.__getattr__ = attribute  # type: ignore[method-assign]
    return module
