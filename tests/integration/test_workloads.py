"""What can be analysed: every form of SPEC, input, output and model that people have."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import srprof
from srprof.analysis import Analysis
from srprof.cli import main
from srprof.render.views import VIEWS
from tests.normalised import NORMS
from tests.shown import FORMATS

IMAGE = (1, 3, 8, 8)
IMAGE_BYTES = 3 * 8 * 8 * 4

#: Parameters of a 3x3 convolution from 3 to `nf` channels, by `nf`.
PARAMETERS = {nf: 27 * nf + nf for nf in range(1, 33)}


class Net(nn.Module):
    """One convolution and a ReLU."""

    def __init__(self, nf: int = 4) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x))


def ops(found: Analysis) -> list[str]:
    """The names of the ATen calls."""
    return [node.op for node in found.trace.nodes]


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that a tool may change of a model by mistake, in comparable form."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [len(vars(module)[hook]) for module in model.modules() for hook in hooks],
        "keys": list(model.state_dict()),
        "tensors": [
            (name, id(t), t.device, t.dtype, t.data_ptr(), t._version, t.requires_grad, t.tolist())
            for name, t in tensors
        ],
    }


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Whatever a test does, no hook, mode or path of srprof outlives it."""
    path, grad, collecting = list(sys.path), torch.is_grad_enabled(), gc.isenabled()
    yield
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert (sys.path, torch.is_grad_enabled(), gc.isenabled()) == (path, grad, collecting)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, none of whose modules outlives the test.

    pytest puts this repository's root on the path, where its own `models` would come before a
    user's that has no `__init__.py`.
    """
    root = str(Path(__file__).parents[2])
    path = list(sys.path)
    sys.path[:] = [entry for entry in path if entry not in (root, "")]
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        where = [getattr(sys.modules[name], "__file__", None) or ""]
        where += getattr(sys.modules[name], "__path__", [])
        if any(str(entry).startswith(str(tmp_path)) for entry in where):
            del sys.modules[name]


Command = Callable[..., dict[str, Any]]


@pytest.fixture
def analyze(capsys: pytest.CaptureFixture[str]) -> Command:
    """`srprof analyze`, its JSON read."""

    def run(spec: str, *options: str) -> dict[str, Any]:
        code = main(["analyze", spec, "--input", "8x8", "--format", "json", *options])
        captured = capsys.readouterr()
        assert (code, captured.err) == (0, "")
        found: dict[str, Any] = json.loads(captured.out)
        return found

    return run


def parameters(found: dict[str, Any]) -> int:
    return int(found["complexity"]["params"])


# -- SPEC: files and modules --------------------------------------------------------------------

FACTORY = "def Net(nf={nf}):\n    return Body(nf)\n"
BODY = """\
from torch import nn


class Body(nn.Module):
    def __init__(self, nf):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x):
        return self.body(x)
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def write_repository(root: Path, nf: int, *, package: bool = True) -> None:
    """A repository as people have it: a script at its root, and a `models` package."""
    write(
        root,
        {
            "models/blocks.py": BODY,
            "models/net.py": "from models.blocks import Body\n" + FACTORY.format(nf=nf),
            "train.py": "from models.net import Net\n",
        }
        | ({"models/__init__.py": ""} if package else {}),
    )


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("spec", ["train.py:Net", "models/net.py:Net", "models.net:Net"])
def test_repository_with_a_models_package_from_its_root(
    folder: Path, analyze: Command, spec: str, package: bool
):
    write_repository(folder, 5, package=package)
    path = list(sys.path)
    assert parameters(analyze(spec)) == PARAMETERS[5]
    assert sys.path == path


@pytest.mark.parametrize("file", ["train.py", "models/net.py"])
def test_repository_from_elsewhere(folder: Path, analyze: Command, file: str):
    write_repository(folder / "repository", 5)
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    assert parameters(analyze(f"../repository/{file}:Net")) == PARAMETERS[5]
    assert parameters(analyze(f"{folder}/repository/{file}:Net(nf=7)")) == PARAMETERS[7]


@pytest.mark.parametrize("file", ["train.py", "models/net.py"])
def test_second_repository_gets_its_own_models_package(folder: Path, analyze: Command, file: str):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
    for name, nf in (("one", 5), ("two", 6), ("one", 5)):
        assert parameters(analyze(f"{name}/{file}:Net")) == PARAMETERS[nf]
    found = srprof.analyze("fmen_s", IMAGE)
    assert found.complexity.parameters > PARAMETERS[6], "the zoo is not shadowed"


def test_module_of_the_current_folder_follows_the_folder(folder: Path, analyze: Command):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
        os.chdir(folder / name)
        assert parameters(analyze("models.net:Net")) == PARAMETERS[nf]


def test_file_after_module_of_another_repository(folder: Path, analyze: Command):
    for name, nf in (("one", 5), ("two", 6)):
        write_repository(folder / name, nf)
    os.chdir(folder / "one")
    assert parameters(analyze("models.net:Net")) == PARAMETERS[5]
    os.chdir(folder)
    assert parameters(analyze("two/train.py:Net")) == PARAMETERS[6]


