"""From a SPEC to the model that it names: imports, arguments, checkpoints.

The user's modules are in `sys.modules` only while an `Environment` is active. So a repository with
a `models` package of its own finds that one, whatever else is called `models` in the process, and
leaves none behind.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from srprof import registry
from srprof.errors import InputError, user_raised
from srprof.factories import refuse_factory, refuse_module
from srprof.operators.imports import StandIn, override
from srprof.operators.known import stamp as rules_stamp
from srprof.paths import current_folder, package_root
from srprof.registry import Network
from srprof.spec import Spec
from srprof.weights import read_state_dict
from srprof.words import did_you_mean

#: Never looked for among the user's files.
_OURS = frozenset({"srprof", "torch"})


_T = TypeVar("_T")

#: A file's time and size; None for what has no file.
_Stamp = tuple[int, int] | None

#: By search path, the modules that were imported last, as their files were then.
_last_imports: dict[tuple[str, ...], list[tuple[ModuleType, _Stamp]]] = {}


def _stamp(module: ModuleType) -> _Stamp:
    if isinstance(module, StandIn):
        return rules_stamp(), 0
    try:
        state = os.stat(getattr(module, "__file__", None) or "")
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _has_changed(known: tuple[ModuleType, _Stamp]) -> bool:
    module, before = known
    return _stamp(module) != before


def imported_elsewhere(spec: Spec) -> bool:
    """Whether a file of the SPEC's name was imported from other folders: another revision of it."""
    folders, name = tuple(Environment(spec).folders), os.path.basename(spec.location)
    return any(
        os.path.basename(module.__file__ or "") == name
        for others, modules in _last_imports.items()
        if others != folders
        for module, _ in modules
    )


class Environment:
    """Where a SPEC's code finds its modules: the search path, and those it has imported.

    `sys.path` begins with the file's folder, its first ancestor that is no package, and the
    current folder (as it is when the SPEC is resolved).
    """

    def __init__(self, spec: Spec) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._known: set[str] = set()
        folders = [current_folder()] if spec.location else []
        if spec.location.endswith(".py"):
            file = Path(spec.location).resolve()
            folders = [str(file.parent), str(package_root(file)), *folders]
        self.folders = list(filter(None, dict.fromkeys(folders)))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Put the search path and the modules in place, and those of the process back."""
        if not self.folders:
            yield
            return
        its, path = sys.path, list(sys.path)  # a network may put anything else there
        its[:0] = self.folders
        importlib.invalidate_caches()
        tops = {name.partition(".")[0] for name in sys.modules}
        in_the_way = {top for top in tops if self._stands_in_the_way(top)}
        names = [name for name in sys.modules if name.partition(".")[0] in in_the_way]
        aside = {name: sys.modules.pop(name) for name in names}
        known = self._known = set(sys.modules)
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            self._modules.update(self._taken_out(known))
            sys.modules.update(aside)
            its[:] = path
            sys.path = its
            self._known = set()

    def forget(self) -> None:
        """Have the code's modules imported anew, while active too."""
        self._modules.clear()
        if self._known:
            self._taken_out(self._known)

    def _taken_out(self, known: set[str]) -> dict[str, ModuleType]:
        """The code's modules, but for those known, taken out of `sys.modules`."""
        return {name: sys.modules.pop(name) for name in self._imported_since(known)}

    def _imported_since(self, known: set[str]) -> list[str]:
        """Names of the code's modules, but for those known.

        All of them, before one is taken out: the path of a package without `__init__.py` is read
        from its parent's.
        """
        new = (name for name in set(sys.modules) - known if name.partition(".")[0] not in _OURS)
        return [name for name in new if self._is_ours(sys.modules[name])]

    def imported(self, load: Callable[[], _T]) -> _T:
        """What `load` gives, which imports the code; if that fails, with its modules of last time.

        Code that registers its classes or operators elsewhere when it is imported often cannot be
        imported twice in a process. The earlier modules stand in, if no file of theirs has changed.
        """
        last = _last_imports.get(tuple(self.folders))
        try:
            loaded = load()
        except InputError:
            raise
        except user_raised():
            if last is None or any(map(_has_changed, last)):
                raise
            self._taken_out(self._known)
            sys.modules.update({module.__name__: module for module, _ in last})
            return load()
        ours = map(sys.modules.__getitem__, self._imported_since(self._known))
        _last_imports[tuple(self.folders)] = [(module, _stamp(module)) for module in ours]
        return loaded

    def _stands_in_the_way(self, top: str) -> bool:
        """Whether the folders have a module of this name, to be imported if there were no other."""
        if top in _OURS or top in sys.stdlib_module_names or top == "__main__":
            return False
        # a folder without `__init__.py` is a module only where no other is
        bare = getattr(sys.modules.get(top), "__file__", None) is None
        return any(
            os.path.isfile(os.path.join(folder, f"{top}.py"))
            or os.path.isfile(os.path.join(folder, top, "__init__.py"))
            or (bare and os.path.isdir(os.path.join(folder, top)))
            for folder in self.folders
        )

    def _is_ours(self, module: ModuleType) -> bool:
        if isinstance(module, StandIn):
            return True
        packages = f"{os.sep}site-packages{os.sep}"
        said = getattr(module, "__dict__", {})  # a lazy module answers anything else with code
        paths = said.get("__path__")
        named = [said.get("__file__"), *(paths if isinstance(paths, Iterable) else ())]
        places = [place for place in named if isinstance(place, str)]
        return any(
            place.startswith(folder + os.sep) and packages not in place[len(folder) :]
            for folder in self.folders
            for place in places
        )


