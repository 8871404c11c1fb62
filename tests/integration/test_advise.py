"""Advice carried out in the source gives the peak that was predicted, to the byte."""

from __future__ import annotations

import ast
import cProfile
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

import srprof
from srprof import registry
from srprof.call import Call, call_of
from srprof.cli import main
from srprof.tracing.recorder import tensors_in
from tests.random_fusions import fused_networks
from tests.random_networks import RandomNetwork, random_networks

MODELS = Path(__file__).parents[2] / "models"

NET = """\
import torch
import torch.nn.functional as F
from torch import nn


class Mix(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.wide = nn.Conv2d(n, 4 * n, 3, padding=1)
        self.narrow = nn.Conv2d(4 * n, n, 3, padding=1)
        self.side = nn.Conv2d(n, 3 * n, 3, padding=1)
        self.last = nn.Conv2d(3 * n, n, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        wide = self.wide(x)
        side = self.side(x)
        narrow = self.narrow(wide)
        side = self.act(side)
        return self.last(side) * narrow


class Net(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.head = nn.Conv2d(3, n, 3, padding=1)
        self.a = Mix(n)
        self.b = Mix(n)
        self.tail = nn.Conv2d(n, 3, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        a = self.a(x)
        b = self.b(a)
        return self.tail(b + x)
"""

FUSION = """\
import torch
import torch.nn.functional as F
from torch import nn


class Fusion(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one = nn.Conv2d(n, n, 3, padding=1)
        self.two = nn.Conv2d(n, n, 3, padding=1)
        self.three = nn.Conv2d(n, n, 3, padding=1)
        self.fuse = nn.Conv2d(3 * n, n, 1)

    def forward(self, x):
        a = self.one(x)
        b = self.two(a)
        c = self.three(b)
        y = self.fuse(torch.cat([a, b, c], dim=1))
        return torch.relu(y)


class Net(nn.Module):
    def __init__(self, n=8):
        super().__init__()
        self.head = nn.Conv2d(3, n, 3, padding=1)
        self.body = nn.Sequential(Fusion(n), Fusion(n))

    def forward(self, x):
        return self.body(self.head(x))
"""


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch):
    """A file that is edited at once, and keeps its size, is not run from its cache."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def peak(spec: str, shape: tuple[int, ...]) -> int:
    return srprof.analyze(spec, shape, granularity=1).memory.eager.nbytes


def outputs(spec: str, shape: tuple[int, ...]) -> torch.Tensor:
    """What the network makes of an image, with weights that depend on their names only."""
    from srprof.workload import resolve

    workload = resolve(Call(spec, (shape,)))
    with workload.environment(), torch.no_grad():
        model = workload.build("cpu").eval()
        generator = torch.Generator().manual_seed(0)
        for _, tensor in sorted(model.named_parameters()):
            tensor.copy_((torch.rand(tensor.shape, generator=generator) - 0.4) / 4)
        found = model(torch.rand(shape, generator=generator))
    assert found.isfinite().all() and found.std() > 0
    return found


def assert_equivalent(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Rounding only: 1e-5 of the largest value, as for `srprof lean`."""
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_keeps_its_promise(advice: srprof.Advice, spec: str, shape: tuple[int, ...]) -> None:
    """Carried out, it gives the peak that it predicts, and the same outputs."""
    before = outputs(spec, shape)
    advice.apply()
    assert peak(spec, shape) == advice.peak_after < advice.peak
    assert_equivalent(outputs(spec, shape), before)


def zoo_copy(name: str, folder: Path) -> str:
    """The SPEC of a zoo network in a copy of the zoo."""
    shutil.copytree(MODELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "__init__.py").write_text("")
    module, _, factory = registry.find(name).factory.rpartition(".")[2].partition(":")
    return f"{folder}/{module}.py:{factory}"


def test_a_small_network_edited_as_advised_has_the_predicted_peak(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, level="exact", granularity=1)
    assert advice.peak == peak(spec, shape)
    assert {s.candidate.kind for s in advice.steps} == {"del", "in-place", "order"}
    before = outputs(spec, shape)

    for count, step in enumerate(advice.steps, 1):  # each line's peak, not only the last one's
        (tmp_path / "net.py").write_text(NET)
        replace(advice, steps=advice.steps[:count]).apply()
        assert peak(spec, shape) == step.peak_after, step.candidate.rewrite
    assert torch.equal(outputs(spec, shape), before)


