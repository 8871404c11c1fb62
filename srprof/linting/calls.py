"""Calls in an entry's source that a machine of another kind has no use for, by their syntax.

A GPU that is named, a pass of the network, a download. Nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from srprof.linting.source import Guard, Part, Source

#: Functions that make a tensor of nothing but a shape or numbers.
_MAKES = frozenset(
    f"torch.{name}"
    for name in "rand randn randint zeros ones empty full tensor Tensor arange linspace".split()
)
#: Methods of a module or tensor that give itself.
_ITSELF = frozenset("cuda cpu to eval train half float double requires_grad_ contiguous".split())
#: Methods of `nn.Module` that take tensors and are no call of a part of it.
_OF_MODULES = frozenset(
    "register_buffer register_parameter register_module add_module apply load_state_dict to type "
    "set_extra_state append extend insert".split()
)
#: What may be asked of `torch.cuda` where there is none.
_HARMLESS = frozenset(
    "torch.cuda.is_available torch.cuda.device_count torch.cuda.is_bf16_supported "
    "torch.cuda.amp.autocast torch.cuda.empty_cache torch.cuda.is_initialized".split()
)
_GPU = re.compile(r"cuda(:\d+)?")
#: Functions that fetch something, by how they are called.
_FETCHES = re.compile(
    r"(^|\.)(load_state_dict_from_url|download_url_to_file|urlretrieve|urlopen|hf_hub_download|"
    r"snapshot_download|from_pretrained|load_url|gdown\.download|wget\.download)$"
    r"|^torch\.hub\.(load|help|list)$|^requests\.\w+$|^httpx\.\w+$"
)


class Line(NamedTuple):
    """A line of a source: the expression, and what stands around it."""

    number: int
    text: str
    guard: Guard


def gpu_lines(source: Source, parts: Iterable[Part]) -> list[Line]:
    """Lines that put something on a GPU, or name one as a device."""
    return _lines(source, (n for part in parts for n in part.nodes() if _on_gpu(source, n)))


def _on_gpu(source: Source, node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = source.dotted(node.func)
        if name.startswith("torch.cuda."):
            return name not in _HARMLESS
        return isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return False
    return _GPU.fullmatch(node.value) is not None and not isinstance(
        source.parent(node), (ast.Compare, ast.Dict, ast.Expr)
    )


def fetches(source: Source, parts: Iterable[Part]) -> list[Line]:
    """Lines that fetch something from the network."""
    return _lines(source, _called(source, parts, _FETCHES))


def _called(source: Source, parts: Iterable[Part], names: re.Pattern[str]) -> Iterator[ast.AST]:
    for part in parts:
        for node in part.nodes():
            if isinstance(node, ast.Call):
                # a method of whatever object: its own name is all that there is
                own = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if names.search(source.dotted(node.func) or own):
                    yield node


def passes(source: Source, parts: Iterable[Part]) -> list[Line]:
    """Lines that call the network, or a part of it with a tensor that is made for that."""
    return _lines(source, (call for part in parts for call in _passes(source, part)))


def _passes(source: Source, part: Part) -> Iterator[ast.Call]:
    made, built = _bound(source, part)
    for node in part.nodes():
        if not isinstance(node, ast.Call):
            continue
        called = _bare(node.func)
        given = any(_has_tensor(source, value, made) for value in _values(node))
        if part.own_name and _is_own(called, part.own_name):
            yield node
        elif isinstance(called, ast.Name):
            if called.id in built and given:
                yield node
        elif _is_part(source, part, called) and given:
            yield node


def _is_own(called: ast.expr, own_name: str) -> bool:
    """Whether it is the object itself, or its `forward`."""
    if isinstance(called, ast.Attribute) and called.attr == "forward":
        called = called.value
    return isinstance(called, ast.Name) and called.id == own_name


def _is_part(source: Source, part: Part, called: ast.expr) -> bool:
    """Whether it is `self.body` or a part of that: no method of the class, nor of modules."""
    if not isinstance(called, (ast.Attribute, ast.Subscript)) or not part.own_name:
        return False
    chain: ast.expr = called
    names = []
    while isinstance(chain, (ast.Attribute, ast.Subscript)):
        names.append(getattr(chain, "attr", ""))
        chain = chain.value
    if not isinstance(chain, ast.Name) or chain.id != part.own_name:
        return False
    own = part.owner is not None and len(names) == 1 and source.method(part.owner, names[0])
    return not own and names[0] not in _OF_MODULES | _ITSELF


def _bound(source: Source, part: Part) -> tuple[set[str], set[str]]:
    """Names that hold a tensor, and names that hold an object that a call made."""
    made: set[str] = set()
    built: set[str] = set()
    for node in part.nodes():
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if not isinstance(target, ast.Name):
                continue
            if _has_tensor(source, node.value, made):
                made.add(target.id)
            elif isinstance(node.value, ast.Call):
                built.add(target.id)
    return made, built


def _bare(called: ast.expr) -> ast.expr:
    """`self` of `self.cuda().eval()`, which are the same object."""
    while (
        isinstance(called, ast.Call)
        and isinstance(called.func, ast.Attribute)
        and called.func.attr in _ITSELF
    ):
        called = called.func.value
    return called


def _values(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _has_tensor(source: Source, value: ast.expr, made: set[str]) -> bool:
    """Whether a value is a tensor of the code's own making: `torch.randn(1, 3, 8, 8).cuda()`."""
    value = _bare(value)
    if isinstance(value, ast.Name):
        return value.id in made
    return isinstance(value, ast.Call) and source.dotted(value.func) in _MAKES


def _lines(source: Source, nodes: Iterable[ast.AST]) -> list[Line]:
    """One for each line, in their order."""
    found: dict[int, Line] = {}
    for node in nodes:
        number = getattr(node, "lineno", 0)
        found.setdefault(number, Line(number, ast.unparse(node), source.guard(node)))
    return [found[number] for number in sorted(found)]
