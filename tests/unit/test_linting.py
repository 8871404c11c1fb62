"""The parts of `srprof lint` that run nothing: syntax, imports, checks, the score's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from srprof.challenge.years import YEARS, score
from srprof.errors import InputError
from srprof.linting import calls, checks, worth
from srprof.linting.checks import Code, Trial
from srprof.linting.entry import read_entry
from srprof.linting.imports import needs, operators
from srprof.linting.record import Check, Finding, Lint
from srprof.linting.refusing import Refusal
from srprof.linting.source import Source, read_source
from srprof.memory.construction import PassesAtPeak
from srprof.records import Pass

YEAR = YEARS["ntire2026"]
HEAD = "import torch\nfrom torch import nn\n"
NET = """
class Net(nn.Module):
    def __init__(self, warm=False):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3)
        {line}
    def forward(self, x):
        return self.body(x)
"""


@pytest.fixture
def source(tmp_path):
    """Writes a file's text and reads it."""

    def write(text: str, name: str = "net.py") -> Source:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return read_source(str(path))

    return write


def net(line: str) -> str:
    return HEAD + NET.format(line=line)


def found(source: Source, what: str) -> list[int]:
    """Lines of the constructor of `Net`."""
    return [line.number for line in getattr(calls, what)(source, source.constructor(["Net"]))]


# -- what a constructor does ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "self(torch.randn(1, 3, 8, 8))",
        "self.cuda()(torch.randn(1, 3, 8, 8).cuda())",
        "self.forward(torch.zeros(1, 3, 8, 8))",
        "self.eval().to('cuda')(torch.ones(1, 3, 8, 8))",
        "self.body(torch.rand(1, 3, 8, 8).cuda())",
        "x = torch.rand(1, 3, 8, 8); self.body(x)",
        "self.layers[0].conv(torch.empty(1, 3, 8, 8))",
        "torch.cuda.is_available() and self(torch.rand(1, 3, 8, 8))",
    ],
)
def test_a_pass_in_the_constructor_is_seen(source, line):
    assert found(source(net(line)), "passes") == [8]


@pytest.mark.parametrize(
    "line",
    [
        "self.register_buffer('mean', torch.zeros(1, 3, 1, 1))",
        "self.scale = nn.Parameter(torch.ones(1))",
        "self.grid = self.make(torch.zeros(8, 8))\n    def make(self, x):\n        return x + 1",
        "nn.init.trunc_normal_(self.body.weight)",
        "self.load_state_dict({'a': torch.zeros(1)}, strict=False)",
        "self.apply(lambda m: None)",
        "self.norm = (nn.Identity if warm else nn.ReLU)()",
    ],
)
def test_what_is_no_pass_is_not(source, line):
    assert found(source(net(line)), "passes") == []


def test_what_the_constructor_calls_is_followed_and_the_rest_is_not(source):
    text = net("self.warm_up()") + (
        "    def warm_up(self):\n"
        "        self(torch.rand(1, 3, 8, 8))\n"
        "    def other(self):\n"
        "        self(torch.rand(1, 3, 8, 8))\n"
        "class Other(nn.Module):\n"
        "    def __init__(self):\n"
        "        self(torch.rand(1, 3, 8, 8))\n"
        "if __name__ == '__main__':\n"
        "    Net().cuda()(torch.rand(1, 3, 8, 8))\n"
    )
    assert found(source(text), "passes") == [12]
    assert found(source(text), "gpu_lines") == []


def test_parts_and_bases_are_followed(source):
    text = (
        HEAD
        + "class Base(nn.Module):\n    def __init__(self):\n        self(torch.rand(1))\n"
        + "class Block(nn.Module):\n    def __init__(self):\n        self.cuda()\n"
        + "class Net(Base):\n    def __init__(self):\n        self.block = Block()\n"
    )
    assert found(source(text), "passes") == [5]
    assert found(source(text), "gpu_lines") == [8]


def test_a_function_that_builds_a_network_is_followed(source):
    text = (
        HEAD + "def Net():\n    net = nn.ReLU()\n    net(torch.rand(1, 3, 8, 8))\n    return net\n"
    )
    assert found(source(text), "passes") == [5]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("self.cuda()", True),
        ("self.to(torch.device('cuda'))", True),
        ("self.to('cuda:0')", True),
        ("self.mean = torch.zeros(1, device='cuda')", True),
        ("torch.cuda.synchronize()", True),
        ("self.fast = torch.cuda.is_available()", False),
        ("self.fast = self.body.weight.device.type == 'cuda'", False),
        ("'''on cuda'''", False),
        ("self.to('cpu')", False),
    ],
)
def test_a_gpu_that_is_named(source, line, seen):
    assert bool(found(source(net(line)), "gpu_lines")) == seen


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("torch.hub.load('a/b', 'c')", True),
        ("torch.hub.load_state_dict_from_url('http://a/b.pth')", True),
        ("urllib.request.urlretrieve('http://a/b.pth')", True),
        ("AutoModel.from_pretrained('a/b')", True),
        ("torch.load('b.pth')", False),
        ("self.url = 'http://a/b.pth'", False),
    ],
)
def test_what_fetches(source, line, seen):
    assert bool(found(source("import urllib.request\n" + net(line)), "fetches")) == seen