def test_a_split_fusion_has_the_predicted_peak(tmp_path):
    (tmp_path / "net.py").write_text(FUSION)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, granularity=1)
    assert [s.candidate.kind for s in advice.steps] == ["split"]
    split = advice.steps[0].candidate
    lines = FUSION.splitlines()
    assert "torch.cat" in lines[split.line - 1] and "self.fuse" in lines[split.other_line - 1]
    assert not split.exact
    assert_keeps_its_promise(advice, spec, shape)


def test_a_sum_with_a_name_of_its_own_is_let_go(tmp_path):
    """The fusion's result has no name in the source; what follows is larger than the fusion."""
    source = FUSION
    for old, new in (
        ("torch.cat([a, b, c], dim=1))", "torch.cat([a, b, c], dim=1)) + self.bias"),
        ("        self.fuse", "        self.bias = nn.Parameter(torch.ones(1))\n        self.fuse"),
        ("return torch.relu(y)", "return torch.relu(y).repeat(1, 4, 1, 1).mean(1, True) + y"),
    ):
        source = source.replace(old, new, 1)
    (tmp_path / "net.py").write_text(source)
    spec, shape = f"{tmp_path}/net.py:Net", (1, 3, 40, 40)
    advice = srprof.advise(spec, shape, granularity=1)
    assert [s.candidate.kind for s in advice.steps] == ["split"]
    assert_keeps_its_promise(advice, spec, shape)
    assert "del fuse_sum" in (tmp_path / "net.py").read_text()


@pytest.mark.parametrize("name", ["e_rfdn", "imdn", "latticenet", "rlfn", "carn", "memnet"])
def test_zoo_networks_edited_as_advised_have_the_predicted_peak(name, tmp_path):
    spec, shape = zoo_copy(name, tmp_path / "zoo_copy"), (1, registry.find(name).channels, 64, 64)
    advice = srprof.advise(spec, shape, level="exact", granularity=1)
    assert advice.steps and advice.peak == peak(name, shape)
    advice.apply()
    assert peak(spec, shape) == advice.peak_after < advice.peak
    if name == "latticenet":  # it has edits of every kind
        assert torch.equal(outputs(spec, shape), outputs(name, shape))


@pytest.mark.parametrize("name", ["e_rfdn", "imdn"])
def test_zoo_networks_with_split_fusions_have_the_predicted_peak(name, tmp_path):
    spec, shape = zoo_copy(name, tmp_path / "zoo_copy"), (1, 3, 64, 64)
    advice = srprof.advise(spec, shape, granularity=1)
    assert "split" in {step.candidate.kind for step in advice.steps}
    assert_keeps_its_promise(advice, spec, shape)


