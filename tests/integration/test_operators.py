"""Networks whose operators come from a package that is not installed, by rules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch

import srprof
from srprof.call import Call
from srprof.cli import main
from srprof.cost.estimate import estimate
from srprof.cost.profiles import load_profile
from srprof.errors import InputError, ModelError
from srprof.records import Node, Trace
from srprof.sweeping.run import make_plan
from srprof.sweeping.worker import compute
from tests.golden_files import ROOT

SHAPE = (1, 3, 16, 16)
#: A map of the network's 8 channels in float32.
MAP = 8 * 16 * 16 * 4

NET = """
import torch
from torch import nn
{imports}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.mix = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.head(x)
        {call}
        return x
"""
GATE = """
[[op]]
function = "fused_ops.gate"
signature = "x, weight, bias=None, *, act='silu'"
result = "x"
macs = "x.numel * weight.shape[1]"
"""
CALL = "x = gate(x, self.mix.weight, self.mix.bias)"

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Writes a network and its rules into the current folder; gives the network's SPEC."""
    monkeypatch.chdir(tmp_path)

    def write(
        rules: str = GATE, call: str = CALL, imports: str = "from fused_ops import gate"
    ) -> str:
        Path("net.py").write_text(NET.format(imports=imports, call=call))
        Path("ops.toml").write_text(rules)
        return f"{tmp_path / 'net.py'}:Net"

    yield write
    sys.modules.pop("fused_ops", None)


def traced(spec: str, **options: Any) -> Trace:
    with srprof.using_ops("ops.toml"):
        return srprof.trace(spec, SHAPE, **options)


def ruled(trace: Trace) -> Node:
    (node,) = (node for node in trace.nodes if node.ruled is not None)
    return node


def made(trace: Trace, node: Node) -> list[int]:
    return [trace.storages[index].nbytes for index in node.created]


def test_a_call_is_one_node_of_the_package_s_name(written: Written):
    spec = written()
    with srprof.using_ops("ops.toml"):
        analysis = srprof.analyze(spec, SHAPE)
    node = ruled(analysis.trace)
    assert (node.op, node.shape, node.line) == ("fused_ops.gate", (1, 8, 16, 16), 14)
    assert analysis.complexity.node_macs[node.index] == 8 * 16 * 16 * 8
    assert analysis.complexity.uncounted == {}
    note = "fused_ops is not installed: gate by the rules in ops.toml"
    assert note in analysis.record.notes
    assert analysis.trace.graph.find_nodes(op="call_function", target=target(analysis.trace))


def target(trace: Trace) -> Any:
    return getattr(torch.ops.rules_fused_ops.gate, ruled(trace).overload)


def test_without_rules_the_error_says_what_they_can_do(written: Written):
    with pytest.raises(ModelError, match=r"No module named 'fused_ops'; .*--ops"):
        srprof.trace(written(), SHAPE)


def test_nothing_is_left_behind_for_other_networks(written: Written):
    spec = written()
    finders = list(sys.meta_path)
    traced(spec)
    assert "fused_ops" not in sys.modules
    assert sys.meta_path == finders
    Path("plain.py").write_text(NET.format(imports="", call="x = self.mix(x)"))
    with srprof.using_ops("ops.toml"):
        assert srprof.analyze("plain.py:Net", SHAPE).record.notes == ()


