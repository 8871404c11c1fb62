"""Who holds it: the variables that reference each storage at one node, or at each.

A second run of the same workload stops at that node and looks through the locals of the frames on
the stack, and through what lists, dicts, objects and modules reached from them hold.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import islice
from operator import is_
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, get_args

import torch
from torch import nn

from srprof.blame import function_name, is_engine_file, is_user_file
from srprof.copying import is_users, items_of, untouched
from srprof.errors import Stop, user_raised
from srprof.memory.model import of_the_run
from srprof.networks import named_modules
from srprof.records import Reference, ReferenceKind, Trace
from srprof.tracing.gpu import standing_in
from srprof.tracing.recorder import DEVICE_TYPES, Recorder, call_model, recording, stack
from srprof.tracing.unseen import warm_up
from srprof.workload import Workload

#: How deep containers and objects are searched from a variable.
_DEPTH = 4
#: How many items of one container are searched.
_ITEMS = 4096
#: Up to how many things Python's own search for what refers to them is the fastest.
_FEW = 16
#: How many items are searched from one variable in all.
_IN_ALL = 2**17

#: Attributes that every module has: parameters, buffers, children, hooks.
_MODULES_OWN = frozenset(vars(nn.Module()))

#: Where a module keeps what it has registered.
_KEPT_BY_NAME = ("_parameters", "_buffers", "_modules")
_NOTHING: Mapping[str, Any] = {}

#: What no search goes into; modules are searched by themselves.
_LEAVES = (str, bytes, int, float, type(None), type, ModuleType, torch.dtype, nn.Module)

_ORDER = {kind: place for place, kind in enumerate(get_args(ReferenceKind))}


#: By storage, what references it, each with the place of its frame among the user's.
Held = Mapping[int, tuple[tuple[Reference, int], ...]]


class _Inspector:
    """Watches the second run: notes the stack at births, and looks around at some nodes.

    Attributes:
        found: by node and storage, references, each with the place of its frame among the user's.
    """

    def __init__(self, trace: Trace, nodes: range) -> None:
        self.trace = trace
        self.last = nodes[-1]
        self.alive = _alive_at(trace, nodes)
        self.births = {trace.storages[i].birth for alive in self.alive.values() for i in alive}
        self.lines_at_birth: dict[int, dict[int, int]] = {}
        self.found: dict[int, dict[int, dict[Reference, int]]] = {}
        self.node = -1
        self.wanted: set[int] = set()
        self.references: dict[int, dict[Reference, int]] = {}
        self.modules: list[tuple[str, _Attributes]] = []

    def __call__(self, recorder: Recorder, model: nn.Module) -> None:
        index = len(recorder.nodes) - 1
        if recorder.nodes[index].op != self.trace.nodes[index].op:
            raise Stop
        if index in self.births:
            self.lines_at_birth[index] = {id(f): f.f_lineno for f in stack()}
        if index not in self.alive:
            return
        self.node, self.wanted = index, self.alive[index]
        self.references = {}
        if self._look(recorder, model):
            self.found[index] = self.references
        if index == self.last:
            raise Stop

    def _look(self, recorder: Recorder, model: nn.Module) -> bool:
        """Find what references the wanted storages.

        False where that needs a search of the whole heap, which only one node is worth.
        """
        caller: FrameType | None = None
        torch_frames: list[FrameType] = []
        depth = sum(is_user_file(frame.f_code.co_filename) for frame in stack())
        for frame in stack():
            filename = frame.f_code.co_filename
            if is_user_file(filename):
                depth -= 1
                for torch_frame in torch_frames:
                    self._look_at_frame(recorder, torch_frame, user=frame)
                torch_frames.clear()
                self._look_at_frame(recorder, frame, user=frame, depth=depth)
                caller = frame
            elif not is_engine_file(filename):
                torch_frames.append(frame)
        for torch_frame in torch_frames:
            self._look_at_frame(recorder, torch_frame, user=caller)
        del caller, torch_frames
        self._look_at_modules(recorder, model)
        read = {info.storage for info in recorder.nodes[-1].inputs}
        nameless = self.wanted.difference(self.references)
        for storage in nameless & read:  # a value on its way from one call to the next
            self._add(storage, self._at_birth(storage, "(a temporary)", "temporary"))
        # its own results have no name yet, and what has no bytes needs none
        lives = {storage: recorder.ledger.lifetimes[storage] for storage in nameless - read}
        missing = {s for s, life in lives.items() if life.nbytes and life.birth != self.node}
        if missing and len(self.alive) > 1:
            return False
        if missing:
            self._look_everywhere(recorder, missing)
        return True

    def _look_at_frame(
        self, recorder: Recorder, frame: FrameType, user: FrameType | None, depth: int = -1
    ) -> None:
        where = function_name(frame.f_code), frame.f_code.co_filename
        for name, value in list(frame.f_locals.items()):
            for path, tensor in _reach(name, value):
                storage = recorder.ledger.index_of(tensor)
                if storage is None:
                    continue
                if depth < 0:
                    self._add(storage, _in_torch(path, frame, user))
                else:
                    binding = self._binding(frame, path, name, storage)
                    self._add(storage, Reference(path, *where, *binding), depth)

    def _binding(
        self, frame: FrameType, path: str, name: str, storage: int
    ) -> tuple[int, ReferenceKind]:
        """The line where a variable of the frame got the storage."""
        code = frame.f_code
        stores = _store_lines(code).get(name, ())
        birth = self.trace.storages[storage].birth
        born = self.lines_at_birth.get(birth, {}).get(id(frame))
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if name in arguments and (born is None or not stores):
            return code.co_firstlineno, "argument"
        if born is None:  # it came from elsewhere
            return min(stores, default=code.co_firstlineno), "local"
        before = [line for line in stores if line <= born]
        line = max(before, default=min(stores, default=born)) if path == name else born
        return line, "local"

    def _look_at_modules(self, recorder: Recorder, model: nn.Module) -> None:
        if any(module.has_changed() for _, module in self.modules) or not self.modules:
            self.modules = [(path, _Attributes(module)) for path, module in named_modules(model)]
        for module_path, module in self.modules:
            for name, value in module.leading:
                for path, tensor in _reach(f"self.{name}", value):
                    storage = recorder.ledger.index_of(tensor)
                    if storage in self.wanted:
                        where = f"{module_path or 'model'} ({module.kind})"
                        self._add(storage, Reference(path, where, "", 0, "attribute"))

    def _look_everywhere(self, recorder: Recorder, missing: set[int]) -> None:
        """Ask the garbage collector who refers to the tensors that no frame or module names."""
        tensors = [
            candidate
            for candidate in gc.get_objects()
            if issubclass(type(candidate), torch.Tensor)
            and recorder.ledger.index_of(candidate) in missing
        ]
        storages = [
            storage for t in tensors if (storage := recorder.ledger.index_of(t)) is not None
        ]
        roots = _roots(tensors, storages)
        for storage in missing:
            reference = roots.get(storage)
            if reference is None and storage in storages:
                name = "(a temporary or a reference cycle)"
                if torch.is_grad_enabled():
                    name = "(a temporary, a reference cycle or a graph of autograd)"
                reference = self._at_birth(storage, name, "unknown")
            self._add(storage, reference or self._at_birth(storage, "(inside torch)", "torch"))

    def _at_birth(self, storage: int, name: str, kind: ReferenceKind) -> Reference:
        """A reference without a variable, at the line that made the storage."""
        birth = self.trace.storages[storage].birth
        if birth < 0:
            return Reference(name, "", "", 0, kind)
        node = self.trace.nodes[birth]
        return Reference(name, node.function, node.file, node.line, kind)

    def _add(self, storage: int, reference: Reference, depth: int = -1) -> None:
        if storage in self.wanted:
            self.references.setdefault(storage, {})[reference] = depth


def find_holders(workload: Workload, trace: Trace, node: int) -> Held | None:
    """What references each storage that is alive when the node has ended.

    Returns:
        By storage index, references, the user's own variables first, each with the place of its
        frame among the user's: 0 is the outermost, -1 no frame of the user's. None if the second
        run did not make the same calls, so that nothing can be said.
    """
    found = _holders_at(workload, trace, range(node, node + 1))
    return None if found is None else found.get(node, {})


def find_holders_in(workload: Workload, trace: Trace, nodes: range) -> Mapping[int, Held]:
    """What `find_holders` says of each of these nodes, from one run.

    Without the nodes at which only a search of the whole heap tells it, and {} where the run did
    not make the same calls.
    """
    return _holders_at(workload, trace, nodes) or {}


def _holders_at(workload: Workload, trace: Trace, nodes: range) -> dict[int, Held] | None:
    inspector = _Inspector(trace, nodes)
    ops = run_again(workload, trace, inspector)
    if ops is None or ops != [node.op for node in trace.nodes[: len(ops)]]:
        return None
    return {
        node: {
            storage: tuple(sorted(references.items(), key=lambda item: _ORDER[item[0].kind]))
            for storage, references in found.items()
        }
        for node, found in inspector.found.items()
    }


def _alive_at(trace: Trace, nodes: range) -> dict[int, set[int]]:
    """The storages of the run that are referenced at the end of each of these nodes."""
    alive: dict[int, set[int]] = {node: set() for node in nodes}
    for index, storage in enumerate(trace.storages):
        if of_the_run(storage):
            first, last = max(storage.birth, nodes.start), min(storage.death, nodes.stop)
            for node in range(first, last):
                alive[node].add(index)
    return alive


def run_again(
    workload: Workload,
    trace: Trace,
    watch: Callable[[Recorder, nn.Module], None],
    within: AbstractContextManager[object] | None = None,
) -> list[str] | None:
    """Run a workload as its trace was made; `watch` is told of each node, and may stop the run.

    Returns:
        The ops that were called; None if the model raised, so that this run is another.
    """
    with standing_in(trace.device):
        model, *_ = instance = workload.instance(trace.device)
        kind = DEVICE_TYPES[trace.device]
        stopped: list[Recorder] = []

        def on_node(recorder: Recorder) -> None:
            try:
                watch(recorder, model)
            except Stop:
                stopped.append(recorder)
                raise

        recorder = Recorder(model, kind, on_node, defer=not workload.own.works_at_once)
        recorder.add_inputs(instance.args, instance.kwargs)
        try:
            warm_up(instance)
            with untouched(model), recording(recorder), within or nullcontext():
                call_model(*instance)
        except Stop:
            pass
        except user_raised():  # TorchScript passes a stop on as an error of its own
            if not stopped:
                return None
        finally:
            recorder.ledger.forget()
    return [node.op for node in recorder.nodes]


def _reach(
    name: str, value: Any, depth: int = _DEPTH, left: Iterator[int] | None = None
) -> Iterator[Any]:
    """Tensors reached from a variable, each with the expression that names it.

    `left` has one number for each item that may still be looked at.
    """
    if issubclass(type(value), torch.Tensor):
        yield name, value
        return
    if depth == 0 or isinstance(value, _LEAVES):
        return
    left = iter(range(_IN_ALL)) if left is None else left
    parts, step = _parts(value)
    for (key, item), _ in zip(islice(parts, _ITEMS), left, strict=False):
        if not isinstance(item, _LEAVES):
            yield from _reach(name + step.format(key), item, depth - 1, left)


def _parts(value: Any) -> tuple[Iterable[tuple[object, Any]], str]:
    """What a container or an object holds, by key, and how Python writes the step to it.

    Without its own code, which may do anything, or never end: a class of the user's that is a
    mapping, but no dict, is an object like others.
    """
    kind = type(value)
    if issubclass(kind, (list, tuple, deque)):
        return enumerate(items_of(value)), "[{}]"
    if issubclass(kind, (set, frozenset)):
        return (("...", item) for item in items_of(value)), "{{{}}}"
    if issubclass(kind, dict):
        return list(islice(dict.items(value), _ITEMS)), "[{!r}]"
    if issubclass(kind, Mapping) and not is_users(kind):
        return list(islice(zip(value, value.values(), strict=False), _ITEMS)), "[{!r}]"
    attributes = getattr(value, "__dict__", None)
    return list(attributes.items()) if isinstance(attributes, dict) else (), ".{}"


@cache
def _store_lines(code: CodeType) -> Mapping[str, Sequence[int]]:
    """Lines on which each variable of a function is bound."""
    stores: dict[str, list[int]] = defaultdict(list)
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        if sys.version_info >= (3, 13):
            line = instruction.line_number or line
        else:
            line = instruction.starts_line or line
        if instruction.opname.startswith("STORE_"):
            names = instruction.argval
            for name in names if isinstance(names, tuple) else (names,):
                stores[str(name)].append(line)
    return stores


def _in_torch(path: str, frame: FrameType, user: FrameType | None) -> Reference:
    """A variable of torch's own code, at the user's line that called it."""
    code = frame.f_code
    function = function_name(code)
    if function.startswith("Module._"):  # what a module was called with
        path = "(a call's argument)"
    if user is None:
        return Reference(path, function, code.co_filename, frame.f_lineno, "torch")
    named = not path.startswith("(")
    shown = f"{path} (in {function})" if named else path
    kind: ReferenceKind = "torch" if named else "temporary"
    where = (function_name(user.f_code), user.f_code.co_filename, user.f_lineno)
    return Reference(shown, *where, kind)


class _Attributes:
    """A module's attributes, parameters and buffers, read anew only where one has changed.

    Attributes:
        leading: those that may lead to a tensor, by name.
        kind: the module's class.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._values = self._bound()
        self.leading = [(n, value) for n, value in _attributes(module) if _may_lead(value)]
        self.kind = type(module).__name__

    def _bound(self) -> list[Any]:
        own = vars(self._module)
        parameters, buffers, modules = (own.get(name, _NOTHING) for name in _KEPT_BY_NAME)
        return [*own.values(), *parameters.values(), *buffers.values(), *modules.values()]

    def has_changed(self) -> bool:
        """Whether an attribute is bound to something else, or there are others."""
        now, before = self._bound(), self._values
        return len(now) != len(before) or not all(map(is_, now, before))


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """A module's attributes, parameters and buffers, without what every module has."""
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers"):
            yield from value.items()
        elif name not in _MODULES_OWN:
            yield name, value


