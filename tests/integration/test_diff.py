"""`srprof diff`: models, revisions of one file, inputs and JSON analyses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import srprof
from srprof.cli import main
from srprof.compare.diff import Diff, diff, explain
from srprof.render.views.diff import document
from srprof.words import signed_size
from tests.git_repository import committed
from tests.golden_files import GOLDEN, ROOT, assert_same_cells, without_source_lines

MIB = 2**20

NET = """\
import torch
from torch import nn

from parts import conv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(8), conv(8), conv(8)
        self.head = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        early = self.a(self.head(x))
        x = self.b(early)
        LET_GO
        return self.c(torch.sigmoid(x))
"""

PARTS = """\
from torch import nn


def conv(n):
    return nn.Conv2d(n, n, 3, padding=1)
"""

SHAPE = (1, 3, 64, 64)
MAP = 8 * 64 * 64 * 4


def compare(before: str, after: str, shape=SHAPE, shape_after=None) -> Diff:
    return diff(
        srprof.analyze(before, shape).record,
        srprof.analyze(after, shape_after or shape).record,
    )


@pytest.fixture(autouse=True)
def nobodys_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two revisions: the first lets `early` go and its `conv` has 3x3 kernels."""
    monkeypatch.chdir(tmp_path)
    for let_go, parts in (("del early", PARTS), ("pass", PARTS.replace("3, padding=1", "1"))):
        committed({"nets/net.py": NET.replace("LET_GO", let_go), "nets/parts.py": parts})
    return tmp_path