def test_what_is_no_python_is_said_with_its_line(source):
    with pytest.raises(InputError, match=r"net.py:1 is no Python"):
        source("def")


# -- imports --------------------------------------------------------------------------------------


def needed(source: Source, folder: Path) -> dict[str, str]:
    return {n.module.name: n.kind for n in needs(source, [str(folder)])}


def test_what_a_file_imports_is_told_apart(source, tmp_path):
    source("x = 1", "utils/tools.py")
    source("from setuptools import setup\nsetup(ext_modules=[CUDAExtension(name='fast_op')])",
           "op/setup.py")  # fmt: skip
    text = """
    import os
    import torch.nn as nn
    import numpy
    import nowhere.at_all
    import triton
    import utils.tools
    from .blocks import Block
    import importlib
    module = importlib.import_module(f'utils.tools')
    def late():
        import fast_op
    if __name__ == '__main__':
        import also_nowhere
    """
    kinds = needed(source(text), tmp_path)
    assert kinds == {
        "os": "python", "torch.nn": "python", "importlib": "python", "numpy": "package",
        "nowhere.at_all": "missing", "triton": "kernel", "utils.tools": "repository",
        ".blocks": "repository", "fast_op": "kernel",
    }  # fmt: skip


def code(source: Source, roots=("Net",)) -> Code:
    return Code(source, source.constructor([r for r in roots if r in source.definitions]))


def test_one_file(source, tmp_path):
    source("x = 1", "blocks.py")
    other = source("import torch\nfrom blocks import x\n")
    made = checks.one_file(code(other), needs(other, [str(tmp_path)]))
    assert (made.status, made.findings[0].line) == ("failed", 2)
    assert made.findings[0].code == "from blocks import x"
    alone = source("import torch\nimport math\n")
    assert checks.one_file(code(alone), needs(alone, [str(tmp_path)])).status == "passed"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import nowhere\n", "failed"),
        ("try:\n    import nowhere\nexcept ImportError:\n    nowhere = None\n", "passed"),
        ("try:\n    import nowhere\nexcept ImportError:\n    raise\n", "warned"),
        ("if FLAG:\n    import nowhere\n", "warned"),
        ("import numpy\n", "passed"),
        ("import math\n", "passed"),
        ("try:\n    import nowhere\nexcept ImportError:\n    nowhere = None\nimport nowhere\n",
         "failed"),
    ],
)  # fmt: skip
def test_packages(source, tmp_path, text, status):
    read = source(text)
    made = checks.packages(code(read), needs(read, [str(tmp_path)]))
    assert made.status == status
    if "numpy" in text:
        assert "needs numpy 2" in made.findings[0].what


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import triton\n", "failed"),
        ("try:\n    import triton\nexcept ImportError:\n    triton = None\n", "passed"),
        ("if find_spec('triton'):\n    import triton\nelse:\n    triton = None\n", "passed"),
        ("def f(x, fast):\n    if fast:\n        import triton\n    else:\n        x += 1\n",
         "warned"),
        ("def f(x, fast):\n    if fast:\n        import triton\n        return x\n    return 1\n",
         "warned"),
        ("def f(x, fast):\n    if fast:\n        import triton\n", "failed"),
        ("from torch.utils.cpp_extension import load_inline\nop = load_inline('a', '')\n",
         "failed"),
        ("import torch\ntorch.ops.load_library('a.so')\n", "failed"),
        ("import torch\ny = lambda x: torch.ops.mine.scan(x)\n", "failed"),
        ("import torch\ny = lambda x: torch.ops.aten.relu(x)\n", "passed"),
        ("import torch\n@torch.library.custom_op('mine::scan', mutates_args=())\ndef f(x):\n"
         "    return x\ny = lambda x: torch.ops.mine.scan(x)\n", "passed"),
        ("import torch\n", "passed"),
        ("import nowhere\n", "not applicable"),
    ],
)  # fmt: skip
def test_operators(source, tmp_path, text, status):
    read = source(text)
    found = needs(read, [str(tmp_path)])
    missing = [n.module.top for n in found if n.kind == "missing"]
    made = checks.operators(code(read), operators(read, found, {"aten"}), missing)
    assert made.status == status


# -- checks of a trial ----------------------------------------------------------------------------