def _may_lead(value: Any) -> bool:
    """Whether a tensor may ever be reached from a value, which itself stays what it is."""
    immutable = isinstance(value, (tuple, frozenset))
    return any(map(_may_lead, value)) if immutable else not isinstance(value, _LEAVES)


def _roots(things: list[Any], storages: list[int]) -> dict[int, Reference]:
    """The nearest global, class or closure that leads to tensors, each given with its storage.

    Nothing here may refer to what is searched for but the one list of it: it would be found.
    """
    globals_of = {
        id(vars(m)): m.__name__ for m in list(sys.modules.values()) if isinstance(m, ModuleType)
    }
    roots: dict[int, Reference] = {}
    seen: set[int] = set()
    # by the id of a thing, how each storage that it leads to is written behind its name
    paths: dict[int, dict[int, str]] = defaultdict(dict)
    for thing, storage in zip(things, storages, strict=True):
        paths[id(thing)][storage] = ""
    for _ in range(_DEPTH):
        following: list[Any] = []
        reached: dict[int, dict[int, str]] = defaultdict(dict)
        for referrer in _referrers(things) if things else ():
            own = referrer is things or referrer is following
            if own or id(referrer) in seen or isinstance(referrer, FrameType):
                continue
            seen.add(id(referrer))
            for child, step in _contents(referrer, globals_of):
                for storage, path in paths.get(id(child), {}).items():
                    if storage in roots:
                        continue
                    if root := _root(referrer, step + path, globals_of):
                        roots[storage] = root
                    else:
                        reached[id(referrer)].setdefault(storage, step + path)
            if id(referrer) in reached:
                following.append(referrer)
        paths = {
            holder: left
            for holder, its in reached.items()
            if (left := {storage: path for storage, path in its.items() if storage not in roots})
        }
        things = [thing for thing in following if id(thing) in paths]
        del following
    return roots