def test_a_revision_is_compared_with_the_file(repository, capsys):
    assert main(["diff", "HEAD~1:nets/net.py:Net", "nets/net.py:Net", "--input", "64x64"]) == 0
    text = capsys.readouterr().out
    assert "`early` in Net.forward, line 14, is now held at the peak, +0.12 MiB" in text
    assert "nets/net.py:14" in text
    arguments = ["HEAD~1:nets/net.py:Net", "HEAD:nets/net.py:Net", "--input", "64x64"]
    assert main(["diff", *arguments, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (early,) = [t for t in data["tensors"] if (t["after"] or {}).get("variable") == "early"]
    assert early["fate"] == "came"
    assert early["after"]["part"] == "held"
    assert early["after"]["file"] == "HEAD:nets/net.py"
    assert early["difference"] == MAP
    # what the file imports is of its revision too: 3x3 kernels before, 1x1 now
    assert data["complexity"]["params"]["difference"] == -3 * 8 * 8 * (9 - 1)
    assert data["before"]["spec"] == "HEAD~1:nets/net.py:Net"
    assert not (repository / ".git" / "worktrees").exists()


def test_paths_of_a_revision_are_from_here_or_from_the_root(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository / "nets")
    for spec in ("HEAD~1:net.py:Net", "HEAD~1:nets/net.py:Net"):
        assert main(["diff", spec, "net.py:Net", "--input", "64x64", "--format", "json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["complexity"]["params"]["difference"] == -3 * 8 * 8 * 8


@pytest.mark.parametrize("folder", ["nets ", "nets\n", " nets", "\tnets", "n\u00e9ts"])
def test_paths_with_blanks_at_their_ends(folder, tmp_path, monkeypatch, capsys):
    """The repository's own, and one in it."""
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    committed({f"{folder}/net.py": NET.replace("LET_GO", "pass"), f"{folder}/parts.py": PARTS})
    spec = f"HEAD:{folder}/net.py:Net"
    assert main(["diff", spec, spec, "--input", "64x64", "--format", "json"]) == 0
    monkeypatch.chdir(folder)
    assert main(["diff", "HEAD:net.py:Net", "net.py:Net", "--input", "64x64"]) == 0
    assert capsys.readouterr().err == ""


def test_what_an_archive_leaves_out_or_changes(tmp_path, monkeypatch, capsys):
    """`export-ignore` and `export-subst` are for releases."""
    monkeypatch.chdir(tmp_path)
    attributes = "parts.py export-ignore\nnet.py export-subst\n"
    net = "WIDTH = len('$Format:%H$')\n" + NET.replace("LET_GO", "assert WIDTH == 11")
    committed({"net.py": net, "parts.py": PARTS, ".gitattributes": attributes})
    assert main(["diff", "HEAD:net.py:Net", "net.py:Net", "--input", "64x64"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
@pytest.mark.parametrize("file, code", [("parts.py", 2), ("picture.png", 0)])
def test_objects_that_are_not_there(file, code, damage, tmp_path, monkeypatch, capsys):
    """Of the source it is an error that names the file; other files are not needed."""
    monkeypatch.chdir(tmp_path)
    files = {"net.py": NET.replace("LET_GO", "pass"), "parts.py": PARTS, "picture.png": "a"}
    committed(files)
    command = ["git", "rev-parse", f"HEAD:{file}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    name = found.stdout.strip()
    stored = Path(".git/objects", name[:2], name[2:])
    stored.chmod(0o600)
    damage(stored)
    assert main(["diff", "HEAD:net.py:Net", "net.py:Net", "--input", "64x64"]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == (code > 0)
    assert code == 0 or f"lacks the content of '{file}'" in error


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nosuch:nets/net.py:Net", "fmen_s"], "git knows no revision 'nosuch'"),
        (["--input", "64x64", "HEAD:nets/not.py:Net", "fmen_s"], "has no file 'nets/not.py'"),
        (["HEAD:nets/net.py:Nett", "fmen_s"], "has no 'Nett'"),
        (["fmen_s"], "nothing to compare with"),
        (["fmen_s", "nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["fmen_s", "bad.json"], "bad.json is no analysis"),
        (["fmen_s", "half.json"], "half.json is not whole JSON"),
        (["fmen_s", "old.json"], "old.json is damaged: schema is 0, not 1"),
        (["fmen_s", "new.json"], "new.json has schema 2, and this srprof reads up to 1: update"),
        (["fmen_s", "torn.json"], "torn.json is damaged: srprof is missing"),
        (["fmen_s", "fmen_s", "--top", "-1"], "--top: '-1'"),
    ],
)
def test_complaints(repository, capsys, arguments, message):
    Path("bad.json").write_text("{}")
    Path("half.json").write_text("{")
    Path("old.json").write_text('{"schema": 0, "nodes": [], "memory": {}}')
    Path("new.json").write_text('{"schema": 2, "nodes": [], "memory": {}}')
    Path("torn.json").write_text('{"schema": 1, "nodes": [], "memory": {}}')
    assert main(["diff", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_outside_a_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main(["diff", "HEAD:net.py:Net", "fmen_s"]) == 2
    assert "is in no git repository" in capsys.readouterr().err


def test_analyses_compare_as_their_models_do(tmp_path, capsys):
    paths = [str(tmp_path / f"{name}.json") for name in ("fmen_s", "imdn")]
    for path in paths:
        spec = Path(path).stem
        assert main(["analyze", spec, "--input", "64x64", "--format", "json", "-o", path]) == 0
    printed = []
    for first, second in (paths, ("fmen_s", paths[1]), (paths[0], "imdn")):
        assert main(["diff", first, second, "--format", "json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1] == printed[2]
    assert printed[0]["after"]["input"] == "1x3x64x64 float32"
    assert main(["diff", *paths, "--input", "32x32"]) == 2
    assert "leave its input out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "before, after, shape, shape_after",
    [
        ("e_rfdn", "megsr", SHAPE, None),
        ("fmen_s", "imdn", SHAPE, None),
        ("neesr", "neesr", SHAPE, (1, 3, 96, 80)),
        ("rlfn", "rlfn", SHAPE, None),
    ],
)
def test_tensors_make_up_the_difference_of_the_peak(before, after, shape, shape_after):
    found = compare(before, after, shape, shape_after)
    eager = found.peak("eager").change.difference
    assert sum(t.difference for t in found.tensors) + found.net.difference == eager
    backwards = compare(after, before, shape_after or shape, shape)
    assert backwards.peak("eager").change.difference == -eager
    assert sorted(t.difference for t in backwards.tensors) == sorted(
        -t.difference for t in found.tensors
    )
    both = sum(n.before is not None and n.after is not None for n in found.nodes)
    before_nodes = len(srprof.analyze(before, shape).trace.nodes)
    assert found.same_nodes + both + sum(n.after is None for n in found.nodes) == before_nodes


def test_nothing_differs_from_itself():
    found = compare("e_rfdn", "e_rfdn")
    assert not found.tensors
    assert not found.nodes
    assert not any(peak.moved or peak.change.difference for peak in found.peaks)
    assert explain(found) == (
        f"the eager peak is {found.peak('eager').change.after / MIB:.2f} MiB as before; at "
        f"{found.peak('eager').after}",
    )


def test_a_moved_peak_says_where_from_and_to():
    found = compare("fmen_s", "e_rfdn")
    eager = found.peak("eager")
    assert eager.moved
    assert re.search(
        r"it moved from node \d+ sigmoid in warmup.1.sigmoid, .*hfab.py:\d+ to node \d+ mul in "
        r"B4.esa, .*blocks.py:\d+$",
        explain(found)[0],
    )


CASES = {
    "diff_rlfn_neesr.txt": ["rlfn", "neesr", "--top", "5"],
    "diff_fmen_s.md": ["fmen_s", "--input-b", "510x510", "--top", "3", "--format", "markdown"],
    "diff_fmen_s_rb.json": ["fmen_s", "fmen_s(block='rb')", "--format", "json"],
}  # fmt: skip


def rendered(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """A case, with the source lines of the zoo left out: they move with every edit there."""
    assert main(["diff", *CASES[name]]) == 0
    text = without_source_lines(capsys.readouterr().out)
    text = re.sub(r"\bline \d+", "line N", text)
    text = re.sub(r'"file": ".*?(\w+\.py)?"', r'"file": "\1"', text)
    return re.sub(r'"line": \d+', '"line": 0', text)


@pytest.mark.parametrize("name", CASES)
def test_golden(name, golden, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    golden(rendered(name, capsys), name)


# -- what the golden comparison must see ----------------------------------------------------------


MUTATIONS = {
    "minus signs of counts": (r"-(?=\d[\d,]* )", ""),
    "minus signs of shares": (r"-(?=[\d.]+%)", ""),
    "plus signs": (r"\+(?=\d)", ""),
    "a wrong unit in a column": ("before MiB", "before GiB"),
    "a wrong unit in a sentence": (r"(?<=43\.83) MiB", " GiB"),
    "swapped columns": (r"(\d+\.\d\d)( +)(\d+\.\d\d)", r"\3\2\1"),
    "a column under another's name": ("before MiB    after MiB", "after MiB    before MiB"),
}


@pytest.fixture(scope="module")
def rlfn_and_neesr() -> str:
    return (GOLDEN / "diff_rlfn_neesr.txt").read_text(encoding="utf-8")


def test_golden_sees_sizes_without_minus_signs(rlfn_and_neesr, monkeypatch, capsys):
    """Wherever a module has the function by name."""
    monkeypatch.chdir(ROOT)
    for module in [m for key, m in sys.modules.items() if key.partition(".")[0] == "srprof"]:
        for attribute in [key for key, value in vars(module).items() if value is signed_size]:
            monkeypatch.setattr(module, attribute, lambda n: signed_size(n).replace("-", ""))
    text = rendered("diff_rlfn_neesr.txt", capsys)
    with pytest.raises(AssertionError, match=r"(?m)^-.*-11\.50 MiB"):
        assert_same_cells(text, rlfn_and_neesr)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_golden_sees(mutation, rlfn_and_neesr):
    pattern, other = MUTATIONS[mutation]
    assert_same_cells(rlfn_and_neesr, rlfn_and_neesr)
    with pytest.raises(AssertionError, match="--update-golden"):
        assert_same_cells(re.sub(pattern, other, rlfn_and_neesr), rlfn_and_neesr)


def test_a_file_alone_is_compared_with_the_last_commit(repository, capsys):
    """The working tree against HEAD: nothing until it is edited."""
    spec = "nets/net.py:Net"
    assert main(["diff", spec, "--input", "32x32"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"HEAD:{spec} and {spec} at ")
    assert "the eager peak is" in printed and "as before" in printed
    file = Path("nets/net.py")
    file.write_text(file.read_text().replace("return", "more = x * 2 + 1\n        return", 1))
    assert main(["diff", spec, "--input", "32x32", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["before"]["spec"] == f"HEAD:{spec}"
    assert any(node["before"] is None for node in found["nodes"])


@pytest.mark.parametrize("spec", ["fmen_s", "HEAD:nets/net.py:Net", "kept.json", "nets.net:Net"])
def test_what_has_no_last_commit_is_refused(repository, capsys, spec):
    assert main(["diff", spec]) == 2
    assert (
        f"nothing to compare with: give B, or --input-b; {spec} is no file"
        in capsys.readouterr().err
    )


def test_new_nodes_stand_before_those_that_grew_because_of_them():
    class Net(nn.Module):
        def __init__(self, more: bool) -> None:
            super().__init__()
            self.more = more
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(14))

        def forward(self, x):
            kept = self.convs[0](x).sigmoid() if self.more else None
            for conv in self.convs:
                x = conv(x)
            return (x, kept) if self.more else x

    changes = compare(Net(False), Net(True), (1, 3, 16, 16))
    one_sided = [change.difference is None for change in changes.nodes]
    assert one_sided == sorted(one_sided, reverse=True)
    assert sum(one_sided) == 2 and len(one_sided) > 12
    (table,) = (s.table for s in document(changes, 10).sections if "Nodes that" in s.title)
    assert [str(row[-1].text) for row in table.rows[:3]] == ["only after"] * 2 + [
        signed_size(changes.nodes[2].difference)
    ]
    assert len(table.rows) == 10