def test_modules_of_the_caller_are_left_in_place(folder: Path):
    """A notebook that imported its own `models` before, and goes on with it."""
    write_repository(folder / "mine", 5)
    write_repository(folder / "other", 6)
    sys.path.insert(0, str(folder / "mine"))  # until the fixture ends
    own = importlib.import_module("models.net")
    mine = sys.modules["models"], own
    found = srprof.analyze(f"{folder}/other/train.py:Net", IMAGE)
    assert found.complexity.parameters == PARAMETERS[6]
    assert (sys.modules["models"], sys.modules["models.net"]) == mine


def test_edited_file_is_read_again(folder: Path):
    for nf in (4, 16):
        write_repository(folder, nf)
        found = srprof.analyze("train.py:Net", IMAGE)
        assert found.complexity.parameters == PARAMETERS[nf]


@pytest.mark.parametrize(
    ("file", "imports"),
    [
        ("pack/net.py", "from .blocks import Body"),
        ("pack/sub/net.py", "from ..blocks import Body"),
        ("pack/sub/deep/net.py", "from ...blocks import Body"),
        ("pack/sub/net.py", "from pack.blocks import Body"),
        ("pack/__init__.py", "from .blocks import Body"),
    ],
)
def test_relative_imports(folder: Path, analyze: Command, file: str, imports: str):
    inits = ("pack", "pack/sub", "pack/sub/deep")
    write(folder / "root", {f"{name}/__init__.py": "" for name in inits})
    write(folder / "root", {"pack/blocks.py": BODY, file: f"{imports}\n{FACTORY.format(nf=4)}"})
    assert parameters(analyze(f"root/{file}:Net")) == PARAMETERS[4]


def test_package_that_imports_its_own_file(folder: Path, analyze: Command):
    write(
        folder,
        {
            "pack/__init__.py": "from .net import Net\nfrom . import blocks\n",
            "pack/blocks.py": BODY,
            "pack/net.py": "from .blocks import Body\n" + FACTORY.format(nf=4),
        },
    )
    assert parameters(analyze("pack/net.py:Net")) == PARAMETERS[4]
    assert parameters(analyze("pack:Net")) == PARAMETERS[4]
    assert parameters(analyze("pack.net:Net(nf=6)")) == PARAMETERS[6]


def test_file_next_to_its_helpers(folder: Path, analyze: Command):
    write(folder / "a b", {"helpers.py": BODY, "my net.py": "from helpers import Body\nNet = Body"})
    assert parameters(analyze("a b/my net.py:Net(6)")) == PARAMETERS[6]


def test_constructor_that_imports(folder: Path, analyze: Command):
    source = "def Net():\n    from helpers import Body\n    return Body(6)\n"
    write(folder / "sub", {"helpers.py": BODY, "net.py": source})
    assert parameters(analyze("sub/net.py:Net")) == PARAMETERS[6]


def test_forward_that_imports(folder: Path, analyze: Command):
    source = BODY.replace("return self.body(x)", "import torch.fft as f; return self.body(x)")
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:Body(6)")) == PARAMETERS[6]


def test_dataclass_in_the_users_file(folder: Path, analyze: Command):
    """`dataclasses` looks its module up in `sys.modules`."""
    source = "from __future__ import annotations\nimport dataclasses\n" + BODY.replace(
        "class Body",
        "@dataclasses.dataclass\nclass Options:\n    nf: int = 6\n\n\nclass Body",
    )
    write(folder, {"net.py": source + "\n\ndef Net():\n    return Body(Options().nf)\n"})
    assert parameters(analyze("net.py:Net")) == PARAMETERS[6]


def test_module_of_a_library(analyze: Command):
    assert analyze("torch.nn:Identity")["nodes"] == []
    assert parameters(analyze("torch.nn:Conv2d(3, 4, 3)")) == PARAMETERS[4]


@pytest.mark.parametrize("spec", ["net.py:net", "net.py:net()"])
def test_instance_in_a_file(folder: Path, analyze: Command, spec: str):
    write(folder, {"net.py": f"{BODY}\n\nnet = Body(6)\n"})
    assert parameters(analyze(spec)) == PARAMETERS[6]


def test_instance_in_a_file_that_is_in_training(folder: Path, analyze: Command):
    write(folder, {"net.py": f"{BODY}\n\nnet = nn.Sequential(Body(6), nn.Dropout(0.5)).train()\n"})
    assert [node["op"] for node in analyze("net.py:net")["nodes"]] == ["convolution"]


# -- SPEC: arguments ----------------------------------------------------------------------------

RECORDING = """\
import json
from torch import nn


def record(*args, **kwargs):
    with open("arguments", "w") as file:
        file.write(repr((args, kwargs)))
    return nn.Conv2d(3, 4, 3)
"""