def test_scratch_is_made_in_the_node_and_gone_behind_it(written: Written):
    rules = GATE + 'scratch = ["3 * x.numel", {like = "weight"}]\n'
    spec = written(rules, f"{CALL}\n        x = x + 1")
    trace = traced(spec)
    node = ruled(trace)
    assert made(trace, node) == [MAP, 3 * MAP // 4, 8 * 8 * 4]
    after = trace.nodes[node.index + 1]
    deaths = [trace.storages[index].death for index in node.created]
    assert deaths[1:] == [after.index, after.index]
    assert node.live - trace.nodes[node.index - 1].live == MAP + 3 * MAP // 4 + 8 * 8 * 4
    with srprof.using_ops("ops.toml"):
        assert srprof.analyze(spec, SHAPE).memory.eager.node == node.index


def test_several_results_of_which_some_depend_on_arguments(written: Written):
    rules = """
[[op]]
function = "fused_ops.stats.moments"
signature = "x, power=2, keep=False, names=('a',)"

[[op.result]]
shape = "x.shape[:2]"
dtype = "float64"

[[op.result]]
like = "x"
dtype = "'float16' if power == 2 else x.dtype"

[[op.result]]
when = "keep"
shape = "x.shape[0], power"
"""
    call = "a, b = moments(x)\n        c, d, e = fused_ops.stats.moments(x, 3, keep=True)"
    imports = "import fused_ops\nfrom fused_ops.stats import moments"
    trace = traced(written(rules, call, imports))
    first, second = (node for node in trace.nodes if node.ruled is not None)
    assert [(o.shape, o.dtype) for o in first.outputs] == [
        ((1, 8), "float64"),
        ((1, 8, 16, 16), "float16"),
    ]
    assert [o.dtype for o in second.outputs] == ["float64", "float32", "float32"]
    assert second.outputs[2].shape == (1, 3)


def test_a_call_in_place(written: Written):
    rules = GATE.replace('result = "x"', 'result = {same = "x"}\nwrites = "x"')
    trace = traced(written(rules, "y = gate(x, self.mix.weight)\n        assert y is x"))
    node = ruled(trace)
    assert node.inplace
    assert not node.created
    with pytest.raises(InputError, match="writes into x"), srprof.using_ops("ops.toml"):
        srprof.analyze_training("net.py:Net", SHAPE)


@pytest.mark.parametrize("asked", ["torch.ops.fused.gate", "torch.ops.fused.gate.default"])
def test_an_operator_of_torch_ops(written: Written, asked: str):
    rules = GATE.replace("fused_ops.gate", "torch.ops.fused.gate")
    spec = written(rules, CALL.replace("gate", asked), "")
    for _ in range(2):  # the second finds what the first left in torch
        trace = traced(spec)
        assert ruled(trace).op == "fused.gate"
        assert "fused is not installed: gate by the rules in ops.toml" in trace.notes
    assert not hasattr(torch.ops.fused, "gate")


PACKAGE = "def gate(x, weight, bias=None):\n    return x * 2\n"


def test_what_is_installed_goes_first(written: Written):
    spec = written()
    Path("fused_ops.py").write_text(PACKAGE)
    assert [node.op for node in traced(spec).nodes] == ["convolution", "mul"]


@pytest.mark.parametrize("before", [False, True])
def test_but_not_before_a_rule_that_always_holds(
    written: Written, before: bool, monkeypatch: pytest.MonkeyPatch
):
    """Also where the package was imported already, by the caller's program."""
    spec = written(f"{GATE}always = true\n")
    folder = Path("elsewhere")
    folder.mkdir()
    (folder / "fused_ops.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(folder.resolve()))
    monkeypatch.delitem(sys.modules, "fused_ops", raising=False)
    if before:
        __import__("fused_ops")
    trace = traced(spec)
    assert ruled(trace).op == "fused_ops.gate"
    assert "of fused_ops, not its own code: gate by the rules in ops.toml" in trace.notes
    assert __import__("fused_ops").gate(torch.ones(1), None) == 2


def test_a_function_of_the_network_s_own_file(written: Written):
    """As one that launches a kernel which this machine has no compiler for."""
    rules = GATE.replace("fused_ops.gate", "net.gate") + "always = true\n"
    own = "def gate(x, weight, bias=None):\n    raise RuntimeError('no compiler')\n"
    assert ruled(traced(written(rules, imports=own))).op == "net.gate"


STUB = """
[[module]]
name = "blocks.gated"
file = "stub.py"
"""


def test_a_stub_is_a_module_whose_operators_are_rules(written: Written):
    spec = written(GATE + STUB, "x = Gated(8)(x)", "from blocks.gated import Gated")
    Path("stub.py").write_text(
        "from torch import nn\nimport fused_ops\n\n"
        "class Gated(nn.Conv2d):\n"
        "    def __init__(self, n):\n        super().__init__(n, n, 1, device='meta')\n"
        "    def forward(self, x):\n        return fused_ops.gate(x, self.weight)\n"
    )
    trace = traced(spec)
    assert ruled(trace).op == "fused_ops.gate"
    assert trace.notes[-2:] == (
        "fused_ops is not installed: gate by the rules in ops.toml",
        "blocks is not installed: gated by the stubs in ops.toml",
    )


def test_what_no_rule_is_of_is_said(written: Written):
    spec = written(imports="from fused_ops import gate, scan")
    with pytest.raises(ModelError, match=r"cannot import name 'scan' from 'fused_ops'"):
        traced(spec)
    spec = written(imports="import fused_ops", call="x = fused_ops.scan(x)")
    with pytest.raises(ModelError, match="fused_ops, which stands in, has no 'scan'"):
        traced(spec)


def test_a_call_that_no_rule_fits_is_the_network_s_error(written: Written):
    with pytest.raises(ModelError, match=r"at .*net.py:14 .*missing a required argument: 'weight'"):
        traced(written(call="x = gate(x)"))


def test_a_figure_that_a_call_does_not_have_is_the_rule_s_error(written: Written):
    spec = written(GATE.replace("weight.shape[1]", "bias.shape[1]"))
    with pytest.raises(InputError, match=r"rule of fused_ops.gate: macs .*of bias 8 float32"):
        traced(spec)


CPU = "import torch\n\ndef gate(x, weight, bias=None, act='silu'):\n    return {}\n"


def test_the_rule_s_code_runs_on_the_cpu(written: Written):
    spec = written(f'{GATE}cpu = "code.py:gate"\nscratch = "x.bytes"\n')
    Path("code.py").write_text(CPU.format("torch.nn.functional.conv2d(x, weight, bias)"))
    meta, cpu = traced(spec), traced(spec, trace_on="cpu")
    assert [n.op for n in cpu.nodes] == [n.op for n in meta.nodes]
    assert made(cpu, ruled(cpu)) == made(meta, ruled(meta)) == [MAP, MAP]
    with srprof.using_ops("ops.toml"):
        found = srprof.measure(spec, SHAPE, device="cpu", repeat=1, warmup=0)
    assert "fused_ops.gate" in {node.op for node in found.nodes}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CPU.format("x[:, :4]"), "gives 1x4x16x16 float32, and its rule 1x8x16x16 float32"),
        (CPU.format("None"), "gives 0 tensors, and its rule 1"),
        (CPU.format("(x, x)"), "gives 2 tensors, and its rule 1"),
        ("def other():\n    pass\n", "has no function 'gate'"),
    ],
)
def test_code_that_its_rule_does_not_fit_is_named(written: Written, code: str, said: str):
    spec = written(f'{GATE}cpu = "code.py:gate"\n')
    Path("code.py").write_text(code)
    with pytest.raises(InputError, match=said):
        traced(spec, trace_on="cpu")


