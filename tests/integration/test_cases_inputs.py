"""Networks of tests/cases/inputs.py: arguments, dtypes and devices as people have them."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof.cli import main
from tests.cases.inputs import DictInput, OwnHalf, Video, Warp

FILE = str(Path(__file__).parents[1] / "cases" / "inputs.py")
LQ, MASK = (1, 3, 32, 32), (1, 1, 32, 32)
#: Live bytes of a real CPU run, without the weights of 1,216 bytes.
DICT_INPUT = 115_904


def live(found: srprof.Analysis) -> int:
    """The eager peak in exact bytes."""
    return found.requested.eager.nbytes


def plain(found: srprof.Analysis) -> bool:
    """Whether every call ran on meta without anything to say of it."""
    return found.trace.device == "meta" and not found.trace.notes


# -- containers -----------------------------------------------------------------------------------


@dataclass
class Batch:
    lq: Any
    mask: Any
    name: str = "0801"

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


class Named(namedtuple("Named", "lq mask")):
    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)


class Space(SimpleNamespace):
    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


Make = Callable[..., Any]


@pytest.mark.parametrize("make", [dict, OrderedDict, Batch, Named, Space])
@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("example", [False, True], ids=["shapes", "tensors"])
def test_containers_of_the_first_argument(make: Make, trace_on: str, example: bool):
    kinds = []

    class Kind(DictInput):
        def forward(self, batch: Any, scale: float = 1.0) -> Any:
            kinds.append(type(batch))
            return super().forward(batch, scale)

    parts = (torch.rand(LQ), torch.rand(MASK)) if example else (LQ, MASK)
    batch = make(lq=parts[0], mask=parts[1])
    found = srprof.analyze(Kind(), batch, trace_on=trace_on)
    assert live(found) == DICT_INPUT
    assert [e.info.shape for e in found.trace.inputs] == [LQ, MASK]
    assert not found.trace.notes
    assert set(kinds) == {make}
    if example:
        assert (batch["lq"] is parts[0], batch["lq"].device.type) == (True, "cpu")


def test_a_dict_beside_keyword_arguments():
    assert live(srprof.analyze(DictInput(), {"batch": {"lq": LQ, "mask": MASK}})) == DICT_INPUT
    both = srprof.analyze(DictInput(), {"lq": LQ, "mask": MASK}, {"scale": 2.0})
    assert live(both) == DICT_INPUT
    assert live(srprof.analyze(f"{FILE}:DictInput", {"lq": LQ, "mask": MASK})) == DICT_INPUT


def test_a_frozen_dataclass_is_copied():
    class Kind(DictInput):
        def forward(self, batch: Any, scale: float = 1.0) -> Any:
            assert (type(batch), batch.name) == (Frozen, "0801")
            return super().forward(batch, scale)

    @dataclass(frozen=True)
    class Frozen:
        lq: Any
        mask: Any
        name: str = "0801"

        def __getitem__(self, key: str) -> Any:
            return getattr(self, key)

    assert live(srprof.analyze(Kind(), Frozen(LQ, MASK))) == DICT_INPUT


def test_a_list_stays_a_list_and_a_tuple_a_tuple():
    class Kinds(nn.Module):
        def forward(self, many: Any) -> Any:
            frames, pair = many
            assert (type(many), type(frames), type(pair)) == (list, list, tuple)
            frames.append(pair[0])
            return torch.cat(frames)

    found = srprof.analyze(Kinds(), [[LQ, LQ], (LQ, LQ)])
    assert found.trace.nodes[-1].shape == (3, *LQ[1:])


class Resized(nn.Module):
    """Takes text and a pair of numbers, neither of which is a tensor."""

    def forward(self, x: torch.Tensor, mode: Any, size: Any) -> torch.Tensor:
        assert isinstance(mode, str) and isinstance(size, tuple)
        return nn.functional.interpolate(x, size=size, mode=mode)


class Annotated(Resized):
    def forward(self, x: torch.Tensor, mode: str, size: tuple[int, int]) -> torch.Tensor:
        return super().forward(x, mode, size)


class Defaulted(Resized):
    def forward(self, x: torch.Tensor, mode: Any = "nearest", size: Any = (8, 8)) -> torch.Tensor:
        return super().forward(x, mode, size)


@pytest.mark.parametrize(
    ("model", "size"),
    [(Resized, srprof.AsIs((64, 48))), (Annotated, (64, 48)), (Defaulted, (64, 48))],
)
def test_text_and_pairs_of_numbers(model: type[nn.Module], size: Any):
    for inputs in ([LQ, "nearest", size], [LQ, {"mode": "nearest", "size": size}]):
        found = srprof.analyze(model(), *inputs)
        assert found.trace.nodes[-1].shape == (1, 3, 64, 48)
        assert len(found.trace.inputs) == 1


def test_text_alone_is_a_wrong_size():
    with pytest.raises(srprof.InputError, match="'large' is not a size"):
        srprof.analyze("fmen_s", "large")


# -- any rank and dtype, from the command line ----------------------------------------------------

TWO = """\
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 8, 3, 1, 1), nn.Embedding(10, 8)

    def forward(self, x, t, mask=None):
        y = self.conv(x) + self.table(t)[:, :, None, None]
        return y if mask is None else y.masked_fill(mask, 0)