@pytest.mark.parametrize(
    ("call", "args", "kwargs"),
    [
        ("record", (), {}),
        ("record()", (), {}),
        ("record(48)", (48,), {}),
        ("record(48, 4,)", (48, 4), {}),
        ("record(nf=48, scale=4)", (), {"nf": 48, "scale": 4}),
        ("record(48, scale=4)", (48,), {"scale": 4}),
        ("record(-1, +2, -0.5, 1e-3)", (-1, 2, -0.5, 1e-3), {}),
        ("record(None, True, False)", (None, True, False), {}),
        ("record([1, 2], (3, 4), {5, 6})", ([1, 2], (3, 4), {5, 6}), {}),
        ("record([], (), {})", ([], (), {}), {}),
        ("record(opt={'a': [1, {'b': None}]})", (), {"opt": {"a": [1, {"b": None}]}}),
        ("record('text', \"text\", r'\\d')", ("text", "text", "\\d"), {}),
        ("record('a:b')", ("a:b",), {}),
        ("record(path='C:/x.py:y')", (), {"path": "C:/x.py:y"}),
        ("record('f(x)')", ("f(x)",), {}),
        ("record(')', '(', ':')", (")", "(", ":"), {}),
        ("record('a/b.pth')", ("a/b.pth",), {}),
        ("record('x=1, y=2')", ("x=1, y=2",), {}),
        ("record(name='größe')", (), {"name": "größe"}),
        ("record( nf = 48 )", (), {"nf": 48}),
        ("record(\n    nf=48,\n)", (), {"nf": 48}),
        ("record(0x10, 1_000, 2j, b'x')", (16, 1000, 2j, b"x"), {}),
        ("record(self_=1, spec='s', args=(), kwargs={})", (),
         {"self_": 1, "spec": "s", "args": (), "kwargs": {}}),
    ],
)  # fmt: skip
def test_literal_arguments(
    folder: Path, analyze: Command, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]
):
    write(folder, {"net.py": RECORDING})
    analyze(f"net.py:{call}")
    assert (folder / "arguments").read_text() == repr((args, kwargs))


def test_string_argument_that_ends_like_a_checkpoint(folder: Path, analyze: Command):
    write(folder, {"net.py": RECORDING})
    analyze("net.py:record(weights='x.pth')")
    assert "x.pth" in (folder / "arguments").read_text()


def test_argument_that_changes_the_zoo_network(analyze: Command):
    two, four = (analyze(f"fmen_s(scale={scale})") for scale in (2, 4))
    assert (two["model"]["scale"], four["model"]["scale"]) == (2, 4)
    assert [found["nodes"][-1]["shape"] for found in (two, four)] == [
        [1, 3, 16, 16],
        [1, 3, 32, 32],
    ]


def test_list_argument_is_fresh_for_each_instance(folder: Path, analyze: Command):
    """The model is built more than once; a constructor that empties its list must not matter."""
    source = BODY + (
        "\n\ndef Net(widths):\n    return nn.Sequential(Body(widths.pop()), nn.ReLU())\n"
    )
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:Net(widths=[6])")) == PARAMETERS[6]


# -- inputs -------------------------------------------------------------------------------------

SEVERAL = """\
import torch
from torch import nn


class Two(nn.Module):
    def forward(self, image, reference):
        return torch.cat([image, reference[..., ::2, ::2]], dim=1)
"""


def test_several_inputs_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]):
    write(folder, {"net.py": SEVERAL})
    code = main(["analyze", "net.py:Two", "--input", "8x10", "--input", "1x5x16x20",
                 "--format", "json"])  # fmt: skip
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    found = json.loads(captured.out)
    assert [tensor["shape"] for tensor in found["inputs"]] == [[1, 3, 8, 10], [1, 5, 16, 20]]
    assert found["nodes"][-1]["shape"] == [1, 8, 8, 10]


class Several(nn.Module):
    """Takes its tensors in every way."""

    def forward(
        self,
        images: list[torch.Tensor],
        mask: torch.Tensor | None = None,
        *,
        scale: float = 1,
        more: Any = (),
    ) -> torch.Tensor:
        x = torch.cat(list(images), dim=1) * scale
        for tensor in more:
            x = x + tensor
        return x if mask is None else x * mask


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert not tokens.is_floating_point()
        found: torch.Tensor = self.table(tokens)
        return found


def test_list_input():
    found = srprof.analyze(Several(), [(1, 3, 8, 8), (1, 2, 8, 8)])
    assert [e.info.shape for e in found.trace.inputs] == [(1, 3, 8, 8), (1, 2, 8, 8)]
    assert found.trace.nodes[-1].shape == (1, 5, 8, 8)


def test_keyword_inputs():
    found = srprof.analyze(
        Several(),
        [IMAGE],
        {"mask": (1, 1, 8, 8), "scale": 0.5, "more": [IMAGE, torch.zeros(IMAGE)]},
    )
    assert len(found.trace.inputs) == 4
    assert ops(found)[-1] == "mul"


def test_sizes_as_text():
    found = srprof.analyze(Net(), "2x3x10x12")
    assert found.trace.inputs[0].info.shape == (2, 3, 10, 12)
    assert srprof.analyze("fmen_s", "10x12").trace.inputs[0].info.shape == (1, 3, 10, 12)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("run_dtype", ["float32", "float16"])
