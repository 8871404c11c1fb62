"""What stands in for operators that are not there: one operator of torch's for each rule.

A rule's function is an operator of torch's (`rules_mamba_ssm::selective_scan_fn`), which makes on
meta what the rule says, and elsewhere runs the rule's own code, if it has some. The recorder sees
one call, and asks `ruled` what it costs. `srprof.operators.imports` puts the function where the
network looks for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srprof.dtypes import name_of
from srprof.errors import InputError
from srprof.operators.expressions import TensorFacts
from srprof.operators.rules import Made, Rule
from srprof.records import RULED, Ruled
from srprof.words import shape_text

#: How torch's schemas call what an argument can be.
_KINDS: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    torch.dtype: "ScalarType",
    torch.device: "Device",
    torch.memory_format: "MemoryFormat",
}
_BACKWARD = "(Tensor?[] grads, Tensor[] saved, str made) -> Tensor[]"


class _Op(NamedTuple):
    """An operator that was made for a rule; `names` of its arguments, None of a backward."""

    rule: Rule
    by: str
    names: tuple[str, ...] | None

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name; torch leaves out what is as the schema has it."""
        assert self.names is not None
        return {**dict(zip(self.names, args, strict=False)), **kwargs}


#: By torch's own object, and by what it is called there.
_OPS: dict[Any, _Op] = {}
_MADE: dict[str, Any] = {}
#: Torch's libraries by namespace: what they define goes when they do.
_LIBRARIES: dict[str, torch.library.Library] = {}