def test_e_rfdn_s_advice_halves_its_peak(capsys):
    assert main(["advise", "e_rfdn", "--input", "510x510", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["memory"] == "eager"
    assert round(found["peak"] / 2**20, 2) == 788.13
    assert round(found["peak_after"] / 2**20, 2) == 327.14
    peaks = [found["peak"], *(step["peak_after"] for step in found["advice"])]
    savings = [step["saving"] for step in found["advice"]]
    assert [a - b for a, b in pairwise(peaks)] == savings
    assert "split" in {step["kind"] for step in found["advice"]}
    assert all(Path(step["file"]).is_file() and step["line"] > 0 for step in found["advice"])


def test_a_budget_takes_the_fewest_edits_and_says_when_none_reach_it(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    spec = f"{tmp_path}/net.py:Net"
    everything = srprof.advise(spec, (1, 3, 40, 40))
    middle = everything.steps[0].peak_after
    some = srprof.advise(spec, (1, 3, 40, 40), budget=middle)
    assert len(some.steps) == 1 and some.within_budget
    assert not srprof.advise(spec, (1, 3, 40, 40), budget=everything.peak).steps
    assert main(["advise", spec, "--input", "40x40", "--budget", "1KiB"]) == 1
    assert "the budget of 0.00 MiB is not reached" in capsys.readouterr().out


@pytest.mark.parametrize("memory", ["planned", "allocated"])
def test_other_peaks_are_lowered_too(memory, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    advice = srprof.advise(f"{tmp_path}/net.py:Net", (1, 3, 40, 40), memory=memory)
    kinds = {s.candidate.kind for s in advice.steps}
    assert advice.peak_after < advice.peak
    assert ("del" in kinds) == (memory == "allocated")  # planned holds nothing dead


def test_text_and_markdown_name_each_line(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    spec = f"{tmp_path}/net.py:Net"
    for form in ("text", "markdown"):
        assert main(["advise", spec, "--input", "40x40", "--format", form]) == 0
        shown = capsys.readouterr().out
        assert "del wide after this line" in shown
        assert f"net.py:{NET[: NET.index('self.narrow(wide)')].count(chr(10)) + 1}" in shown


def test_a_model_without_source_gets_no_advice_and_no_error():
    model = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()))
    advice = srprof.advise(model, (1, 3, 32, 32))
    assert advice.steps == () and advice.peak_after == advice.peak


def test_a_network_that_cannot_be_exported_is_advised(tmp_path):
    """A loop on a tensor's value: traced on the CPU."""
    (tmp_path / "net.py").write_text(
        NET.replace(
            "        a = self.a(x)", "        a = self.a(x) if x.sum() > 1e9 else self.a(x)"
        )
    )
    advice = srprof.advise(f"{tmp_path}/net.py:Net", (1, 3, 40, 40))
    assert advice.trace.device == "cpu" and advice.steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "400"], "the unit is missing"),
        (["--budget", "lots"], "--budget"),
        (["--budget", "0MiB"], "--budget: budget '0MiB': give a size of at least one byte"),
        (["--memory", "reserved"], "--memory"),
        (["--granularity", "0"], "--granularity: '0'"),
        (["--level", "most"], "--level"),
        (["-o", "/no/such/folder/x"], "no folder"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys):
    assert main(["advise", "fmen_s", "--input", "64x64", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err


@pytest.mark.parametrize("name", ["e_rfdn", "latticenet", "carn"])
def test_the_record_after_all_edits_is_one_that_a_run_could_have_made(name, monkeypatch):
    from srprof.advising import run
    from srprof.advising.replay import settled
    from srprof.advising.search import Search
    from srprof.memory.model import memory_model

    searches = []

    def kept(base, levels):
        searches.append(Search(base, levels))
        return searches[-1]

    monkeypatch.setattr(run, "Search", kept)
    steps = srprof.advise(name, (1, 3, 48, 48), granularity=1).steps
    after = settled(searches[0].replay([step.candidate for step in steps]))

    assert [node.index for node in after.nodes] == list(range(len(after.nodes)))
    for index, storage in enumerate(after.storages):
        if storage.resident or storage.host or not storage.nbytes:
            continue
        assert all(storage.birth <= use < storage.death for use in storage.uses)
        readers = [n.index for n in after.nodes if any(i.storage == index for i in n.inputs)]
        assert set(readers) <= {storage.birth, *storage.uses}
        assert storage.birth < 0 or index in after.nodes[storage.birth].created
    model = memory_model(after, granularity=1)
    assert [p.eager - model.net for p in model.parts] == [node.live for node in after.nodes]


@settings(max_examples=25)
@given(random_networks())
def test_any_network_edited_as_advised_keeps_its_outputs_and_its_promise(network):
    """The peak is never above the prediction; below it where a list's items had other names too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(network.source)
        spec = f"{folder}/net.py:Net"
        advice = srprof.advise(spec, network.shape, level="exact", granularity=1)
        peaks = [advice.peak, *(step.peak_after for step in advice.steps)]
        assert advice.peak == peak(spec, network.shape) and peaks == sorted(peaks, reverse=True)
        before = results(spec, network)
        advice.apply()
        assert peak(spec, network.shape) <= advice.peak_after
        same = zip(before, results(spec, network), strict=True)
        assert all(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in same)


def results(spec: str, network: RandomNetwork) -> list[torch.Tensor]:
    from srprof.workload import resolve

    workload = resolve(Call(spec, (network.shape,)))
    with workload.environment(), torch.no_grad():
        torch.manual_seed(0)
        model = workload.build("cpu").eval()
        found = model(torch.rand(network.shape))
    return [tensor.clone() for tensor in tensors_in(found)]


@settings(max_examples=25)
@given(fused_networks())
def test_any_fusion_split_as_advised_keeps_its_outputs_and_its_promise(source):
    shape = (1, 4, 8, 8)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(source)
        spec = f"{folder}/net.py:Net"
        advice = srprof.advise(spec, shape, granularity=1)
        before = outputs(spec, shape)
        advice.apply()
        assert peak(spec, shape) == advice.peak_after
        assert_equivalent(outputs(spec, shape), before)
        assert source.count("#") == (Path(folder) / "net.py").read_text().count("#")


# -- carried out in files -----------------------------------------------------------------------

BLOCK = NET[: NET.index("class Net")]
MANY = "        many = torch.cat([x] * 6)\n        x = many[:1] * 2\n        a = "
USER = "import torch\nfrom torch import nn\nfrom {0} import Mix\n\n\n" + NET[
    NET.index("class Net") :
].replace("        a = ", MANY)
SHAPE = (1, 3, 40, 40)


@pytest.fixture
def two_files(tmp_path, monkeypatch):
    """A network in net.py with blocks in blocks.py, the folder being the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(USER.format("blocks"))
    (tmp_path / "blocks.py").write_text(BLOCK)
    return tmp_path


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_diff_prints_a_patch_of_all_files_and_writes_nothing(two_files, capsys):
    before = texts(two_files)
    assert main(["advise", "net.py:Net", "--input", "40x40", "--diff"]) == 0
    patch = capsys.readouterr().out
    assert "--- a/net.py\n+++ b/net.py\n" in patch and "--- a/blocks.py\n" in patch
    assert texts(two_files) == before
    srprof.advise("net.py:Net", SHAPE).apply()
    after = texts(two_files)
    for name, text in before.items():
        (two_files / name).write_bytes(text)
    subprocess.run(["git", "apply", "-"], input=patch, text=True, check=True)
    assert texts(two_files) == after != before


def test_apply_prints_the_advice_and_says_what_was_written(two_files, capsys):
    predicted = srprof.advise("net.py:Net", SHAPE, granularity=1).peak_after
    assert main(["advise", "net.py:Net", "--input", "40x40", "--apply", "--format", "json"]) == 0
    shown = capsys.readouterr()
    assert {step["file"].rpartition("/")[2] for step in json.loads(shown.out)["advice"]} == {
        "net.py", "blocks.py"
    }  # fmt: skip
    assert "net.py: edits made: " in shown.err and "blocks.py: edits made: " in shown.err
    assert peak("net.py:Net", SHAPE) == predicted


def test_all_files_are_written_or_none(two_files, monkeypatch):
    advice, before = srprof.advise("net.py:Net", SHAPE), texts(two_files)
    moved, replaced = os.replace, []

    def fails_at_the_second(source, target):
        replaced.append(target)
        if len(replaced) == 2:
            raise PermissionError(13, "Permission denied")
        moved(source, target)

    monkeypatch.setattr(os, "replace", fails_at_the_second)
    with pytest.raises(srprof.InputError, match=r"--apply .*cannot be written: Permission denied"):
        advice.apply()
    assert len(replaced) == 2 and texts(two_files) == before
    assert sorted(path.name for path in two_files.glob(".srprof*")) == []


def test_a_file_that_may_not_be_written_leaves_all_as_they_were(two_files, monkeypatch):
    advice, before = srprof.advise("net.py:Net", SHAPE), texts(two_files)
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "blocks" not in str(path) and allowed(path, mode)
    )
    with pytest.raises(srprof.InputError, match=r"blocks\.py: no permission"):
        advice.apply()
    assert texts(two_files) == before


def test_a_file_that_has_changed_is_not_edited(two_files):
    advice = srprof.advise("net.py:Net", SHAPE)
    (two_files / "blocks.py").write_text(BLOCK + "# later\n")
    before = texts(two_files)
    for carry_out in (advice.apply, advice.diff):
        with pytest.raises(srprof.InputError, match=r"^blocks\.py has changed .*: advise again$"):
            carry_out()
    assert texts(two_files) == before
    assert srprof.advise("net.py:Net", SHAPE).apply().left == ()


def test_windows_newlines_and_an_encoding_stay(two_files):
    narrow = "        narrow = self.narrow(wide)\n"
    source = "# coding: latin-1\n" + BLOCK.replace(narrow, "        # caf\xe9\n" + narrow)
    (two_files / "blocks.py").write_bytes(source.replace("\n", "\r\n").encode("latin-1"))
    advice = srprof.advise("net.py:Net", SHAPE, granularity=1)
    assert "\r\n+" in advice.diff()
    advice.apply()
    after = (two_files / "blocks.py").read_bytes()
    assert after.count(b"\n") == after.count(b"\r\n") and b"# caf\xe9\r\n" in after
    assert peak("net.py:Net", SHAPE) == advice.peak_after < advice.peak


def test_an_installed_package_s_files_stay_as_they_are(tmp_path, monkeypatch, capsys):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "installed_blocks.py").write_text(BLOCK)
    monkeypatch.syspath_prepend(packages)
    mine = tmp_path / "net.py"
    mine.write_text(USER.format("installed_blocks"))
    assert main(["advise", f"{mine}:Net", "--input", "40x40", "--apply"]) == 0
    said = capsys.readouterr().err
    assert "net.py: edits made: " in said
    assert "installed_blocks.py: an installed package's, left as it is; edits left out: " in said
    assert (packages / "installed_blocks.py").read_text() == BLOCK
    own = packages / "own_net.py"  # the SPEC's own file
    own.write_text(NET)
    applied = srprof.advise(f"{own}:Net", SHAPE).apply()
    assert [file for file, _ in applied.written] == [str(own)]


def test_the_zoo_is_shown_but_not_written(capsys):
    spec = ["advise", "e_rfdn", "--input", "64x64"]
    assert main([*spec, "--diff"]) == 0
    assert "rfdn_net.py" in capsys.readouterr().out
    before = texts(MODELS)
    assert main([*spec, "--apply"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert "copy it into your project" in shown.err and texts(MODELS) == before


def test_without_libcst_it_says_what_to_install(two_files, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "libcst"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "libcst", None)
    monkeypatch.delitem(sys.modules, "srprof.advising.editing", raising=False)
    assert main(["advise", "net.py:Net", "--input", "40x40", "--apply"]) == 2
    assert "pip install 'srprof[apply]'" in capsys.readouterr().err
    assert main(["advise", "net.py:Net", "--input", "40x40"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("torch.cat([a, b, c], dim=1)", "torch.cat(tuple(t for t in (a, b, c)), dim=1)",
         "not written out in a list"),
        ("y = self.fuse(torch.cat([a, b, c], dim=1))",
         "y = torch.cat([a, b, c], dim=1)\n        y = self.fuse(y if True else x)",
         "does not take it as it is"),
        ("y = self.fuse(", "fuse = self.fuse\n        y = fuse(", "not in plain sight"),
        ("a = self.one(x)\n", "for _ in range(1):\n            a = self.one(x)\n",
         "made in another block"),
        ("c = self.three(b)", "c = self.three(b)\n        held = [a]", "holds other things"),
        ("torch.relu(y)", "torch.relu(y) if True else a", "is still read in line 19"),
    ],
)  # fmt: skip
def test_a_fusion_that_cannot_be_split_by_itself_says_why(old, new, reason, tmp_path):
    assert old in FUSION
    (tmp_path / "net.py").write_text(FUSION.replace(old, new))
    advice = srprof.advise(f"{tmp_path}/net.py:Net", SHAPE)
    split = [s for s in advice.steps if s.candidate.kind == "split"]
    assert split
    with pytest.raises(srprof.InputError, match=rf"net.py:\d+: this edit cannot.*({reason})"):
        advice.apply()
    assert (tmp_path / "net.py").read_text() == FUSION.replace(old, new)


def test_diff_takes_no_format(capsys):
    assert main(["advise", "fmen_s", "--diff", "--format", "json"]) == 2
    assert "leave --format out" in capsys.readouterr().err


def test_an_advice_shows_itself_and_its_data_has_the_rewrites(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    advice = srprof.advise(f"{tmp_path}/net.py:Net", SHAPE)
    assert len(repr(advice)) < 300 and "del wide after this line" in str(advice)
    step = next(s for s in advice.to_dict()["advice"] if "del wide" in s["write"])
    line = NET[: NET.index("self.narrow(wide)")].count("\n") + 1
    assert step["rewrite"] == {
        "form": "delete", "names": ["wide"], "block": False,
        "after": [line, 8, line, 8 + len("narrow = self.narrow(wide)")],
    }  # fmt: skip
    assert json.loads(json.dumps(advice.to_dict())) == advice.to_dict()


DISTILLED = """
import torch
import torch.nn.functional as F
from torch import nn


class Separable(nn.Sequential):
    def __init__(self, width, out):
        super().__init__(nn.Conv2d(width, out, 1), nn.Conv2d(out, out, 3, padding=1, groups=out))


class Distilled(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.keep = nn.ModuleList(nn.Conv2d(width, width // 2, 1) for _ in range(4))
        self.refine = nn.ModuleList(Separable(width, width) for _ in range(3))
        self.fuse = nn.Conv2d(2 * width, width, 1)
        self.reduce, self.expand = Separable(width, 4), Separable(4, width)

    def forward(self, x):
        first = F.gelu(self.keep[0](x))
        rest = F.gelu(self.refine[0](x) + x)
        second = F.gelu(self.keep[1](rest))
        rest = F.gelu(self.refine[1](rest) + rest)
        third = F.gelu(self.keep[2](rest))
        rest = F.gelu(self.refine[2](rest) + rest)
        fourth = F.gelu(self.keep[3](rest))
        fused = self.fuse(torch.cat([first, second, third, fourth], dim=1))
        weights = F.max_pool2d(self.reduce(fused), 5, 3)
        weights = F.interpolate(F.gelu(weights), fused.shape[2:], mode="nearest")
        return fused * torch.sigmoid(self.expand(weights)) + x


class Net(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.head = Separable(3, 16)
        self.blocks = nn.ModuleList(Distilled(16) for _ in range(blocks))
        self.fuse = nn.Conv2d(16 * blocks, 16, 1)
        self.tail = nn.Sequential(nn.Conv2d(16, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, x):
        features = at = self.head(x)
        maps = []
        for block in self.blocks:
            at = block(at)
            maps.append(at)
        return self.tail(F.gelu(self.fuse(torch.cat(maps, dim=1))) + features)
"""


def written(folder: Path, source: str, factory: str) -> str:
    """The SPEC of a factory in a file with this source."""
    (folder / "net.py").write_text(source)
    return f"{folder / 'net.py'}:{factory}"


def test_a_large_network_takes_few_runs_and_rebuildings(tmp_path, monkeypatch):
    """450 nodes, whose blocks' 14 fusions are split by one edit."""
    from srprof.advising import splitting
    from srprof.tracing import frames, holders

    runs, rebuilt, tried, read = [], [], [], []
    walk = ast.walk
    run_again, result, apply = (
        holders.run_again,
        splitting._Rebuilding.result,
        splitting.Split.apply,
    )

    def counted_run(*arguments):
        runs.append(arguments)
        return run_again(*arguments)

    def counted_result(self):
        rebuilt.append(self)
        return result(self)

    def counted_apply(self, replay):
        tried.append(self)
        return apply(self, replay)

    def counted_walk(node):
        read.append(node)
        return walk(node)

    monkeypatch.setattr(ast, "walk", counted_walk)
    monkeypatch.setattr(holders, "run_again", counted_run)
    monkeypatch.setattr(frames, "run_again", counted_run)
    monkeypatch.setattr(splitting._Rebuilding, "result", counted_result)
    monkeypatch.setattr(splitting.Split, "apply", counted_apply)
    advice = srprof.advise(written(tmp_path, DISTILLED, "Net(14)"), (1, 3, 64, 64))

    assert len(advice.trace.nodes) > 450
    assert "split" in {step.candidate.kind for step in advice.steps}
    assert len(rebuilt) <= len(tried)  # however many fusions an edit splits
    assert len(runs) <= 1 + 2 * -(-len(advice.trace.nodes) // 64)
    assert len(read) == len(set(read))  # a piece of the source is gone through once


@pytest.mark.parametrize("spec", ["e_rfdn", "imdn", "distilled"])
def test_fusions_split_together_are_as_if_split_one_by_one(spec, tmp_path, monkeypatch):
    from srprof.advising import run, splitting
    from srprof.advising.replay import settled
    from srprof.advising.search import Search

    searches = []

    def kept(base, levels):
        searches.append(Search(base, levels))
        return searches[-1]

    monkeypatch.setattr(run, "Search", kept)
    if spec == "distilled":
        spec = written(tmp_path, DISTILLED, "Net(3)")
    srprof.advise(spec, (1, 3, 48, 48))
    monkeypatch.setattr(splitting._Fusion, "meets", lambda self, earlier: True)
    one_by_one = Search(searches[0].base, searches[0].levels)
    tried = [chosen for chosen, replay in searches[0]._known.items() if replay is not None]
    assert any(len(c.edit.fusions) > 1 for chosen in tried for c in chosen if c.kind == "split")
    for chosen in tried:
        together, apart = searches[0].replay(chosen), one_by_one.replay(chosen)
        assert apart is not None
        assert settled(together) == settled(apart)
        assert together.frames == apart.frames
        assert together.origins == apart.origins


@pytest.mark.parametrize("spec", ["distilled", "kept"])
def test_looking_at_many_nodes_in_one_run_says_what_one_run_each_says(spec, tmp_path):
    from srprof.tracing.holders import find_holders, find_holders_in
    from srprof.tracing.run import recorded
    from srprof.workload import resolve

    text = written(tmp_path, DISTILLED if spec == "distilled" else KEPT_FOR_A_WHILE, "Net(1)")
    workload = resolve(call_of(text, ((1, 3, 32, 32),), None, "float32", False))
    with recorded(workload) as trace:
        nodes = range(len(trace.nodes))
        found = find_holders_in(workload, trace, nodes)
        assert len(found) > len(nodes) // 2
        for node, held in found.items():
            assert held == find_holders(workload, trace, node)


KEPT_FOR_A_WHILE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.register_buffer("before", torch.zeros(1))
        self.states = []

    def forward(self, x):
        self.before = self.conv(x)
        self.latest = self.conv(self.before)
        self.states.append(self.conv(self.latest))
        x = self.conv(self.states[0])
        self.before = torch.zeros(1)
        x = self.conv(x)
        self.states.clear()
        del self.latest
        x = self.conv(x)
        return self.conv(x)
"""


def test_advice_is_the_same_under_profilers_and_a_debugger(tmp_path):
    spec = written(tmp_path, DISTILLED, "Net(1)")

    def advised():
        steps = srprof.advise(spec, (1, 3, 32, 32)).steps
        return [(s.candidate.kind, s.candidate.line, s.saving, s.peak_after) for s in steps]

    def watch(_frame, _event, _argument):
        return watch

    expected = advised()
    assert expected
    profile = cProfile.Profile()
    profile.enable()
    try:
        assert advised() == expected
        assert sys.getprofile() is profile or sys.version_info >= (3, 12)
    finally:
        profile.disable()
    assert any(getattr(entry.code, "co_name", "") == "advised" for entry in profile.getstats())
    for install, installed in ((sys.setprofile, sys.getprofile), (sys.settrace, sys.gettrace)):
        before = installed()
        install(watch)
        try:
            found, still = advised(), installed()
        finally:
            install(before)
        assert found == expected
        assert still is watch


def test_how_far_the_search_has_come_is_said():
    said: list[tuple[str, int, int]] = []
    srprof.advise("e_rfdn", (1, 3, 32, 32), progress=lambda *what: said.append(what))
    assert said[0] == ("recording the run", 0, 1)
    assert said[-1][0] == "combinations of edits tried" and said[-1][1] == len(said) - 2