def test_integer_example(dtype: torch.dtype, trace_on: str, run_dtype: str):
    tokens = torch.arange(7, dtype=dtype)
    found = srprof.analyze(Tokens(), tokens, trace_on=trace_on, dtype=run_dtype)
    assert found.trace.inputs[0].info.dtype == str(dtype).removeprefix("torch.")
    assert found.trace.nodes[-1].shape == (7, 6)


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_example_tensor_is_not_changed(trace_on: str):
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    image = torch.rand(IMAGE)
    before = image.clone(), image._version
    found = srprof.analyze(InPlace(), image, trace_on=trace_on)
    assert ops(found) == ["mul_"]
    assert torch.equal(image, before[0])
    assert image._version == before[1]


def test_example_is_as_large_as_its_shape_though_it_is_a_view():
    """A crop of a large image: the network's input is the crop."""
    crop = torch.rand(1, 3, 512, 512)[..., :8, :8]
    found = srprof.analyze(Net(), crop, granularity=1)
    assert found.memory.parts[0].input == IMAGE_BYTES


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_example_tensor_is_brought_to_the_dtype(dtype: str):
    found = srprof.analyze(Net(), torch.rand(IMAGE), dtype=dtype)
    assert found.trace.inputs[0].info.dtype == dtype
    assert found.trace.nodes[-1].outputs[0].dtype == dtype


@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_model_and_example_of_double_precision(trace_on: str):
    found = srprof.analyze(Net().double(), torch.rand(IMAGE).double(), trace_on=trace_on)
    assert ops(found) == ["convolution", "relu"]


def test_example_that_needs_gradients():
    found = srprof.analyze(Net(), torch.rand(IMAGE, requires_grad=True))
    assert ops(found) == ["convolution", "relu"]


def test_same_tensor_given_twice():
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    image = torch.rand(IMAGE)
    assert len(srprof.analyze(Sum(), image, image).trace.nodes) == 1


# -- outputs ------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A named tuple of two feature maps."""

    sr: torch.Tensor
    features: torch.Tensor


@dataclasses.dataclass
class Result:
    """A dataclass with tensors inside."""

    sr: torch.Tensor
    features: list[torch.Tensor]
    note: str = "text"


OUTPUTS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"sr": a, "aux": b},
    "nested": lambda a, b: {"sr": a, "aux": [(b, None), {"x": 3, "y": "text"}]},
    "named tuple": Pair,
    "dataclass": lambda a, b: Result(a, [b]),
    "dataclass in a tuple": lambda a, b: (a, Result(b, [])),
    "the same twice": lambda a, b: (a, b, a),
    "view": lambda a, b: (a, b.permute(0, 2, 3, 1)),
}