def test_without_code_a_run_on_the_cpu_is_refused(written: Written, capsys: Any):
    written()
    command = ["analyze", "net.py:Net", "--input", "16", "--ops", "ops.toml"]
    assert main([*command, "--trace-on", "cpu"]) == 2
    said = "the rule of fused_ops.gate has sizes alone, and no code to run"
    assert said in capsys.readouterr().err
    assert main([*command, "--trace-on", "cuda-fake"]) == 0


def test_a_profile_predicts_by_macs_bytes_or_a_time(written: Written):
    profile = load_profile("rtx_a6000")

    def microseconds(more: str) -> float:
        trace = traced(written(GATE + more))
        (node,) = (n for n in estimate(trace, profile).nodes if n.cost.index == 1)
        return 1e6 * (node.seconds - node.overhead)

    plain = microseconds("")
    assert microseconds('moves = "100 * x.bytes"\n') > 10 * plain
    assert microseconds('time_us = "x.numel / 8"\n') == pytest.approx(256)
    trace = traced(written(f"{GATE}kernels = 3\n"))
    (node,) = (n for n in estimate(trace, profile).nodes if n.cost.index == 1)
    (one,) = (n for n in estimate(traced(written()), profile).nodes if n.cost.index == 1)
    assert node.cost.kernels == 3
    assert node.overhead > one.overhead


