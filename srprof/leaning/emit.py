"""A lean network as a file: an exported program (`.pt2`), or a readable module (`.py`)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from srprof._version import __version__
from srprof.blame import first_line
from srprof.errors import InputError
from srprof.files import quoted
from srprof.leaning.capture import Kwargs, RefusedError, open_sizes, quiet_torch
from srprof.leaning.module import Lean, share_contents
from srprof.leaning.plan import Plan, capture_call, flatten, path, planner
from srprof.output import write
from srprof.words import one_line
from srprof.workload import Workload


def emit(workload: Workload, lean: Lean, target: str) -> None:
    """Write a lean form of the workload's network.

    `.pt2` is a `torch.export` program with the weights; `.py` defines a module that needs only
    torch and takes the network's state dict. Both take any input for which the code goes the same
    way as for the workload's.

    Args:
        lean: on the CPU, ready for the workload's call.

    Raises:
        InputError: the file's ending is neither, or the network cannot be written so.
    """
    if not target.endswith((".pt2", ".py")):
        raise InputError(f"--emit {target}: name a file that ends in .pt2 or .py")
    with workload.environment():
        args, kwargs = workload.arguments("cpu")
        plan = _any_batch(workload, lean, args, kwargs)
        if target.endswith(".py"):
            written: str | bytes = source(lean, plan, workload.spec)
        else:
            written = _exported(lean, plan, args, target)
        write(written, target, "--emit")


def _any_batch(workload: Workload, lean: Lean, args: Sequence[Any], kwargs: Kwargs) -> Plan:
    """The plan, for batches of every size if the code does the same with two images as with one.

    Then it is made of the graph for any batch: in that for one image a result can look as large as
    what is the same for all images.
    """
    plan, network = lean.plans[0], lean.network
    pairs = [
        replace(a, shape=(2, *a.shape[1:])) if getattr(a, "shape", (0,))[0] == 1 else a
        for a in workload.args
    ]
    two = replace(workload, args=tuple(pairs)).arguments("cpu")
    try:
        one_image, two_images = capture_call(network, args, kwargs), capture_call(network, *two)
    except RefusedError:
        return plan
    as_it_is = planner(network, one_image, args, kwargs)(())
    if _unnumbered(as_it_is) != _unnumbered(planner(network, two_images, *two)(())):
        return plan
    batched = planner(network, two_images, args, kwargs, lean.form)(lean.passes)
    sizes = [text.replace(".size(0) >= 2", ".size(0) >= 1") for text in two_images.conditions]
    same_constants = batched.constants.keys() == plan.constants.keys()
    batched = replace(
        batched, conditions=tuple(sizes), constants=plan.constants, name=plan.name, _code=[]
    )
    return batched if same_constants and batched.holds(*flatten(args, kwargs)) else plan


def _unnumbered(plan: Plan) -> list[str]:
    """A plan's lines with values named by their place; a graph numbers sizes as it comes to."""
    names: dict[str, str] = {}
    for line in plan.lines:
        if assigned := re.match(r"(\w+) = ", line):
            names.setdefault(assigned[1], f"value{len(names)}")
    word = re.compile(r'(?<![.\w"])\w+')
    return [word.sub(lambda match: names.get(match[0], match[0]), line) for line in plan.lines]


def source(lean: Lean, plan: Plan, spec: str) -> str:
    """The text of a Python module with one class, `Lean<network>`."""
    passes = ", ".join(lean.passes)
    name = "Lean" + re.sub(r"\W", "_", plan.name)
    of = quoted(one_line(spec))[1:-1]
    return f'''\
"""{of}, made lean by srprof {__version__} ({lean.level}: {passes}).

Load the network's own state dict: {name}().load_state_dict(torch.load(...)).
"""

import math
import operator

import torch
from torch import nn

aten = torch.ops.aten
inf, nan = math.inf, math.nan

#: Shapes of the state dict's tensors.
PARAMETERS = {{
{_table(lean, parameters=True)}}}
BUFFERS = {{
{_table(lean, parameters=False)}}}

{_steps(plan)}
class Part(nn.Module):
    """A container of parameters and further parts, some of them numbered."""

    def __getitem__(self, name):
        return self._modules[str(name)]

    def put(self, name, tensor):
        first, _, rest = name.partition(".")
        if rest:
            if first not in self._modules:
                self.add_module(first, Part())
            self._modules[first].put(rest, tensor)
        elif isinstance(tensor, nn.Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)


class {name}(Part):
    def __init__(self):
        super().__init__()
        for name, (shape, dtype) in PARAMETERS.items():
            self.put(name, nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False))
        for name, (shape, dtype) in BUFFERS.items():
            self.put(name, torch.empty(shape, dtype=dtype))
{_members(lean, plan)}
{_prepare(plan)}    @torch.no_grad()
    def forward(self, {", ".join(plan.inputs)}):
        if not ({" and ".join(f"({text})" for text in plan.conditions) or "True"}):
            raise ValueError("this code was made for inputs of other sizes")
{_keep(plan)}{_lines(plan, plan.lines)}'''


def _steps(plan: Plan) -> str:
    """The functions of element-wise steps, and what calls them."""
    if not plan.steps:
        return ""
    functions = []
    for number, code in enumerate(plan.steps):
        calls = "".join(f"    {line}\n" for line in code.split("; "))
        functions.append(f"def step_{number}(x, others):\n{calls}    return x\n\n\n")
    named = "".join(f"    {quoted(c)}: step_{n},\n" for n, c in enumerate(plan.steps))
    return f"""
{"".join(functions)}#: Element-wise calls after a convolution, written into its result.
STEPS = {{
{named}}}
COMPILED = {{}}


def step(x, others, code):
    if not x.is_cuda or torch.compiler.is_compiling() or not torch.utils._triton.has_triton():
        return STEPS[code](x, others)
    if code not in COMPILED:
        COMPILED[code] = torch.compile(STEPS[code], dynamic=True)
    return COMPILED[code](x, others)

"""


