"""SPEC: what stands on the command line for a model.

    fmen_s                              a network of an installed zoo
    fmen_s(scale=2)                     the same with hyper-parameters
    path/to/net.py:Net(nf=48)           a class or function in a file
    package.module:Net                  a class or function in an importable module
    weights.pth, weights.safetensors    a checkpoint that spandrel recognises

Arguments are Python literals; nothing on the command line is evaluated.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from srprof import registry
from srprof.errors import InputError

CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")

#: What a person may take for a zoo name.
_ALMOST_NAME = re.compile(r"[A-Za-z]\w*(-\w+)+")

#: Modules that came in with user files, so that a second file finds its own `models` package.
_from_files: set[str] = set()


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed SPEC. Of `network`, `location` and `checkpoint` one is set.

    Attributes:
        text: as the user wrote it.
        location: file or dotted module that holds `factory`.
        factory: name of the class or function; for a zoo network, its name.
    """

    text: str
    factory: str = ""
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    location: str = ""
    network: registry.Network | None = None
    checkpoint: str = ""

    @property
    def name(self) -> str:
        """A short name for titles."""
        if self.network is not None:
            return self.network.name
        return self.factory or Path(self.checkpoint).name


def parse(text: str) -> Spec:
    """Parse a SPEC. Imports no model; a zoo name is looked up.

    Raises:
        InputError: the text is none of the forms, or names a network or file that is not there.
    """
    if text.endswith(CHECKPOINTS):
        if not os.path.isfile(text):
            raise InputError(f"there is no file {text!r}: check the path of the checkpoint")
        return Spec(text, checkpoint=text)
    location, call = _split(text)
    if not location and _ALMOST_NAME.fullmatch(call):
        registry.find(call)  # "FMEN-S": no Python name, but one to suggest another for
    name, args, kwargs = _parse_call(call, text)
    if not location:
        if call.endswith(".py") or os.sep in call:
            raise InputError(f"{text!r} names a file only: add the factory, {call}:Factory")
        return Spec(text, name, args, kwargs, network=registry.find(name))
    if location.endswith(".py") or os.sep in location:
        if not os.path.isfile(location):
            raise InputError(f"there is no file {location!r}: check the path before the colon")
    elif not all(part.isidentifier() for part in location.split(".")):
        raise InputError(f"{location!r} is neither a .py file nor a module: write file.py:Factory")
    return Spec(text, name, args, kwargs, location=location)


def _split(text: str) -> tuple[str, str]:
    """Location and call; a colon inside the arguments or after a drive letter is not the one."""
    head = text.split("(", 1)[0]
    location, colon, _ = head.rpartition(":")
    return (location, text[len(location) + 1 :]) if colon else ("", text)


def _parse_call(call: str, text: str) -> tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]:
    if call.endswith(".py") or os.sep in call.split("(", 1)[0]:
        return call, (), ()
    try:
        tree = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        tree = None
    if isinstance(tree, ast.Name):
        return tree.id, (), ()
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise InputError(
            f"{text!r} is not a model: write a zoo name, file.py:Factory or "
            "file.py:Factory(nf=48, scale=4)"
        )
    args = tuple(_literal(node, text) for node in tree.args)
    kwargs = tuple((k.arg or "**", _literal(k.value, text)) for k in tree.keywords)
    if any(name == "**" for name, _ in kwargs):
        raise InputError(f"{text!r}: ** is not read here; write the arguments out")
    return tree.func.id, args, kwargs


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise InputError(
            f"{text!r}: the argument {ast.unparse(node)!r} is not a literal; only numbers, "
            "strings, True, False, None and lists, tuples and dicts of them are read"
        ) from None