def test_training_keeps_what_the_rule_saves(written: Written):
    def saved(more: str) -> int:
        spec = written(GATE + more, f"x = self.mix(x)\n        {CALL}\n        x = x * x")
        with srprof.using_ops("ops.toml"):
            trace = srprof.analyze_training(spec, SHAPE).trace
        (forward,) = (n for n in trace.nodes if n.op == "fused_ops.gate")
        (backward,) = (n for n in trace.nodes if n.op == "fused_ops.gate_backward")
        assert [o.shape for o in backward.outputs] == [(1, 8, 16, 16), (8, 8, 1, 1), (8,)]
        begin = trace.step.backward
        alive = (s for s in trace.storages if s.birth <= forward.index and begin < s.death)
        return sum(s.nbytes for s in alive if s.role == "activation" and s.nbytes >= MAP)

    nothing, argument = saved("saves = []\n"), saved('saves = ["x"]\n')
    assert argument - nothing == MAP  # what the 1x1 convolution made
    assert saved("") == argument
    own = 'saves = ["x", "inner"]\nscratch = [{name = "inner", like = "x"}, "x.bytes"]\n'
    assert saved(own) - argument == MAP


def test_a_sweep_s_workers_have_the_rules(written: Written):
    """Whatever process they are."""
    written()
    with srprof.using_ops("ops.toml"):
        plan = make_plan(Call("net.py:Net", ("16", "24")), {}, ("macs",), None)
    assert plan.basis["operators"]
    assert [result.error for result in compute(plan)] == ["", ""]


def test_a_check_s_configuration_names_rules(written: Written, capsys: Any):
    written()
    check = '[[check]]\nmodel = "net.py:Net"\ninput = "16x16"\npeak.eager = "1 MiB"\n'
    Path("srprof.toml").write_text(f'baseline = false\nops = "ops.toml"\n{check}')
    assert main(["check"]) == 0
    Path("srprof.toml").write_text(f"baseline = false\n{check}")
    assert main(["check"]) == 1
    capsys.readouterr()


def test_a_rule_of_a_program(written: Written):
    spec = written()
    made = {"saves": ["x"], "writes": [], "cpu": lambda x, weight, bias: x + 1}
    signature = "x, weight, bias=None"
    rule = srprof.Rule(function="fused_ops.gate", signature=signature, result="x", **made)
    with srprof.using_ops(rule):
        trace = srprof.trace(spec, SHAPE, trace_on="cpu")
    assert ruled(trace).op == "fused_ops.gate"
    assert "fused_ops is not installed: gate by the rules in the program" in trace.notes
    with pytest.raises(InputError, match=r"in ops.toml and in the program"):
        srprof.using_ops("ops.toml", rule).__enter__()
    with pytest.raises(ModelError, match="No module named 'fused_ops'"):
        srprof.trace(spec, SHAPE)


def test_a_variable_names_rules_too(written: Written, monkeypatch: pytest.MonkeyPatch):
    spec = written()
    monkeypatch.setenv("SRPROF_OPS", "ops.toml")
    assert ruled(srprof.trace(spec, SHAPE)).op == "fused_ops.gate"


def test_the_page_shows_the_example():
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "ops.toml").read_text(encoding="utf-8")
    assert example.partition("\n")[2] in page


# -- srprof's own rules ---------------------------------------------------------------------------

SCAN = """
import torch
from torch import nn
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn, selective_scan_ref

class Scan(nn.Module):
    def __init__(self, gated):
        super().__init__()
        self.A = nn.Parameter(torch.ones(6, 4))
        self.D = nn.Parameter(torch.ones(6))
        self.gated = gated

    def forward(self, u, delta, b, c):
        z = torch.zeros_like(u) if self.gated else None
        return selective_scan_fn(u, delta, self.A, b.transpose(1, 2), c, self.D, z=z)
"""


@pytest.mark.parametrize("gated", [False, True])
def test_a_selective_scan_makes_what_the_package_allocates(written: Written, gated: bool):
    """Its result, the states at the end of every 2048 steps, and copies of what is transposed."""
    written()
    Path("scan.py").write_text(SCAN)
    length = 5000
    shapes = [(2, 6, length), (2, 6, length), (2, length, 4), (2, 4, length)]
    trace = srprof.trace(f"scan.py:Scan(gated={gated})", *shapes)
    node = ruled(trace)
    sequence, states = 2 * 6 * length * 4, 2 * 6 * ceil(length / 2048) * 2 * 4 * 4
    expected = [sequence, 2 * 4 * length * 4, *([sequence] if gated else []), states]
    assert made(trace, node) == expected
    assert node.ruled is not None
    assert node.ruled.macs == 2 * 6 * length * (2 * 4 + 1)
    assert node.ruled.kernels == 2