def load_factory(spec: Spec) -> Callable[[], Any]:
    """Import what the SPEC names and bind its arguments; its `Environment` must be active.

    What the user's code raises while it is imported passes through. An InputError says which
    module, factory or argument is missing, and what there is, or what may not be called.
    """
    if spec.checkpoint:
        return lambda: _load_checkpoint(spec.checkpoint)
    factory = _find_factory(spec)
    if isinstance(factory, nn.Module) and not (spec.args or spec.kwargs):
        return lambda: factory
    if isinstance(factory, nn.Module):
        what = f"{spec.text!r}: {spec.factory} is a {type(factory).__name__} already"
        raise InputError(f"{what}, and takes no arguments; leave them out")
    _check_arguments(spec, factory)

    def build() -> Any:
        args, kwargs = copy.deepcopy((spec.args, dict(spec.kwargs)))
        return factory(*args, **kwargs)

    return build


def _find_factory(spec: Spec) -> Any:
    """What the SPEC names, imported: a class, a function, or a network that is built already."""
    if spec.network is not None:
        return spec.network.load()
    module = _import(spec)
    factory = getattr(module, spec.factory, None)
    if factory is None:
        raise InputError(_missing_factory(spec, module))
    refuse_factory(spec, factory, Environment(spec).folders)
    return factory


class Arguments(NamedTuple):
    """What a factory is called with.

    Attributes:
        values: by name, the SPEC's and the defaults.
        by_place: names of those that the SPEC gives without one, in order.
    """

    values: dict[str, Any]
    by_place: tuple[str, ...]


def load_arguments(spec: Spec) -> Arguments:
    """What the SPEC's factory is called with; imports and raises as `load_factory`.

    None of a checkpoint, of a network that is built already, and of a factory that does not tell.
    """
    factory = None if spec.checkpoint else _find_factory(spec)
    signature = None if isinstance(factory, nn.Module) else _signature(factory)
    if signature is None:
        return Arguments({}, ())
    bound = signature.bind(*spec.args, **dict(spec.kwargs))
    bound.apply_defaults()
    values, by_place = {**bound.arguments}, signature.bind_partial(*spec.args).arguments
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            del values[parameter.name]
        elif parameter.kind is parameter.VAR_KEYWORD:
            values |= values.pop(parameter.name)
    return Arguments(values, tuple(name for name in by_place if name in values))


def _import(spec: Spec) -> ModuleType:
    refuse_module(spec)
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
    parts = file.relative_to(package_root(file)).with_suffix("").parts
    if len(parts) > 1:  # a file of a package: its relative imports must work
        return importlib.import_module(".".join(parts))
    name = f"_srprof_{parts[0]}"
    if getattr(sys.modules.get(name), "__file__", None) == str(file):
        return sys.modules[name]
    place = importlib.util.spec_from_file_location(name, file)
    assert place is not None and place.loader is not None
    module = sys.modules[place.name] = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    override(module, parts[0])
    return module


def _missing_factory(spec: Spec, module: ModuleType) -> str:
    there = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module)))
    ]
    listed = ", ".join(there[:20]) or "no class or function of its own"
    near = did_you_mean(spec.factory, there)
    return f"{spec.location} has no {spec.factory!r}; it has {listed}{near and f'; {near}'}"


def _check_arguments(spec: Spec, factory: Callable[..., Any]) -> None:
    signature = _signature(factory)
    if signature is None:
        return
    try:
        signature.bind(*spec.args, **dict(spec.kwargs))
    except TypeError as error:
        raise InputError(
            f"{spec.text!r}: {error}; {spec.factory} takes {signature}, so write "
            f"{spec.text.split('(')[0]}(name=value, ...)"
        ) from None


def _signature(factory: Any) -> inspect.Signature | None:
    """What a factory takes; None where Python does not say."""
    try:
        return inspect.signature(factory)
    except (TypeError, ValueError):
        return None


def _load_checkpoint(path: str) -> nn.Module:
    """The network of a checkpoint, recognised from its keys by a zoo, else by spandrel."""
    state = read_state_dict(path)
    known = recognised(state, path)
    if known is not None:
        return known[1]
    try:
        from spandrel import ModelLoader
    except ImportError:
        raise InputError(
            f"{path}: no zoo recognises it, and asking spandrel needs the package: pip install "
            "'srprof[spandrel]', or give a network with --weights"
        ) from None
    try:
        model: nn.Module = ModelLoader(device="cpu").load_from_state_dict(state).model
    except Exception as error:
        raise InputError(
            f"{path}: neither a zoo nor spandrel recognises it ({type(error).__name__}); give its "
            "network, file.py:Factory --weights FILE"
        ) from error
    return model


def needed(module: str, what: str, extra: str) -> Any:
    """A module of an optional package; an InputError says what needs it, and what to install."""
    try:
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{what}: pip install 'srprof[{extra}]'") from None


def recognised(state: Mapping[str, Tensor], path: str) -> tuple[Network, nn.Module] | None:
    """The zoo's network that a state dict belongs to, with its weights; None if no zoo knows it.

    An InputError if it is one's, but some of it is missing or has another shape.
    """
    for network in registry.networks():
        if network.from_state_dict:
            try:
                model = registry.load(network.from_state_dict)(state)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
            if model is not None:
                return network, model
    return None