"""


@pytest.fixture
def two(tmp_path: Path) -> str:
    """The SPEC of a network with inputs of three dtypes."""
    (tmp_path / "two.py").write_text(TWO)
    return f"{tmp_path}/two.py:Two"


Run = Callable[..., Any]


def test_video(run: Run):
    shape = "1x5x3x32x32"
    assert live(srprof.analyze(Video(), (1, 5, 3, 32, 32))) == 226_176
    found = run("analyze", f"{FILE}:Video", "--input", shape, "--granularity", "1")
    assert found["memory"]["peak"]["eager"] == 226_176
    rows = run("sweep", f"{FILE}:Video", "--inputs", f"{shape},1x2x3x32..64:32x32", "--jobs", "1")
    assert [row["input"] for row in rows["rows"]] == [shape, "1x2x3x32x32", "1x2x3x64x32"]
    fit = run("fit", f"{FILE}:Video", "--input", shape, "--budget", "4MiB")
    assert fit["largest"]["shape"][:3] == [1, 5, 3]
    side = fit["largest"]["shape"][3]
    assert 20 * (3 + 8) * side**2 + 896 <= 4 * 2**20 < 20 * (3 + 8) * (side + 2) ** 2
    assert run("lean", f"{FILE}:Video", "--input", shape)["level"] == "exact"
    assert run("advise", f"{FILE}:Video", "--input", shape)


def test_video_in_a_gate(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = f'[[check]]\nmodel = "{FILE}:Video"\ninput = "1x5x3x32x32"\neager = "1 MiB"\n'
    Path("srprof.toml").write_text("baseline = false\n" + text)
    assert run("check")


@pytest.mark.parametrize(
    "inputs",
    [
        ("8x8", "1:int64", "1x1x8x8:bool"),
        ("8x8", "t=1:int64", "mask=1x1x8x8:bool"),
        ("mask=1x1x8x8:bool", "t=1:int64", "x=8x8"),
    ],
)
def test_inputs_by_place_and_by_name(two: str, run: Run, inputs: tuple[str, ...]):
    given = [word for each in inputs for word in ("--input", each)]
    found = run("analyze", two, *given)
    tensors = {(*tensor["shape"], tensor["dtype"]) for tensor in found["inputs"]}
    assert tensors == {(1, 3, 8, 8, "float32"), (1, "int64"), (1, 1, 8, 8, "bool")}
    python = srprof.analyze(two, *inputs)
    assert python.trace.nodes[-1].op == "masked_fill"
    for command in ("advise", "lean"):
        assert run(command, two, *given)


def test_fit_keeps_the_other_inputs(two: str, run: Run):
    given = ["--input", "x=8x8", "--input", "t=1:int64"]
    assert run("fit", two, "--budget", "1MiB", *given)["largest"]["shape"][:2] == [1, 3]


def test_a_sweep_has_each_name_beside_the_others(two: str, run: Run):
    given = ["--input", "x=8x8,16x16", "--input", "t=1:int64"]
    rows = run("sweep", two, *given, "--jobs", "1")["rows"]
    assert [row["input"] for row in rows] == ["x=8x8 t=1:int64", "x=16x16 t=1:int64"]
    assert not any(row["error"] for row in rows)


def test_a_gate_has_inputs_by_name(
    two: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    check = f'[[check]]\nmodel = "{two}"\ninput = ["8x8", "t=1:int64"]\neager = "1 MiB"\n'
    Path("srprof.toml").write_text("baseline = false\n" + check)
    assert run("check")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["8x8"], "give --input t=SHAPE"),
        (["x=8x8"], "give --input t=SHAPE"),
        (["8x8", "t=1:int64", "maks=8x8"], "unexpected keyword argument 'maks'"),
        (["8x8", "8x8", "8x8", "8x8"], "one --input for each argument"),
        (["8x8", "t=1:int65"], "did you mean int64"),
        (["8x8", "t=1:int64", "t=1:int64"], "given twice"),
        (["8x8", "t=x:int64"], "is not a size"),
    ],
)
def test_wrong_arguments_say_how_to_give_them(
    two: str, capsys: pytest.CaptureFixture[str], inputs: list[str], said: str
):
    code = main(["analyze", two, *(w for each in inputs for w in ("--input", each))])
    assert code in (2, 3)  # what is no input at all; what `forward` refuses
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# -- dtypes ---------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)
        self.register_buffer("mean", torch.zeros(8, 1, 1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.conv(x).relu() - self.mean


class Rows(nn.Module):
    """A linear layer, whose operands torch's meta kernel lets differ."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> Any:
        return self.map(x)