MAMBA = """
from torch import nn
from mamba_ssm import Mamba

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Mamba(d_model=12, d_state=4, expand=2)

    def forward(self, x):
        return self.block(x)
"""


def test_a_block_of_mamba_has_its_parameters_and_its_peak(written: Written):
    written()
    Path("mamba.py").write_text(MAMBA)
    length, inner, states, rank = 4096, 24, 4, 1
    trace = srprof.trace("mamba.py:Net", (1, length, 12))
    projections = 12 * 2 * inner + inner * (rank + 2 * states) + (rank + 1) * inner + inner * 12
    assert trace.parameters == projections + inner * (4 + 1) + inner * states + inner
    assert trace.result_shape == (1, length, 12)
    (scan,) = (node for node in trace.nodes if node.op == "selective_scan_cuda.fwd")
    # the image, its projection, convolution and step sizes, what they are projected to, B and C;
    # then the scan's three results
    columns = 12 + 2 * inner + 2 * inner + (rank + 2 * states) + 2 * states + 2 * inner
    ends = inner * 2 * 2 * states
    small = inner * states  # what A is made of
    assert scan.live == 4 * (columns * length + ends + small)
    assert not any(node.op == "clone" and node.shape == (1, inner, length) for node in trace.nodes)


def test_a_block_of_mamba_function_by_function(written: Written):
    """The scan's states and its plain result are scratch then, and no longer there behind it."""
    written()
    Path("mamba.py").write_text(MAMBA.replace("expand=2", "expand=2, use_fast_path=False"))
    trace = srprof.trace("mamba.py:Net", (1, 4096, 12))
    ops = [node.op for node in trace.nodes if node.ruled is not None]
    scan = "mamba_ssm.selective_scan_fn"
    assert ops == ["causal_conv1d.causal_conv1d_fn", scan]
    (node,) = (node for node in trace.nodes if node.op == scan)
    sequence, states = 24 * 4096 * 4, 24 * 2 * 2 * 4 * 4
    assert made(trace, node) == [sequence, sequence, states]
    assert [trace.storages[i].death for i in node.created[1:]] == [node.index + 1] * 2


def test_the_operator_of_spanv2_is_a_1x1_convolution_and_a_product(written: Written):
    call = "x = span_attention.span_attention(x, x, self.mix.weight, self.mix.bias)"
    spec = written(call=call, imports="import span_attention")
    trace = srprof.trace(spec, SHAPE)
    node = ruled(trace)
    assert node.ruled is not None
    assert (node.ruled.macs, made(trace, node)) == (8 * 8 * 16 * 16, [MAP])
    assert node.ruled.depends == (0,)
    half = srprof.trace(spec, SHAPE, dtype="float16")
    assert made(half, ruled(half)) == [MAP // 2]


def test_basicsr_s_registry_leaves_classes_as_they_are(written: Written):
    imports = (
        "from basicsr.utils.registry import ARCH_REGISTRY\n"
        "from basicsr.archs.arch_util import default_init_weights, make_layer\n"
        "from basicsr.archs.arch_util import to_2tuple, trunc_normal_\n\n"
        "assert len(make_layer(nn.Identity, 3)) == 3\n"
        "default_init_weights([nn.Conv2d(1, 1, 1)], 0.1)\n"
        "assert to_2tuple(3) == (3, 3) and to_2tuple((1, 2)) == (1, 2)\n\n"
        "@ARCH_REGISTRY.register()"
    )
    spec = written(imports=imports, call="")
    Path("net.py").write_text(Path("net.py").read_text().replace("register()\n\n", "register()\n"))
    assert srprof.trace(spec, SHAPE).result_shape == (1, 8, 16, 16)


def test_no_rules_at_all(written: Written, capsys: Any):
    written()
    Path("mamba.py").write_text(MAMBA)
    assert main("analyze mamba.py:Net --input 1x16x12 --ops none".split()) == 3
    assert "No module named 'mamba_ssm'" in capsys.readouterr().err