def _prepare(plan: Plan) -> str:
    """What makes what calls of a size have in common, once."""
    if not plan.first:
        return ""
    inputs = ", ".join(plan.inputs)
    weights = "".join(f"            {_indexed(path(name))},\n" for name in plan.weights)
    sizes = f"[value.shape for value in ({inputs},)]" if plan.sized else "None"
    return f"""
    kept_for, kept = None, ()

    @torch.no_grad()
    def prepare(self, {inputs}):
{_lines(plan, plan.first)}
    def keep(self, {inputs}):
        weights = (
{weights}        )
        made_of = [(weight.data_ptr(), weight._version) for weight in weights]
        wanted = made_of, {sizes}, {plan.inputs[0]}.device
        if self.kept_for != wanted:
            self.kept_for, self.kept = wanted, self.prepare({inputs})
        return self.kept

"""


def _keep(plan: Plan) -> str:
    return f"        kept = self.keep({', '.join(plan.inputs)})\n" if plan.first else ""


def _table(lean: Lean, *, parameters: bool) -> str:
    """A line for each entry of the state dict."""
    own = dict(lean.named_parameters(remove_duplicate=False))
    return "".join(
        f"    {quoted(name)}: ({tuple(tensor.shape)}, {tensor.dtype}),\n"
        for name, tensor in lean.state_dict().items()
        if (name in own) == parameters
    )


def _members(lean: Lean, plan: Plan) -> str:
    """What the state dict has not: constants, and buffers that are not saved."""
    if lean.fused_in_eval():
        what = "the network's eval() makes weights that its state dict has not"
        raise InputError(f"--emit: {what}; name a .pt2")
    lines = []
    saved = lean.state_dict()
    for name, tensor in lean.named_buffers():
        if name not in saved:
            lines.append(f"self.put({quoted(name)}, {_literal(tensor)})")
            parent = _indexed(path(name).rpartition(".")[0])
            lines.append(
                f"{parent}._non_persistent_buffers_set.add({quoted(name.rpartition('.')[2])})"
            )
    for name, tensor in plan.constants.items():
        value = f"{_literal(tensor)}, persistent=False"
        lines.append(f'self.register_buffer("{_local(name)}", {value})')
    return "".join(f"        {line}\n" for line in lines)


def _lines(plan: Plan, lines: Sequence[str]) -> str:
    text = "".join(f"        {_indexed(line)}\n" for line in lines)
    for name in plan.constants:
        text = text.replace(f"constants[{quoted(name)}]", f"self.{_local(name)}")
    return text


def _indexed(text: str) -> str:
    """`self.body[0].weight` for `getattr(self.body, "0").weight`."""
    pattern = re.compile(r'getattr\(([\w.\[\]]+), "(\w+)"\)')
    while pattern.search(text):
        text = pattern.sub(r"\1[\2]", text)
    return text


def _local(name: str) -> str:
    return "constant_" + re.sub(r"\W", "_", name)


def _literal(tensor: torch.Tensor) -> str:
    """A tensor's values as text; they are what no state dict has."""
    count = tensor.numel()
    if count > 4096:
        what = f"the network computes {count} numbers that its state dict has not"
        raise InputError(f"--emit: {what}, too many for a .py; name a .pt2")
    return f"torch.tensor({tensor.tolist()!r}, dtype={tensor.dtype})"


class _Program(nn.Module):
    """A plan as a module of its own, for `torch.export`.

    What it keeps, and no size decides, is among its buffers.
    """

    def __init__(self, lean: Lean, plan: Plan, call: Sequence[Any]) -> None:
        super().__init__()
        share_contents(lean, self)
        self.plan = plan
        self._count = 0
        if plan.first and not plan.sized:
            (kept,) = plan.keep(lean, call)
            self._buffers = dict(self._buffers)  # those of the network stay
            self._count = len(kept)
            for number, tensor in enumerate(kept):
                self.register_buffer(f"kept_{number}", tensor)

    def forward(self, *leaves: Any) -> Any:
        kept = tuple(getattr(self, f"kept_{number}") for number in range(self._count))
        return self.plan.run_in_a_graph(self, leaves, kept)


def _exported(lean: Lean, plan: Plan, args: Sequence[Any], target: str) -> bytes:
    # inputs whose first size may be anything, or is what such an input's is
    first = [name for name in plan.inputs if f"{name}.size(0) >= 1" in plan.conditions]
    same = {f"{name}.size(0) == {of}.size(0)": name for name in plan.inputs for of in first}
    growing = {*first, *(same[text] for text in plan.conditions if text in same)}
    example = [
        torch.empty((2, *a.shape[1:]), dtype=a.dtype) if name in growing else a
        for name, a in zip(plan.inputs, args, strict=True)
    ]
    shapes = {"leaves": tuple(map(open_sizes, example))}
    module = _Program(lean, plan, args).eval()
    try:
        with torch.no_grad(), quiet_torch():
            program = torch.export.export(
                module, tuple(example), dynamic_shapes=shapes, strict=False
            )
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(
            f"--emit {target}: torch.export fails on the lean network ({why}); name a .py"
        ) from error
    written = io.BytesIO()
    with warnings.catch_warnings():  # of weights with channels innermost, which stay as they are
        warnings.filterwarnings("ignore", "No complete tensor")
        passes = {"lean_passes": ", ".join(lean.passes)}
        torch.export.save(program, written, extra_files=passes)
    return written.getvalue()