class Returns(nn.Module):
    """Gives two feature maps in some form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        first = self.body(x)
        return OUTPUTS[self.form](first, first * 2)


def tensors_reached(value: Any, depth: int = 6) -> Iterator[torch.Tensor]:
    """Every tensor in a record, whatever holds it."""
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, set)):
        for item in value:
            yield from tensors_reached(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from tensors_reached(item, depth - 1)
    elif depth and dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_reached(getattr(value, field.name), depth - 1)


@pytest.mark.parametrize("form", OUTPUTS)
def test_forms_of_output(form: str):
    found = srprof.analyze(Returns(form), IMAGE, granularity=1)
    returned = [s.nbytes for s in found.trace.storages if s.returned]
    assert returned == [4 * 8 * 8 * 4] * 2
    assert {s.death for s in found.trace.storages if s.returned} == {len(found.trace.nodes)}
    assert found.memory.eager.nbytes == found.memory.net + IMAGE_BYTES + sum(returned)
    assert not list(tensors_reached(found.trace)), "the record holds a tensor"
    found.trace.graph.lint()
    json.dumps(found.to_dict())


@pytest.mark.parametrize("result", [None, 3, "text", [], {}, object()])
def test_output_without_a_tensor(result: Any):
    class Nothing(Net):
        def forward(self, x: torch.Tensor) -> Any:
            self.body(x)
            return result

    found = srprof.analyze(Nothing(), IMAGE)
    assert ops(found) == ["convolution"]
    assert not [s for s in found.trace.storages if s.returned]
    found.trace.graph.lint()


# -- small and odd models -----------------------------------------------------------------------


class GivesItsInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class NoParameters(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class GivesAParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 3, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.image


class GivesZeros(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :0]


ODD = [GivesItsInput, NoParameters, GivesAParameter, GivesZeros]


@pytest.mark.parametrize("model", ODD)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("output_format", FORMATS)
def test_odd_models_in_every_view_and_format(
    capfdbinary: pytest.CaptureFixture[bytes], model: type[nn.Module], view: str, output_format: str
):
    spec = f"{__file__}:{model.__name__}"
    assert main(["analyze", spec, "--input", "8x8", "--view", view,
                 "--format", output_format]) == 0  # fmt: skip
    captured = capfdbinary.readouterr()
    assert captured.err == b""
    assert captured.out.endswith(b"." if output_format == "memory-viz" else b"\n")


def test_model_that_gives_its_input_has_no_nodes():
    found = srprof.analyze(GivesItsInput(), IMAGE, granularity=1)
    assert found.trace.nodes == ()
    assert found.memory.eager.nbytes == found.memory.planned.nbytes == IMAGE_BYTES
    assert found.to_frame().empty
    assert found._repr_html_()


def test_model_without_parameters():
    found = srprof.analyze(NoParameters(), IMAGE, granularity=1)
    assert (found.memory.net, found.complexity.parameters) == (0, 0)
    assert found.memory.eager.nbytes == 5 * IMAGE_BYTES


def test_tied_parameters_count_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
            self.second.weight = self.first.weight
            self.third = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.third(self.second(self.first(x)))

    model = Tied()
    found = srprof.analyze(model, (1, 4, 8, 8), granularity=1)
    once = 4 * 4 * 9 + 4 + 4
    assert found.complexity.parameters == once
    assert found.memory.net == once * 4
    assert found.complexity.convolutions == 3
    assert model.second.weight is model.first.weight


def test_parameters_that_are_views_of_one_storage():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            flat = torch.zeros(108 + 4)
            self.weight = nn.Parameter(flat[:108].view(4, 3, 3, 3))
            self.bias = nn.Parameter(flat[108:])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.weight, self.bias)

    found = srprof.analyze(Flat(), IMAGE, granularity=1)
    assert found.memory.net == 112 * 4
    assert found.complexity.parameters == 112


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_plain_tensor_attributes(trace_on: str):
    class Normalized(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor([0.4, 0.4, 0.5]).view(1, 3, 1, 1)
            self.scales = [torch.tensor([2.0]).view(1, 1, 1, 1)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward((x - self.mean) * self.scales[0])

    model = Normalized()
    mean = model.mean
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert ops(found) == ["sub", "mul", "convolution", "relu"]
    assert model.mean is mean
    assert mean.device.type == "cpu"


LEGACY = BODY.replace("from torch import nn", "import torch\nimport numpy\nfrom torch import nn")


@pytest.mark.parametrize(
    "made",
    [
        "torch.Tensor([1, 2, 3])",
        "torch.FloatTensor([1, 2, 3])",
        "torch.from_numpy(numpy.ones(3, dtype='float32'))",
        "torch.linspace(0, 1, 3)",
        "torch.tensor([1.0, 2.0, float(torch.ones(3).sum())])",
        "nn.Parameter(torch.Tensor([1, 2, 3]), requires_grad=False)",
    ],
)
def test_constructor_that_makes_tensors(folder: Path, analyze: Command, made: str):
    source = LEGACY.replace(
        "super().__init__()", f"super().__init__()\n        self.mean = {made}"
    ).replace("self.body(x)", "self.body(x - self.mean.view(1, 3, 1, 1))")
    write(folder, {"net.py": source})
    assert [node["op"] for node in analyze("net.py:Body(4)")["nodes"]][-1] == "convolution"


@pytest.mark.parametrize("made", ["zeros(x.shape)", "ones(1)", "rand(1, 3, 1, 8)", "arange(8.)"])
def test_forward_that_makes_tensors_without_a_device(made: str):
    scope: dict[str, Any] = {"nn": nn, "torch": torch}
    source = f"class Made(nn.Module):\n    def forward(self, x):\n        return x + torch.{made}"
    exec(source, scope)
    found = srprof.analyze(scope["Made"](), IMAGE)
    assert found.trace.device == "meta"
    assert found.trace.nodes[-1].shape == IMAGE
    assert any("device=x.device" in note for note in found.trace.notes)


def test_forward_that_makes_tensors_on_the_inputs_device():
    class Made(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(x.shape, device=x.device) + x.new_ones(1)

    found = srprof.analyze(Made(), IMAGE)
    assert (found.trace.device, found.trace.notes) == ("meta", ())


# -- dtype, format, batch -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("network", ["fmen_s", "e_rfdn"])
def test_half_precision_takes_half(network: str, dtype: str):
    full, half = (srprof.analyze(network, (1, 3, 32, 32), dtype=d) for d in ("float32", dtype))
    assert ops(half) == ops(full)
    for kind in ("net", "planned", "eager"):
        whole, halved = getattr(full.requested, kind), getattr(half.requested, kind)
        if kind != "net":
            whole, halved = whole.nbytes, halved.nbytes
        assert halved * 2 == whole
    assert half.trace.nodes[-1].outputs[0].dtype == dtype


def test_half_precision_from_the_command_line(analyze: Command):
    found = analyze("fmen_s", "--dtype", "bfloat16")
    assert found["input"]["dtype"] == "bfloat16"
    assert (
        found["memory"]["requested"]["eager"] * 2
        == (analyze("fmen_s")["memory"]["requested"]["eager"])
    )


@pytest.mark.parametrize("network", ["fmen", "fmen_s", "e_rfdn", "imdn"])
def test_channels_last_takes_the_same(network: str):
    shape = (1, 3, 32, 32)
    plain, last = (srprof.analyze(network, shape, channels_last=c) for c in (False, True))
    assert last.memory.eager.nbytes == plain.memory.eager.nbytes
    assert last.memory.planned.nbytes == plain.memory.planned.nbytes
    assert last.complexity == plain.complexity
    assert last.trace.device == "meta"


def test_channels_last_from_the_command_line(analyze: Command):
    plain, last = analyze("fmen_s"), analyze("fmen_s", "--channels-last")
    assert last["memory"]["peak"] == plain["memory"]["peak"]


def test_channels_last_reaches_the_convolution():
    seen = []

    class Looks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            seen.append((x.stride(), y.stride(), self.body.weight.stride()))
            return y

    model = Looks()
    srprof.analyze(model, IMAGE, channels_last=True)
    assert set(seen) == {((192, 1, 24, 3), (256, 1, 32, 4), (27, 1, 9, 3))}
    assert model.body.weight.is_contiguous()


@pytest.mark.parametrize("network", ["fmen_s", "e_rfdn"])
def test_batch_takes_its_multiple(network: str):
    one, four = (srprof.analyze(network, (n, 3, 32, 32), granularity=1) for n in (1, 4))
    assert four.memory.net == one.memory.net
    for kind in ("planned", "eager"):
        activations = [getattr(f.memory, kind).nbytes - f.memory.net for f in (one, four)]
        assert activations[1] == 4 * activations[0]
    assert four.complexity.macs == 4 * one.complexity.macs


# -- data-dependent models ----------------------------------------------------------------------

DEPENDENT = {
    "item": "return x * x.mean().item()",
    "float": "return x * float(x.max())",
    "if": "return x if x.sum() > 0 else -x",
    "nonzero": "return x.nonzero()",
    "mask": "return x[x > 0.5]",
    "unique": "return torch.unique(x)",
    "tolist": "return x * x.mean().tolist()",
    "numpy": "return x + torch.from_numpy(x.cpu().numpy())",
    "where": "return torch.where(x > 0.5)[0]",
}


@pytest.mark.parametrize("body", DEPENDENT.values(), ids=list(DEPENDENT))
def test_data_dependent_model_falls_back_to_the_cpu(
    folder: Path, analyze: Command, capsys: pytest.CaptureFixture[str], body: str
):
    source = f"import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        {body}\n"  # noqa: E501
    write(folder, {"net.py": source})
    found = analyze("net.py:Net")
    assert found["traced_on"] == "cpu"
    assert found["fallback"]
    assert "\n" not in found["fallback"]
    assert main(["analyze", "net.py:Net", "--input", "8x8"]) == 0
    assert "CPU" in capsys.readouterr().out
    assert main(["analyze", "net.py:Net", "--input", "8x8", "--trace-on", "meta"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("srprof: ")
    assert captured.err.count("\n") == 1
    assert "--trace-on cpu" in captured.err


def test_model_that_runs_on_meta_has_no_fallback(analyze: Command):
    found = analyze("fmen_s")
    assert (found["traced_on"], found["fallback"]) == ("meta", None)
    found = analyze("fmen_s", "--trace-on", "cpu")
    assert (found["traced_on"], found["fallback"]) == ("cpu", None)


def test_error_of_the_model_is_no_reason_to_fall_back():
    class Says(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            runs.append(x.device.type)
            raise ValueError("the metadata of this image is wrong")

    runs: list[str] = []
    with pytest.raises(srprof.ModelError, match="the metadata of this image"):
        srprof.analyze(Says(), IMAGE)
    assert set(runs) == {"meta"}


# -- the caller's model stays as it is ----------------------------------------------------------


class Trained(nn.Module):
    """With all that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.deep = nn.Sequential(nn.InstanceNorm2d(4, track_running_stats=True), nn.Dropout2d())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.deep(self.drop(self.norm(self.body(x))))
        return found


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
@pytest.mark.parametrize("training", [True, False])
def test_training_mode_stays_and_evaluation_is_analysed(trace_on: str, training: bool):
    model = Trained().train(training)
    model.deep.train(not training)
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert state_of(model) == before
    assert not {"native_dropout", "bernoulli", "bernoulli_"} & set(ops(found))
    assert any("batch_norm" in op for op in ops(found))
    assert ops(found) == ops(srprof.analyze(Trained().eval(), IMAGE, trace_on=trace_on))