def test_half_inside_and_float32_outside():
    found = srprof.analyze(OwnHalf(), (1, 3, 64, 64))
    assert [node.op for node in found.trace.nodes] == ["_to_copy", "convolution", "_to_copy"]
    assert found.requested.net == 448
    assert found.trace.inputs[0].info.dtype == "float32"
    assert "float16 (448 bytes)" in " ".join(found.trace.notes)
    half = srprof.analyze(OwnHalf(), (1, 3, 64, 64), dtype="float16")
    assert half.trace.nodes[0].op == "convolution"
    assert not half.trace.notes


@pytest.mark.parametrize("network", [Plain, Rows])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_a_network_of_one_dtype_takes_images_of_it(
    network: type[nn.Module], dtype: torch.dtype, trace_on: str
):
    shape = (1, 3, 16, 16)
    usual = srprof.analyze(network(), shape, trace_on=trace_on)
    assert not usual.trace.notes
    for image in (shape, torch.rand(shape).to(dtype)):
        found = srprof.analyze(network().to(dtype), image, trace_on=trace_on)
        assert live(found) * 4 == live(usual) * dtype.itemsize
        assert found.trace.inputs[0].info.dtype == str(dtype).removeprefix("torch.")
        assert "its own dtypes" in " ".join(found.trace.notes)


def test_buffers_keep_their_dtypes():
    model = Plain()
    model.mean = torch.zeros(8, 1, 1, dtype=torch.float64)
    found = srprof.analyze(model, (1, 3, 8, 8))
    assert found.trace.inputs[0].info.dtype == "float32"
    assert found.trace.nodes[-1].outputs[0].dtype == "float64"
    assert found.requested.net == 4 * 224 + 8 * 8


def test_what_a_network_refuses_is_refused_on_meta_too():
    for trace_on in ("meta", "cpu"):
        with pytest.raises(srprof.ModelError, match="same dtype"):
            srprof.analyze(Rows(), torch.rand(1, 16).half(), trace_on=trace_on)


def test_a_networks_own_layout():
    model = Plain().to(memory_format=torch.channels_last)
    found = srprof.analyze(model, (1, 3, 8, 8))
    assert "channels-last" in " ".join(found.trace.notes)
    (weight,) = (e.info for e in found.trace.externals if e.name == "conv.weight")
    assert weight.strides == (27, 1, 9, 3)


@pytest.mark.parametrize("command", ["lean", "advise", "fit", "measure", "analyze"])
def test_own_dtypes_in_every_command(command: str, run: Run):
    more = {"fit": ["--budget", "4MiB"], "measure": ["--device", "cpu", "--repeat", "0"]}
    assert run(command, f"{FILE}:OwnHalf", "--input", "1x3x16x16", *more.get(command, []))


# -- devices --------------------------------------------------------------------------------------


def test_warp_puts_its_grid_on_the_gpu():
    """On one device it is 8,654,368 bytes; on a GPU the two aranges are in main memory."""
    one_device = srprof.analyze(Warp(), (1, 3, 256, 256), trace_on="cpu")
    assert live(one_device) == 8_654_368
    found = srprof.analyze(Warp(), (1, 3, 256, 256))
    assert live(found) == 8_654_368 - 2 * 256 * 4
    assert not any("raises on a GPU" in note for note in found.trace.notes)