def _referrers(things: list[Any]) -> list[Any]:
    """What refers to one of them; Python's own search compares each reference with each thing."""
    if len(things) <= _FEW:
        return gc.get_referrers(*things)
    wanted = set(map(id, things))
    return [
        holder
        for holder in gc.get_objects()
        if not wanted.isdisjoint(map(id, gc.get_referents(holder)))
    ]


def _contents(holder: Any, globals_of: Mapping[int, str]) -> Iterator[tuple[Any, str]]:
    """What a thing refers to, with how Python writes the step."""
    if isinstance(holder, dict):
        in_module = id(holder) in globals_of
        for key, value in list(holder.items()):
            yield value, str(key) if in_module else f"[{key!r}]"
    else:
        listed = isinstance(holder, (list, tuple, set, frozenset, deque))
        for value in list(holder) if listed else gc.get_referents(holder):
            yield value, "[...]" if listed else ""


def _root(holder: Any, path: str, globals_of: Mapping[int, str]) -> Reference | None:
    """The reference that a thing amounts to, if it has a name of its own."""
    if id(holder) in globals_of:
        return Reference(f"{globals_of[id(holder)]}.{path}", "(module)", "", 0, "global")
    if isinstance(holder, type):
        return Reference(f"{holder.__qualname__}{path}", "(class)", "", 0, "global")
    if isinstance(holder, FunctionType):
        code = holder.__code__
        where = (function_name(code), code.co_filename, code.co_firstlineno)
        return Reference(f"(closure){path}", *where, "global")
    return None