def ruled(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Ruled | None:
    """What its rule says of a call of an operator; None of operators without one."""
    op = _OPS.get(func)
    if op is None:
        return None
    if op.names is None:
        return Ruled(op.rule.function, op.by, None, op.rule.family)
    return op.rule.ruled(_facts(op.values(args, kwargs)), op.by)


@cache
def function(rule: Rule, by: str) -> Callable[..., Any]:
    """The function of a rule that is from `by`; an InputError where it has no figure of a call."""

    def stands_in(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = rule.parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{rule.name}{rule.parameters}: {error}") from None
        bound.apply_defaults()
        values = dict(bound.arguments)
        if torch.is_grad_enabled() and any(t.requires_grad for t in _tensors(values.values())):
            names = tuple(values)
            made = _Differentiable.apply(rule, by, names, *values.values())  # type: ignore[no-untyped-call]
        else:
            made = _call(rule, by, values)
        return _handed(rule, values, made)

    stands_in.__name__ = stands_in.__qualname__ = rule.name
    stands_in.__module__ = rule.module
    stands_in.__doc__ = f"Stands in for {rule.function}, by the rule in {by}."
    about: Any = stands_in
    about.__signature__ = rule.parameters
    about.default = stands_in  # `torch.ops.my.op.default`
    return stands_in


def _handed(rule: Rule, values: Mapping[str, Any], made: Iterable[Tensor]) -> Any:
    """What a call gives, of the tensors that it made."""
    new = iter(made)
    found = [values[m.same] if m.same else next(new) for m in rule.returned(_facts(values))]
    return (found[0] if len(found) == 1 else tuple(found)) if found else None


def _call(rule: Rule, by: str, values: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The tensors of a call's results and of its scratch."""
    plan = rule.plan(_facts(values))
    count = len(plan.results) + len(plan.scratch)
    func = _operator(_Op(rule, by, tuple(values)), rule.name, _schema(rule, values, count))
    made = func(*values.values())
    return (made,) if isinstance(made, Tensor) else tuple(made or ())


def _schema(rule: Rule, values: Mapping[str, Any], count: int) -> str:
    """Arguments and results as torch writes them."""
    arguments = []
    for place, (name, value) in enumerate(values.items()):
        kind = _kind(value)
        if kind is None:
            what = f"the rule of {rule.function}: {name} is of {type(value).__name__}"
            raise InputError(f"{what}, which no operator of torch's takes")
        if name in rule.writes:
            kind = kind.replace("Tensor", f"Tensor(a{place}!)", 1)
        arguments.append(f"{kind} {name}_")  # a name of Python's may be a word of torch's
    results = ", ".join(["Tensor"] * count)
    return f"({', '.join(arguments)}) -> {results if count == 1 else f'({results})'}"


def _kind(value: Any) -> str | None:
    """How a schema calls what a value is; None if it cannot."""
    if value is None:
        return "Tensor?"
    if isinstance(value, Tensor):
        return "Tensor"
    if not isinstance(value, (list, tuple)):
        return _KINDS.get(type(value))
    kinds = set(map(_kind, value)) or {"int"}
    if kinds == {"Tensor", "Tensor?"}:
        return "Tensor?[]"
    (kind, *others) = kinds
    return None if others or kind is None or kind.endswith("]") else f"{kind}[]"


def _operator(op: _Op, name: str, schema: str) -> Any:
    """Torch's operator of a rule for calls with such arguments."""
    namespace = RULED + op.rule.namespace
    overload = f"of_{hashlib.sha256(schema.encode()).hexdigest()[:8]}"
    called = f"{namespace}::{name}.{overload}"
    if called not in _MADE:
        _MADE[called] = _defined(namespace, name, overload, schema)
    func = _MADE[called]
    _OPS[func] = op
    return func


def _defined(namespace: str, name: str, overload: str, schema: str) -> Any:
    if namespace not in _LIBRARIES:
        _LIBRARIES[namespace] = torch.library.Library(namespace, "FRAGMENT")
    library, whole = _LIBRARIES[namespace], f"{name}.{overload}"
    library.define(f"{whole}{schema}")
    for key, kernel in {"Meta": _on_meta, "CompositeExplicitAutograd": _elsewhere}.items():
        library.impl(whole, partial(_run, kernel, f"{namespace}::{whole}"), key)
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


def _run(kernel: Callable[..., Any], called: str, *args: Any, **kwargs: Any) -> Any:
    op = _OPS[_MADE[called]]
    if op.names is None:
        return _gradients(*args)
    made = kernel(op.rule, op.values(args, kwargs))
    return made[0] if len(made) == 1 else tuple(made) or None


def _on_meta(rule: Rule, values: Mapping[str, Any]) -> list[Tensor]:
    facts = _facts(values)
    plan = rule.plan(facts)
    return [_new(rule, made, values, facts) for made in (*plan.results, *plan.scratch)]


def _elsewhere(rule: Rule, values: Mapping[str, Any]) -> list[Tensor]:
    """Run the rule's own code, and hold what it gives against the rule."""
    code = _code(rule.cpu, _changed(rule.cpu))
    if code is None:
        what = f"the rule of {rule.function} has sizes alone, and no code to run"
        raise InputError(f'{what}: trace on meta, or give cpu = "file.py:function" in the rule')
    facts = _facts(values)
    bound = inspect.BoundArguments(rule.parameters, OrderedDict(values))
    found = code(*bound.args, **bound.kwargs)
    given = found if isinstance(found, (list, tuple)) else [found]
    returned = rule.returned(facts)
    if found is None or len(given) != len(returned):
        count = 0 if found is None else len(given)
        raise InputError(f"{rule.cpu} gives {count} tensors, and its rule {len(returned)}")
    plan = rule.plan(facts)
    inputs = _tensors(values.values())
    new = [t for made, t in zip(returned, given, strict=True) if not made.same]
    expected = [_new(rule, made, values, facts, "meta") for made in plan.results]
    for one, other in zip(new, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            two = (f"{shape_text(t.shape)} {name_of(t.dtype)}" for t in (one, other))
            raise InputError("{} gives {}, and its rule {}".format(rule.cpu, *two))
    copies = [t.clone() if any(t is given for given in inputs) else t for t in new]
    return [*copies, *(_new(rule, made, values, facts) for made in plan.scratch)]


def _changed(cpu: Any) -> float:
    """When a rule's code was written."""
    file = "" if callable(cpu) else cpu.rpartition(":")[0]
    return os.stat(file).st_mtime if file else 0.0


@cache
def _code(cpu: Any, _changed: float) -> Callable[..., Any] | None:
    """A rule's own code; an InputError if its file has none of that name."""
    if callable(cpu) or not cpu:
        return cpu or None
    file, _, name = cpu.rpartition(":")
    place = importlib.util.spec_from_file_location("_srprof_rule_code", file)
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    code = getattr(module, name, None)
    if not callable(code):
        raise InputError(f"{file} has no function {name!r}")
    return code  # type: ignore[no-any-return]


def _new(
    rule: Rule,
    made: Made,
    values: Mapping[str, Any],
    facts: Mapping[str, Any],
    device: str | None = None,
) -> Tensor:
    """A tensor that a call makes."""
    like = values[made.like] if made.like else next(_tensors(values.values()), None)
    if made.like and not isinstance(like, Tensor):
        raise InputError(f"the rule of {rule.function}: {made.like} is {like!r:.40}, and no tensor")
    sides, dtype = rule.sides(made, facts), rule.dtype(made, facts)
    options: dict[str, Any] = {} if dtype is None else {"dtype": getattr(torch, dtype)}
    options |= {} if device is None else {"device": device}
    if like is None:
        return torch.empty(sides or (), **options)
    if sides is None:
        return torch.empty_like(like, **options)
    made_there: Tensor = like.new_empty(sides, **options)
    return made_there


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Those among arguments, in lists too."""
    for value in values:
        parts = value if isinstance(value, (list, tuple)) else [value]
        yield from (part for part in parts if isinstance(part, Tensor))


def _facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule's expressions can ask of a call's arguments."""
    return {name: _fact(value) for name, value in values.items()}


def _fact(value: Any) -> Any:
    if isinstance(value, Tensor):
        dtype = name_of(value.dtype)
        return TensorFacts(tuple(value.shape), value.stride(), dtype, value.element_size())
    if isinstance(value, (list, tuple)):
        return tuple(map(_fact, value))
    return name_of(value) if isinstance(value, torch.dtype) else value


class _Differentiable(torch.autograd.Function):
    """A call of which autograd keeps what the rule says, and whose gradients are as its inputs."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, by: str, names: tuple[str, ...], *args: Any) -> Any:
        values = dict(zip(names, args, strict=True))
        if rule.writes:
            what = f"the rule of {rule.function} writes into {', '.join(rule.writes)}"
            raise InputError(f"{what}, and an operator that does has no gradient: train without it")
        made = _call(rule, by, values)
        plan = rule.plan(_facts(values))
        own = dict(zip((m.name for m in (*plan.results, *plan.scratch)), made, strict=True))
        kept = {**own, **{n: v for n, v in values.items() if isinstance(v, Tensor)}}
        saved = rule.saves
        if saved is None:
            saved = tuple(name for name in kept if name in values)
        ctx.save_for_backward(*(kept[name] for name in saved if name in kept))
        ctx.about = rule, by
        ctx.inputs = [_described(v) for v in args]
        results = made[: len(plan.results)]
        ctx.mark_non_differentiable(*(r for r in results if not r.is_floating_point()))
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        rule, by = ctx.about
        wanted = [
            of if ask else None
            for of, ask in zip(ctx.inputs, ctx.needs_input_grad[3:], strict=True)
        ]
        func = _operator(_Op(rule, by, None), f"{rule.name}_backward", _BACKWARD)
        made = iter(func(list(grads), list(ctx.saved_tensors), json.dumps(wanted)))
        return (None, None, None, *(None if of is None else next(made) for of in wanted))


def _described(value: Any) -> Any:
    """Shape and dtype of a tensor that may want a gradient."""
    return [list(value.shape), name_of(value.dtype)] if isinstance(value, Tensor) else None


def _gradients(grads: Sequence[Tensor | None], saved: Sequence[Tensor], made: str) -> list[Tensor]:
    """The gradients of a call's inputs, on meta."""
    there = next(t for t in (*grads, *saved) if t is not None)
    if there.device.type != "meta":
        raise InputError("a rule has no code for gradients: train on meta")
    wanted = [of for of in json.loads(made) if of is not None]
    return [there.new_empty(sides, dtype=getattr(torch, dtype)) for sides, dtype in wanted]