QUESTIONS = {
    "is_cuda": "x.is_cuda",
    "get_device": "x.get_device() >= 0",
    "type": 'x.device.type == "cuda"',
    "text": 'str(x.device).startswith("cuda")',
    "weight": "next(self.parameters()).is_cuda",
    "is_available": "torch.cuda.is_available()",
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_tensors_say_that_they_are_on_the_gpu(question: str, tmp_path: Path):
    source = f"""\
import torch
from torch import nn


class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        y = self.conv(x)
        ones = torch.ones(1, 3, *x.shape[2:], device=x.device)
        return y.sigmoid() + ones if {question} else y
"""
    (tmp_path / "asks.py").write_text(source)
    spec = f"{tmp_path}/asks.py:Asks"
    ops = ["convolution", "ones", "sigmoid", "add"]
    assert [node.op for node in srprof.analyze(spec, "8x8").trace.nodes] == ops
    assert srprof.advise(spec, "8x8").peak > 0
    real = [node.op for node in srprof.analyze(spec, "8x8", trace_on="cpu").trace.nodes]
    assert real == ops[:2]
    for name in ("is_cuda", "device", "get_device"):
        assert name not in vars(torch.Tensor)


BUILT = {
    "module": "nn.Conv2d(3, 16, 3, 1, 1).cuda()",
    "device": 'nn.Conv2d(3, 16, 3, 1, 1, device="cuda")',
    "to": 'nn.Conv2d(3, 16, 3, 1, 1).to("cuda:0")',
    "back": 'nn.Conv2d(3, 16, 3, 1, 1).cuda().to("cpu")',
    "cpu": "nn.Conv2d(3, 16, 3, 1, 1).cuda().cpu()",
}


@pytest.mark.parametrize("built", BUILT.values(), ids=BUILT)
def test_built_on_the_gpu_in_every_command(built: str, tmp_path: Path, run: Run):
    source = f"""\
from torch import nn


class Built(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = {built}

    def forward(self, x):
        return self.a(x) * 2
"""
    (tmp_path / "built.py").write_text(source)
    spec, size = f"{tmp_path}/built.py:Built", ["--input", "1x3x32x32"]
    assert live(srprof.analyze(spec, "1x3x32x32")) == 145_152 - 1792 + 4 * (27 + 1) * 16
    assert run("analyze", spec, *size)["memory"]["peak"]["eager"]
    assert run("advise", spec, *size)["advice"]
    after = run("lean", spec, *size)["after"]
    assert after["eager"] < 145_152
    assert run("fit", spec, *size, "--budget", "1MiB")["largest"]
    assert run("measure", spec, *size, "--device", "cpu", "--repeat", "0")
    assert run("analyze", spec, *size, "--trace-on", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.filterwarnings("error:.*cannot be lean")
@pytest.mark.parametrize(
    "forward",
    [
        "self.a(x.cuda()) * torch.ones(1).cuda()",
        'self.a(x).to("cuda:0") * torch.ones(1, device="cuda")',
        "self.a(x.to(self.device)) * torch.ones(1, device=self.device)",
        "self.a(x) * (torch.ones(1).cuda() if torch.cuda.is_available() else 1)",
    ],
)
def test_forward_on_the_gpu_is_made_lean(forward: str, tmp_path: Path, run: Run):
    source = f"""\
import torch
from torch import nn


class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.device = nn.Conv2d(3, 16, 3, 1, 1), torch.device("cuda")
        self.to(self.device)(torch.rand(1, 3, 8, 8, device=self.device))

    def forward(self, x):
        return ({forward}) * 2
"""
    (tmp_path / "asks.py").write_text(source)
    spec = f"{tmp_path}/asks.py:Asks"
    found = run("lean", spec, "--input", "1x3x16x16", "--verify")
    assert found["identical"]
    assert found["after"]["eager"] < found["before"]["eager"]
    assert found["time_ratio"]["pairs"]
    assert run("advise", spec, "--input", "1x3x16x16")["advice"]
    lean = srprof.lean(spec, "1x3x16x16")
    assert lean(torch.rand(1, 3, 16, 16)).shape == (1, 16, 16, 16)