def test_model_that_refuses_eval():
    class Refuses(Net):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)  # and forgets to return itself

    model = Refuses()
    assert ops(srprof.analyze(model, IMAGE)) == ["convolution", "relu"]
    assert model.training


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_hooks_survive(trace_on: str):
    seen: Counter[str] = Counter()
    model = nn.Sequential(Net(), nn.Sigmoid())
    handles = [
        model[0].register_forward_hook(lambda *_: seen.update(["after"])),
        model[0].body.register_forward_pre_hook(lambda *_: seen.update(["before"])),
        model.register_full_backward_hook(lambda *_: seen.update(["backward"])),
        model.register_state_dict_post_hook(lambda *_: seen.update(["state"])),
        torch.nn.modules.module.register_module_forward_hook(lambda *_: seen.update(["global"])),
    ]
    try:
        before = state_of(model)
        global_hooks = dict(torch.nn.modules.module._global_forward_hooks)
        srprof.analyze(model, IMAGE, trace_on=trace_on)
        assert dict(torch.nn.modules.module._global_forward_hooks) == global_hooks
        assert state_of(model) == before
        seen.clear()
        model(torch.rand(IMAGE)).sum().backward()
        model.state_dict()
        assert seen == {"after": 1, "before": 1, "backward": 1, "state": 1, "global": 4}
    finally:
        for handle in handles:
            handle.remove()
    seen.clear()
    model(torch.rand(IMAGE))
    assert not seen