@contextmanager
def search_path(spec: Spec) -> Iterator[None]:
    """`sys.path` as the load needs it: the file's folder, its package root, the current folder."""
    before = list(sys.path)
    extra = [os.getcwd()]
    if spec.location.endswith(".py"):
        file = Path(spec.location).resolve()
        extra = [str(file.parent), str(_package_root(file)), *extra]
    sys.path[:0] = list(dict.fromkeys(extra))
    try:
        yield
    finally:
        sys.path[:] = before


def _package_root(file: Path) -> Path:
    """The first folder above the file that is not itself inside a package."""
    folder = file.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def load_factory(spec: Spec) -> Callable[[], Any]:
    """Import what the SPEC names and bind its arguments; inside `search_path`.

    What the user's code raises while it is imported passes through.

    Raises:
        InputError: the module, the factory or an argument is missing, and what there is.
    """
    if spec.checkpoint:
        return lambda: _load_checkpoint(spec.checkpoint)
    kwargs = dict(spec.kwargs)
    if spec.network is not None:
        factory: Any = spec.network.load()
    else:
        module = _import(spec)
        factory = getattr(module, spec.factory, None)
        if factory is None:
            raise InputError(_missing_factory(spec, module))
    if not callable(factory) or _is_module(factory):
        if spec.args or kwargs or not _is_module(factory):
            kind = type(factory).__name__
            raise InputError(
                f"{spec.text!r}: {spec.factory} is a {kind}, which cannot be called with these "
                "arguments to give a network; name a class or a function"
            )
        return lambda: factory
    _check_arguments(spec, factory)
    return lambda: factory(*spec.args, **kwargs)


def _is_module(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _import(spec: Spec) -> ModuleType:
    if not spec.location.endswith(".py"):
        try:
            return importlib.import_module(spec.location)
        except ModuleNotFoundError as error:
            if error.name and (spec.location + ".").startswith(error.name + "."):
                raise InputError(
                    f"there is no module {error.name!r}: check {spec.text!r}, or run srprof from "
                    "the folder that holds it"
                ) from None
            raise
    file = Path(spec.location).resolve()
    relative = file.relative_to(_package_root(file)).with_suffix("")
    name = ".".join(relative.parts)
    before = set(sys.modules)
    for known in _from_files:
        sys.modules.pop(known, None)
    _from_files.clear()
    try:
        if len(relative.parts) > 1:  # a file of a package: its relative imports must work
            return importlib.import_module(name)
        found = importlib.util.spec_from_file_location(f"_srprof_{name}", file)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module
        found.loader.exec_module(module)
        return module
    finally:
        root = str(_package_root(file)) + os.sep
        for new in set(sys.modules) - before:
            origin = getattr(sys.modules[new], "__file__", None) or ""
            if origin.startswith(root) and "site-packages" not in origin[len(root) :]:
                _from_files.add(new)


def _missing_factory(spec: Spec, module: ModuleType) -> str:
    from torch import nn

    there = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))
    ]
    near = difflib.get_close_matches(spec.factory, there, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    listed = ", ".join(there[:20]) or "no class or function of its own"
    return f"{spec.location} has no {spec.factory!r}; it has {listed}.{hint}"


def _check_arguments(spec: Spec, factory: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*spec.args, **dict(spec.kwargs))
    except TypeError as error:
        raise InputError(
            f"{spec.text!r}: {error}; {spec.factory} takes {signature}, so write "
            f"{spec.text.split('(')[0]}(name=value, ...)"
        ) from None


def _load_checkpoint(path: str) -> Any:
    """The network of a checkpoint, recognised by spandrel from its keys."""
    try:
        from spandrel import ModelLoader, UnsupportedModelError
    except ImportError:
        raise InputError(
            f"{path}: reading a checkpoint needs spandrel; pip install 'srprof[spandrel]', or "
            "give file.py:Factory"
        ) from None
    import torch

    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from error
    try:
        return ModelLoader(device="cpu").load_from_state_dict(state).model
    except UnsupportedModelError:
        raise InputError(
            f"{path}: spandrel recognises no architecture from its keys; give file.py:Factory"
        ) from None
