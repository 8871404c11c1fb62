"""Rules for operators: their expressions, their files, and which of them hold. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.errors import InputError
from srprof.operators import known
from srprof.operators.expressions import TensorFacts, expression
from srprof.operators.rules import Rule, load

X = TensorFacts((2, 3, 8, 10), (240, 80, 10, 1), "float16", 2)
VALUES: dict[str, Any] = {"x": X, "z": None, "n": 3, "act": "silu", "sizes": (4, 5)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x.numel * x.shape[1]", 480 * 3),
        ("x.bytes - x.itemsize", 958),
        ("x.shape[:2] + (x.shape[2] * n, x.shape[-1] // 4)", (2, 3, 24, 2)),
        ("ceil(x.shape[3] / 4)", 3),
        ("floor(x.shape[3] / 4)", 2),
        ("x.shape[3] / 4", Fraction(5, 2)),
        ("1 if z is None else z.numel", 1),
        ("z is not None and z.shape[0]", False),
        ("z or n", 3),
        ("z is None and act == 'silu' and n", 3),
        ("x.stride[-1] != 1", False),
        ("1 + (x.stride[1] != 1) + (x.dim == 4)", 3),
        ("prod(x.shape[2:]) + sum(sizes) + len(sizes) + max(n, 9) - min(1, 2) + abs(-1)", 100),
        ("not n, -n % 2", (False, 1)),
        ("0.5 * n", Fraction(3, 2)),
        ("1 < n <= 3 and act in ('silu', 'swish')", True),
    ],
)
def test_an_expression_of_arguments(text: str, value: Any):
    assert expression(text)(VALUES) == value


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_fractions_are_exact(size: int, chunk: int):
    values = {"n": size, "m": chunk}
    assert expression("ceil(n / m)").whole(values) == -(-size // chunk)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x.data", "a tensor has no 'data'; known: shape"),
        ("x.sahpe[0]", "did you mean shape"),
        ("open('x')", "no function 'open'"),
        ("__import__('os')", "no function '__import__'"),
        ("x.__class__", "a tensor has no '__class__'"),
        ("[i for i in x.shape]", "is not known; there are numbers"),
        ("2 ** 100", "is not known"),
        ("f(*x.shape)", "no function 'f'"),
        ("max(*x.shape)", "is not known"),
        ("(lambda: 1)()", "is not known"),
        ("x.shape[::2]", "is not known"),
        ("x +", "cannot be read"),
        ("(" * 300 + "1" + ")" * 300, "cannot be read"),
        ("1" * 2000, "longer than"),
        ("f'{x}'", "is not known"),
    ],
)
def test_what_is_no_expression_is_refused_in_one_line(text: str, said: str):
    with pytest.raises(InputError) as raised:
        expression(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x.shape[7]", "of x 2x3x8x10 float16: tuple index out of range"),
        ("z.shape", "z is None, and no tensor"),
        ("n / (n - 3)", "division by zero"),
        ("x.shape * n", "are no two numbers"),
        ("act * n", "are no two numbers"),
        ("n * " + "9" * 31, "a number beyond 10^30"),
    ],
)
def test_an_expression_without_a_value_says_why(text: str, said: str):
    with pytest.raises(InputError, match="has no value") as raised:
        expression(text)(VALUES)
    assert said in str(raised.value)


def test_counts_are_whole_and_sizes_shapes():
    for wrong, read in {
        "x.shape[3] / 4": "whole",
        "-n": "whole",
        "act": "whole",
        "(n, 1 / 2)": "sides",
        "(n, -1)": "sides",
        "x.shape": "number",
        "n > 2": "number",
    }.items():
        with pytest.raises(InputError):
            getattr(expression(wrong), read)(VALUES)
    assert expression("7").sides(VALUES) == (7,)


RULE = """
[[op]]
function = "fused_ops.gate"
signature = "x, weight, bias=None, *, act='silu'"
result = "x"
macs = "x.numel * weight.shape[1]"
"""


def written(folder: Path, text: str) -> str:
    path = folder / "ops.toml"
    path.write_text(text)
    return str(path)


def changed(line: str, old: str = 'result = "x"') -> str:
    assert old in RULE
    return RULE.replace(old, line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed('macs = "w.numel"', 'macs = "x.numel * weight.shape[1]"'), "no argument 'w'"),
        (changed('result = "y"'), "op fused_ops.gate: 'y' is no argument; known: x, weight"),
        (changed("result = []"), "result is [], not a result"),
        (changed(""), "it makes nothing"),
        (changed('result = {shape = "x.shape["}'), "cannot be read"),
        (changed('result = {dtype = "float31", like = "x"}'), "no argument 'float31'"),
        (changed('result = {like = "x", same = "x"}'), "that tensor itself"),
        (changed("result = {}"), 'give like = "x"'),
        (changed('result = "x"\nsaves = ["y"]'), "saves 'y' is no argument"),
        (changed('result = "x"\nwrites = "y"'), "writes 'y' is no argument"),
        (changed('result = "x"\nmcas = "1"'), "unknown key mcas; did you mean macs?"),
        (changed('result = "x"\nfamily = "fast"'), "family is 'fast', not one of"),
        (changed('result = "x"\ncpu = "code.py"'), "give file.py:function"),
        (changed('result = "x"\ncpu = "code.py:gate"'), "there is no file"),
        (changed('function = "gate"', 'function = "fused_ops.gate"'), "not a dotted name"),
        (changed('function = "aten.add"', 'function = "fused_ops.gate"'), "its own operators"),
        (RULE.replace("x, weight, bias=None, *, act='silu'", "x, *rest"), "signature"),
        (RULE.replace("x, weight, bias=None, *, act='silu'", "x, weight=f()"), "defaults are"),
        (RULE.replace("x, weight, bias=None, *, act='silu'", "x): (y"), "signature"),
        (RULE + RULE, "there is a rule of fused_ops.gate twice in"),
        ("[[module]]\nname = 'a'\nfile = 'a.py'", "module a: there is no file"),
        ("", "it has no rules"),
        ("[[op]", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(InputError) as raised, known.using_ops(written(tmp_path, text)):
        pass
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_files_with_one_function(tmp_path: Path):
    (tmp_path / "more.toml").write_text(RULE)
    files = written(tmp_path, RULE), str(tmp_path / "more.toml")
    with pytest.raises(InputError, match=r"in .*ops.toml and in .*more.toml: leave one"):
        known.using_ops(*files).__enter__()
    with known.using_ops(files[0], files[0]):  # the same one
        assert known.rules().ops["fused_ops.gate"][0].macs is not None


def test_a_missing_file():
    with pytest.raises(InputError, match=r"rules nothing\.toml cannot be read"):
        load("nothing.toml")


def test_rules_hold_as_long_as_they_are_used(tmp_path: Path):
    path = written(tmp_path, RULE)
    before = known.rules()
    with known.using_ops(path):
        assert "fused_ops.gate" in known.rules().ops
        assert before.ops.keys() < known.rules().ops.keys()
        with known.using_ops("none"):
            assert list(known.rules().ops) == ["fused_ops.gate"]
    assert known.rules() == before


def test_srprof_s_own_are_of_packages_that_entries_import():
    own = known.rules()
    assert "mamba_ssm.ops.selective_scan_interface.selective_scan_fn" in own.ops
    assert "causal_conv1d.causal_conv1d_fn" in own.ops
    assert "span_attention.span_attention" in own.ops
    assert all(rule.source for rule, _ in own.ops.values())
    assert all(where.startswith("srprof's ") for _, where in own.ops.values())


class Announced:
    def __init__(self, found: Any) -> None:
        self.name, self.value = "mine", "package:RULES"
        self.load: Callable[[], Any] = lambda: found


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Puts an entry point of `srprof.ops` in the place of the installed ones."""

    def put(found: Any) -> None:
        def entry_points(group: str) -> list[Any]:
            assert group == "srprof.ops"
            return [Announced(found)]

        monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
        clear()

    def clear() -> None:
        known._announced.cache_clear()
        known._rules.cache_clear()

    yield put
    clear()


def test_a_package_announces_rules(announce: Callable[[Any], None], tmp_path: Path):
    rule = Rule(function="other.op", signature="x", result="x", macs="2 * x.numel")
    announce([rule, written(tmp_path, RULE)])
    assert known.rules().ops["other.op"] == (rule, "package:RULES")
    assert "fused_ops.gate" in known.rules().ops
    with known.using_ops(written(tmp_path, RULE.replace("x.numel", "3 * x.numel"))):
        assert "3" in known.rules().ops["fused_ops.gate"][0].macs.text  # the nearer one


def test_a_package_that_announces_anything_else_is_named(announce: Callable[[Any], None]):
    announce([3])
    with pytest.raises(InputError, match=r"'mine' \(package:RULES\) cannot be loaded.*no Rule"):
        known.rules()


def test_a_rule_of_python_is_checked_as_one_of_a_file():
    with pytest.raises(InputError, match="no argument 'y'"):
        Rule(function="other.op", signature="x", result="x", macs="y.numel")
    with pytest.raises(InputError, match="unknown family 'fast'"):
        Rule(function="other.op", signature="x", result="x", family="fast")
    with pytest.raises(InputError, match="no dotted name"):
        Rule(function="op", signature="x", result="x")