@pytest.mark.parametrize("trace_on", ["meta", "cpu"])
def test_model_that_changes_itself(trace_on: str):
    class Caches(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))
            self.history: list[torch.Tensor] = []
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            self.count += 1
            self.cache = self.body(x)
            self.history.append(self.cache)
            self.register_buffer("late", x)
            self.extra = nn.Conv2d(4, 4, 1)
            self.body.bias.fill_(1)
            return self.cache * 2

    model = Caches()
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert "convolution" in ops(found)
    assert state_of(model) == before
    assert (model.calls, model.history) == (0, [])


def test_gradients_stay():
    model = Net()
    model(torch.rand(IMAGE)).sum().backward()
    before = [(id(p.grad), p.grad.tolist()) for p in model.parameters() if p.grad is not None]
    srprof.analyze(model, IMAGE)
    srprof.analyze(model, IMAGE, dtype="float16", channels_last=True, trace_on="cpu")
    after = [(id(p.grad), p.grad.tolist()) for p in model.parameters() if p.grad is not None]
    assert len(before) == 2
    assert after == before
    assert model.body.weight.dtype == torch.float32


class RaisesLate(Trained):
    """Changes itself, then raises deep inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache = self.norm(self.body(x))
        self.train()
        self.register_forward_hook(lambda *_: None)
        raise ValueError("enough")


@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_model_that_raises_leaves_nothing_behind(trace_on: str):
    inner = RaisesLate()
    model = nn.Sequential(nn.Identity(), inner)
    before = state_of(model)
    torch.manual_seed(7)
    random_state = torch.get_rng_state()
    with pytest.raises(srprof.ModelError, match="enough") as raised:
        srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert raised.value.module == "1"
    assert raised.value.file == __file__
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert not torch.nn.modules.module._global_forward_hooks_always_called
    assert state_of(model) == before
    assert not hasattr(inner, "cache")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert ops(srprof.analyze(Net(), IMAGE)) == ["convolution", "relu"], "and the next one works"


def test_random_state_stays():
    model = Net()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    srprof.analyze(model, IMAGE, trace_on="cpu")
    srprof.analyze("fmen_s", IMAGE)
    assert torch.equal(torch.get_rng_state(), before)


def test_model_that_cannot_be_copied_says_so():
    class Locked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    with pytest.raises(srprof.InputError, match=r"cannot be copied.*file\.py:Factory"):
        srprof.analyze(Locked(), IMAGE)


# -- wrapped and transformed models -------------------------------------------------------------


class Block(nn.Module):
    """Enough for a graph: a branch, a split and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.split(self.first(x), [4, 4], dim=1)
        found: torch.Tensor = self.last(torch.cat([torch.relu(a), b], dim=1)) + x
        return found


BLOCK_OPS = ["convolution", "split_with_sizes", "relu", "cat", "convolution", "add"]


def test_graph_module():
    model = torch.fx.symbolic_trace(Block())
    before = state_of(model)
    found = srprof.analyze(model, IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.complexity.parameters == sum(p.numel() for p in model.parameters())
    assert state_of(model) == before


@pytest.mark.parametrize("inputs", [(), (IMAGE,), ("1x3x8x8",)])
def test_exported_program(inputs: tuple[Any, ...]):
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),))
    found = srprof.analyze(program, *inputs)
    assert ops(found) == BLOCK_OPS
    assert found.trace.inputs[0].info.shape == IMAGE
    assert found.complexity.parameters == 3 * 8 * 9 + 8 + 8 * 3 + 3


def test_exported_program_with_any_size():
    size = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),), dynamic_shapes={"x": size})
    found = srprof.analyze(program, (1, 3, 12, 20))
    assert found.trace.nodes[-1].shape == (1, 3, 12, 20)


def test_exported_program_at_a_size_that_it_was_not_exported_for():
    program = torch.export.export(Block().eval(), (torch.rand(IMAGE),))
    with pytest.raises(srprof.ModelError) as raised:
        srprof.analyze(program, (1, 3, 12, 20))
    assert "\n" not in str(raised.value)


def test_exported_program_with_keyword_inputs():
    class Keyword(nn.Module):
        def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
            return x * mask

    program = torch.export.export(Keyword(), (torch.rand(IMAGE),), {"mask": torch.rand(1, 1, 8, 8)})
    assert ops(srprof.analyze(program)) == ["mul"]