def test_a_gpu_that_the_constructor_needs_is_its_own(source):
    read = source(net("self.cuda()"))
    refused = Trial(refused=(Refusal("gpu", "no GPU", read.file, 8),))
    made = checks.without_gpu(code(read), refused)
    assert (made.status, len(made.findings)) == ("failed", 1)  # the source's line is that one
    other = checks.without_gpu(code(read), Trial(refused=(Refusal("gpu", "no GPU", "a.py", 1),)))
    assert len(other.findings) == 2


def test_a_gpu_that_the_script_needs_is_the_scripts(source):
    script = source("x = 1\n", "test_demo.py")
    read = source(net("pass"))
    both = replace(code(read), script=script, script_part=script.constructor([])[0])
    trial = Trial(refused=(Refusal("gpu", "no GPU", script.file, 1),))
    assert checks.without_gpu(both, trial).status == "passed"


@pytest.mark.parametrize(
    ("line", "error", "status"),
    [
        ("self.cuda()", "", "warned"),  # it was built, and did not come to that line
        ("self.cuda()", "it cannot be built", "failed"),
        ("if torch.cuda.is_available(): self.cuda()", "it cannot be built", "warned"),
        ("pass", "", "passed"),
        ("pass", "it cannot be built", "passed"),
    ],
)
def test_a_gpu_in_the_source_alone(source, line, error, status):
    assert checks.without_gpu(code(source(net(line))), Trial(error)).status == status


@pytest.mark.parametrize(
    ("line", "trial", "status"),
    [
        ("pass", Trial(refused=(Refusal("network", "example.org", "net.py", 8),)), "warned"),
        ("pass", Trial("no", refused=(Refusal("network", "a.org", "net.py", 8),)), "failed"),
        ("torch.hub.load('a/b', 'c')", Trial("no package"), "failed"),
        ("torch.hub.load('a/b', 'c')", Trial(), "warned"),
        ("pass", Trial(), "passed"),
        ("pass", Trial("no package"), "passed"),
    ],
)
def test_the_network(source, line, trial, status):
    assert checks.without_network(code(source(net(line))), trial).status == status


def test_passes_are_counted_by_line_with_what_they_hold(source):
    read = source(net("self(torch.rand(1))"))
    passes = tuple(Pass("Net", read.file, 8, True, n, n + 1) for n in range(3))
    held = PassesAtPeak(
        kind="Net", file=read.file, line=8, calls=3, alive=1, autograd=True, bytes=2**20
    )
    made = checks.constructor(code(read), Trial(followed=True, passes=passes, held=(held,)), YEAR)
    (finding,) = made.findings
    assert made.status == "failed"
    assert "calls Net 3 times" in finding.what
    assert "1.00 MiB" in finding.what
    assert finding.code == "self(torch.rand(1))"


@pytest.mark.parametrize(
    ("line", "trial", "status"),
    [
        ("self(torch.rand(1))", Trial("no package"), "failed"),
        ("if warm: self(torch.rand(1))", Trial(followed=True), "warned"),
        ("pass", Trial(followed=True), "passed"),
    ],
)
def test_passes_in_the_source_alone(source, line, trial, status):
    assert checks.constructor(code(source(net(line))), trial, YEAR).status == status


def test_a_package_that_is_missing_is_named():
    made = checks.builds(None, Trial("a long line", "net.py", 3, missing="mamba_ssm"))
    (finding,) = made.findings
    assert finding.what.startswith("cannot be built without mamba_ssm, which is not installed")
    assert checks.builds(None, Trial()).status == "passed"
    assert "it broke" in checks.builds(None, Trial("it broke")).findings[0].what


def test_all_packages_that_are_missing_are_named(source, tmp_path):
    read = source(
        "import nowhere.a\nimport elsewhere\ntry:\n    import c\nexcept ImportError: ...\n"
    )
    trial = Trial("a long line", read.file, 1, missing="nowhere.a")
    (finding,) = checks.builds(code(read), trial, needs(read, [str(tmp_path)])).findings
    assert "without nowhere, elsewhere, which are not installed" in finding.what
    assert finding.code == "import nowhere.a"


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ({(339, 510): (1, 3, 1356, 2040), (5, 7): (1, 3, 20, 28)}, "passed"),
        ({(339, 510): (1, 3, 1352, 2040), (5, 7): (1, 3, 20, 28)}, "failed"),
        ({(339, 510): (1, 3, 1356, 2040), (5, 7): "no"}, "warned"),
        ({(339, 510): "no", (5, 7): "no"}, "failed"),
        ({(339, 510): ()}, "failed"),
        ({}, "not applicable"),
    ],
)
def test_sizes(results, status):
    assert checks.size(results, 4).status == status


@pytest.mark.parametrize(
    ("images", "psnr", "status"),
    [
        ("valid", 26.90, "passed"),
        ("valid", 26.896, "passed"),  # 26.90 as published
        ("valid", 26.89, "failed"),
        ("test", 26.95, "failed"),
        ("", 30.0, "warned"),
    ],
)
def test_the_floor(images, psnr, status):
    assert checks.quality(YEAR, [("record.json", images, psnr)]).status == status
    assert checks.quality(YEAR, []).status == "not applicable"


def test_the_worst_finding_is_the_checks():
    def made(*statuses):
        return Check("a", "a", tuple(Finding(status, "") for status in statuses))

    assert made("passed", "warned").status == "warned"
    assert made("passed", "failed", "warned").status == "failed"
    assert made("not applicable", "passed").status == "passed"
    lint = Lint(
        "n", "n", "", "", None, YEAR.name, 4, (made("failed"), made("passed"), made("passed"))
    )
    assert lint.failed
    assert dict(lint.counts) == {"failed": 1, "passed": 2}


# -- the score ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ntire2024", "ntire2025", "ntire2026"])
def test_a_step_is_worth_what_the_score_falls_by(name):
    """Against the score itself, a thousandth of a step away."""
    year = YEARS[name]
    values = {"runtime_ms": 5.0, "flops": 8e9, "params": 120e3}
    terms = worth.terms(year, values)
    assert sum(term.score for term in terms) == pytest.approx(score(year, **values))
    for term in terms:
        step = term.unit / 1000
        up, down = ({**values, term.metric: term.value + sign * step} for sign in (1, -1))
        slope = (score(year, **up) - score(year, **down)) / 2 * 1000
        assert term.worth == pytest.approx(slope, rel=1e-5)


# -- what ENTRY says ------------------------------------------------------------------------------

SCRIPT = """
def select_model(args, device):
    model_id = args.model_id
    if model_id == 0:
        from models.team00_a import Net
        name, data_range = f"{model_id:02}_a", 1.0
        model = Net(3)
    elif model_id == 1:
        import importlib
        module = importlib.import_module(f'models.team01_b')
        name, data_range = "b", 255.0
        model = getattr(module, f'Other')()
    elif 2 == model_id:
        from models.team00_a import Net
        code = 7
        if code != 0:
            pass
        model = Net(4)
    return model, name, data_range, None
"""


@pytest.fixture
def repository(source, tmp_path):
    source(SCRIPT, "test_demo.py")
    source(HEAD + "class Part(nn.Module): ...\nclass Net(nn.Module): ...\n", "models/team00_a.py")
    source(HEAD + "class Other(nn.Module): ...\n", "models/team01_b.py")
    source("x = 1\n", "models/team09_c.py")
    return tmp_path


def entry(folder: Path, file: str, team: int | None = None, script: str = "test_demo.py"):
    return read_entry(str(folder / "models" / file), None, str(folder / script), team)


def test_a_team_is_found_by_its_file(repository):
    read = entry(repository, "team01_b.py")
    assert read.program is not None
    assert (read.program.team, read.roots, read.program.data_range) == (1, ("Other",), 255.0)
    first = entry(repository, "team00_a.py", 0)
    assert (first.name, first.roots) == ("Net", ("Net",))


@pytest.mark.parametrize(
    ("file", "team", "words"),
    [
        ("team00_a.py", None, "builds team00_a for teams 0, 2: say which with --team"),
        ("team00_a.py", 1, "builds team 1 of another file than team00_a.py"),
        ("team00_a.py", 7, "builds no team 7; it has 0, 1, 2"),
        ("team09_c.py", None, "builds team09_c for no team"),
    ],
)
def test_a_team_that_cannot_be_told_is_asked_for(repository, file, team, words):
    with pytest.raises(InputError, match=words):
        entry(repository, file, team)


def test_what_does_not_go_together_is_refused(repository):
    file, script = str(repository / "models/team00_a.py"), str(repository / "test_demo.py")
    with pytest.raises(InputError, match="is a file: add the network"):
        read_entry(file)
    with pytest.raises(InputError, match="give --script"):
        read_entry(f"{file}:Net", team=1)
    with pytest.raises(InputError, match="give the entry's file alone"):
        read_entry(f"{file}:Net", script=script)
    with pytest.raises(InputError, match="leave --weights out"):
        read_entry(file, weights=file, script=script)
    with pytest.raises(InputError, match="has no function select_model"):
        entry(repository, "team00_a.py", script="models/team09_c.py")


def test_a_spec_is_read_with_its_file(repository, monkeypatch):
    monkeypatch.chdir(repository)
    read = read_entry("models/team00_a.py:Net")
    assert read.source is not None
    assert (read.roots, read.program) == (("Net",), None)
    assert str(repository) in [str(Path(folder)) for folder in read.folders]
    zoo = read_entry("fmen_s").source
    assert zoo is not None
    assert Path(zoo.file).name == "fmen_s_net.py"