def test_exported_program_of_a_factory(folder: Path, analyze: Command):
    source = f"""\
import torch
{BODY}

def program():
    return torch.export.export(Body(4).eval(), (torch.rand(1, 3, 8, 8),))
"""
    write(folder, {"net.py": source})
    assert parameters(analyze("net.py:program")) == PARAMETERS[4]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_torchscript(how: str, trace_on: str):
    model = Block().eval()
    if how == "trace":
        scripted = torch.jit.trace(model, torch.rand(IMAGE))
    else:
        scripted = torch.jit.script(model)
    if how == "freeze":
        scripted = torch.jit.freeze(scripted)
    found = srprof.analyze(scripted, IMAGE, trace_on=trace_on)
    kinds = [op.removeprefix("_") for op in ops(found)]
    assert [op for op in kinds if op in BLOCK_OPS] == BLOCK_OPS
    assert found.complexity.macs == srprof.analyze(model, IMAGE).complexity.macs
    with torch.no_grad():
        assert scripted(torch.rand(IMAGE)).device.type == "cpu"


def test_inference_mode():
    class Decorated(Block):
        @torch.inference_mode()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    assert ops(srprof.analyze(Decorated(), IMAGE)) == BLOCK_OPS
    assert ops(srprof.analyze(Decorated(), IMAGE, trace_on="cpu")) == BLOCK_OPS


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_caller_in_a_grad_mode(context: Callable[[], Any]):
    expected = srprof.analyze(Block(), IMAGE)
    model = Block()
    with context():
        found = srprof.analyze(model, IMAGE)
        again = srprof.analyze("fmen_s", IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.memory.eager == expected.memory.eager
    assert again.complexity.convolutions == 34


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_caller_with_a_default_device(device: str):
    expected = srprof.analyze("fmen_s", IMAGE)
    with torch.device(device):
        found = srprof.analyze("fmen_s", IMAGE)
        real = srprof.analyze("fmen_s", IMAGE, trace_on="cpu")
    assert found.memory.eager == expected.memory.eager
    assert ops(real) == ops(expected)


def test_caller_with_a_default_dtype():
    expected = srprof.analyze("fmen_s", IMAGE)
    torch.set_default_dtype(torch.float64)
    try:
        found = srprof.analyze("fmen_s", IMAGE)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.memory.eager == expected.memory.eager


def test_model_on_the_meta_device():
    with torch.device("meta"):
        model = Block()
    assert ops(srprof.analyze(model, IMAGE)) == BLOCK_OPS
    assert model.first.weight.device.type == "meta"


def test_compiled_model_is_analysed_as_its_original():
    assert ops(srprof.analyze(torch.compile(Block()), IMAGE)) == BLOCK_OPS


def test_profiler_marks_are_no_nodes():
    class Marked(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.profiler.record_function("the body"):
                return super().forward(x)

    assert ops(srprof.analyze(Marked(), IMAGE)) == ["convolution", "relu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run on the GPU")
def test_data_parallel_model():
    found = srprof.analyze(nn.DataParallel(Block()), IMAGE)
    assert ops(found) == BLOCK_OPS
    assert found.trace.nodes[0].module == "module.first"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("device_type", ["x.device.type", "'cpu'", "'cuda'"])
def test_autocast_in_forward(device_type: str):
    scope: dict[str, Any] = {"Net": Net, "torch": torch}
    source = (
        "class Autocast(Net):\n    def forward(self, x):\n"
        f"        with torch.autocast({device_type}, dtype=torch.bfloat16):\n"
        "            return self.body(x)\n"
    )
    exec(source, scope)
    assert "convolution" in ops(srprof.analyze(scope["Autocast"](), IMAGE))


def test_checkpointed_forward():
    class Checkpointed(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.utils.checkpoint.checkpoint(
                super().forward, x, use_reentrant=False
            )
            return found

    assert ops(srprof.analyze(Checkpointed(), IMAGE)) == ["convolution", "relu"]


def test_lazy_modules_stay_lazy():
    """Whether it is analysed or refused."""
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU())
    try:
        assert ops(srprof.analyze(model, IMAGE)) == ["convolution", "relu"]
    except srprof.InputError as refusal:
        assert re.search("lazy|uninitiali[sz]ed", str(refusal), re.IGNORECASE)
    assert isinstance(model[0], nn.LazyConv2d)
    assert model[0].has_uninitialized_params()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("trace_on", ["auto", "cpu"])
def test_normalised_weights(norm: Callable[[nn.Module], Any], used: bool, trace_on: str):
    model = nn.Sequential(norm(nn.Conv2d(3, 4, 3, padding=1)), nn.ReLU())
    if used:
        model(torch.rand(IMAGE)).sum().backward()
    before = state_of(model)
    found = srprof.analyze(model, IMAGE, trace_on=trace_on)
    assert [op for op in ops(found) if op in ("convolution", "relu")] == ["convolution", "relu"]
    assert found.complexity.parameters == sum(p.numel() for p in model.parameters())
    assert state_of(model) == before
    assert model(torch.rand(IMAGE)).shape == (1, 4, 8, 8)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", list(NORMS))
def test_normalised_weights_of_a_file(folder: Path, analyze: Command, norm: str):
    source = (
        "import importlib, sys\nfrom torch import nn\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.normalised import NORMS\n"
        f"def Net():\n    return NORMS[{norm!r}](nn.Conv2d(3, 4, 3))\n"
    )
    write(folder, {"net.py": source})
    assert "convolution" in [node["op"] for node in analyze("net.py:Net")["nodes"]]
