"""`srprof check`: a commit that costs memory fails, and is told which variable in which line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import srprof
from srprof.cli import main
from srprof.files import parse_toml
from srprof.gate import baseline as baselines
from srprof.gate import config as configs
from srprof.gate.changes import _hunks
from tests.git_repository import committed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=8):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.body = nn.Conv2d(nf, nf, 3, padding=1)
        self.tail = nn.Conv2d(nf, 3, 3, padding=1)

    def forward(self, x):
        x = self.head(x)
        x = self.body(x)
        return self.tail(torch.sigmoid(x))
"""
#: The same with one local more that nobody needs at the peak.
KEEPS = NET.replace("x = self.head(x)", "early = self.head(x)").replace(
    "self.body(x)", "self.body(early)", 1
)
CONFIG = '[[check]]\nmodel = "net.py:Net"\ninput = "64x64"\n'
MAP = 8 * 64 * 64 * 4
EARLY = next(i for i, line in enumerate(KEEPS.splitlines(), 1) if "early =" in line)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["check", *arguments])
    out = capsys.readouterr()
    return code, out.out + out.err


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    main(["check", *arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Path:
    """A network with a baseline; the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "srprof.toml").write_text(CONFIG)
    assert run(capsys, "--update")[0] == 0
    return tmp_path


# -- the seeded regression ------------------------------------------------------------------------


@pytest.fixture
def e_rfdn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of E-RFDN in one file."""
    monkeypatch.chdir(tmp_path)
    sources = []
    for name in ("rfdn_net", "e_rfdn_net"):
        text = (ROOT / "models" / f"{name}.py").read_text()
        text = re.sub(r"^NETWORKS = \(.*?^\)\n", "", text, flags=re.DOTALL | re.MULTILINE)
        text = text.replace("from .blocks", "from srprof.models.blocks")
        sources.append(re.sub(r"^from (__future__|\.rfdn_net) .*\n", "", text, flags=re.MULTILINE))
    path = tmp_path / "copy.py"
    path.write_text("from __future__ import annotations\n" + "".join(sources))
    (tmp_path / "srprof.toml").write_text('[[check]]\nmodel = "copy.py:e_rfdn"\ninput="128x128"\n')
    return path


def test_one_more_local_kept_alive(e_rfdn, capsys):
    before = srprof.analyze("copy.py:e_rfdn", "128x128")
    assert before.memory.eager == srprof.analyze("e_rfdn", "128x128").memory.eager
    assert run(capsys, "--update")[0] == 0
    whole = e_rfdn.read_text()
    bound, used = "r_c2 = self.c2_r(r_c1)", "r_c2 = self.act(r_c2 + r_c1)"
    kept = whole.replace(bound, bound.replace("r_c2", "spare")).replace(
        used, used.replace("r_c2 +", "spare +")
    )
    assert kept != whole
    e_rfdn.write_text(kept)
    line = next(i for i, text in enumerate(kept.splitlines(), 1) if "spare = " in text)

    code, text = run(capsys)
    assert code == 1
    difference = (
        srprof.analyze("copy.py:e_rfdn", "128x128").memory.eager.nbytes - before.memory.eager.nbytes
    )
    assert difference > 0
    assert f"`spare` in RFDB.forward, line {line}, is now held at the peak" in text
    (check,) = checked(capsys)["checks"]
    eager = next(row for row in check["metrics"] if row["metric"] == "eager")
    assert eager["change"] == difference
    assert eager["verdict"] == "grew"
    assert (check["file"], check["line"]) == ("copy.py", line)
    assert not [row for row in check["metrics"] if row["metric"] == "params" and row["failed"]]

    del_after = used.replace("r_c2 +", "spare +")
    e_rfdn.write_text(kept.replace(del_after, f"{del_after}\n        del spare"))
    code, text = run(capsys)
    assert code == 0, text
    assert "the check holds" in text
    assert checked(capsys)["checks"][0]["metrics"][1]["change"] == 0

    e_rfdn.write_text(kept)  # the regression as the baseline: then `del` is a gain
    assert run(capsys, "--update")[0] == 0
    e_rfdn.write_text(kept.replace(del_after, f"{del_after}\n        del spare"))
    code, text = run(capsys)
    assert code == 0
    assert f"`spare` in RFDB.forward, line {line}, is no longer held at the peak" in text
    assert "went down: eager" in text
    assert "srprof check --update" in text
    assert checked(capsys)["checks"][0]["metrics"][1]["change"] == -difference


def test_the_sentence_of_the_page():
    """The line of the variable in the zoo's file, and the bytes of its tensor."""
    text = " ".join(PAGE.split())
    line, mib = re.search(r"line (\d+), is now held at the peak, \+([\d.]+) MiB", text).groups()
    lines = (ROOT / "models" / "rfdn_net.py").read_text().splitlines()
    assert lines[int(line) - 1].strip() == "r_c2 = self.c2_r(r_c1)"
    assert float(mib) == 50 * 256 * 256 * 4 / 2**20


def test_no_false_alarm(project, capsys):
    """The same check again and again: the same bytes, and the same file from another update."""
    first = Path("srprof-baseline.json").read_bytes()
    reports = set()
    for _ in range(20):
        assert main(["check", "--format", "json"]) == 0
        reports.add(capsys.readouterr().out)
    assert len(reports) == 1
    assert run(capsys, "--update")[0] == 0
    assert Path("srprof-baseline.json").read_bytes() == first
    assert str(project) not in first.decode()


def test_each_model_is_traced_once(project, monkeypatch, capsys):
    Path("srprof.toml").write_text(CONFIG + CONFIG + 'device = "ntire2022"\n')
    import srprof.tracing.run as tracing

    calls = []
    original = tracing.run_trace
    monkeypatch.setattr(tracing, "run_trace", lambda *a, **k: calls.append(a) or original(*a, **k))
    assert run(capsys, "--update")[0] == 0
    assert len(calls) == 1


# -- verdicts -------------------------------------------------------------------------------------


def test_a_limit_without_a_baseline(project, capsys):
    Path("net.py").write_text(KEEPS)
    Path("srprof.toml").write_text("baseline = false\n" + CONFIG + 'peak.eager = "1 KiB"\n')
    code, text = run(capsys)
    assert code == 1
    assert "over its limit of 1,024 B" in text or "over its limit of 0.00 MiB" in text
    assert f"`early` in Net.forward, line {EARLY}, is held at the peak" in text
    assert "releasing `early` after its last use would save" in text
    assert run(capsys, "--update")[0] == 2


@pytest.mark.parametrize(
    "growth, code",
    [
        ('"0.12 MiB"', 1),
        ('"0.13 MiB"', 0),
        ('"1%+0.13MiB"', 0),
        ('"90%"', 0),
        ('"1%"', 1),
        ('"1%+0.12MiB"', 1),
    ],
)
def test_allowed_growth(project, capsys, growth, code):
    """`early` is 0.125 MiB."""
    Path("net.py").write_text(KEEPS)
    extra = f'growth = {growth}\nmetrics = ["peak.eager"]\n'
    Path("srprof.toml").write_text(CONFIG + extra)
    assert run(capsys)[0] == code


def test_a_new_layer_is_named(project, capsys):
    wider = NET.replace("return self.tail(", "x = self.more(x)\n        return self.tail(")
    wider = wider.replace(
        "        self.tail =", "        self.more = nn.Conv2d(nf, nf, 1)\n        self.tail ="
    )
    Path("net.py").write_text(wider)
    line = next(i for i, text in enumerate(wider.splitlines(), 1) if "self.more(x)" in text)
    code, text = run(capsys)
    assert code == 1
    assert "params grew by +72" in text
    assert "convs grew by +1, from 3 to 4" in text
    assert re.search(rf"new: node \d+ convolution in more, net.py:{line}", text)
    assert re.search(rf"^::error file=net.py,line={line},", run(capsys, "--format", "github")[1])


def test_a_wider_layer_is_named(project, capsys):
    Path("net.py").write_text(NET.replace("nf=8", "nf=10"))
    text = run(capsys)[1]
    assert re.search(
        r"node \d+ convolution in body, net.py:14, 3,686,400 MACs, was 2,359,296", text
    )


def test_new_and_gone_entries(project, capsys):
    Path("srprof.toml").write_text(CONFIG.replace("64x64", "32x32"))
    code, text = run(capsys)
    assert code == 1
    assert "net.py:Net 32x32\nFAILED: it has no entry in the baseline" in text
    assert "net.py:Net 64x64 is in the baseline and no longer checked" in text
    assert "2 of 2 checks failed" in text


def test_a_model_that_no_longer_loads(project, capsys):
    Path("srprof.toml").write_text(
        CONFIG
        + '[[check]]\nmodel = "fmen_s"\ninput = "32x32"\n'
        + '[[check]]\nmodel = "nowhere.py:Net"\ninput = "32x32"\n'
    )
    Path("net.py").write_text(NET + "\n\nraise KeyError('gone')\n")
    held = Path("srprof-baseline.json").read_bytes()
    code, text = run(capsys)
    assert code == 1
    assert "FAILED: the model does not run" in text
    assert "KeyError" in text
    assert "there is no file 'nowhere.py'" in text
    found = {check["name"]: check for check in checked(capsys)["checks"]}
    assert found["fmen_s 32x32"]["metrics"]
    assert found["net.py:Net 64x64"]["line"] == len(NET.splitlines()) + 3
    code, text = run(capsys, "--update")
    assert code == 1
    assert "srprof-baseline.json is as it was" in text
    assert Path("srprof-baseline.json").read_bytes() == held


@pytest.mark.parametrize(
    "key, value, kept",
    [
        ("torch", "1.0", {"net", "params", "flops", "activations", "convs"}),
        ("srprof", "0.0", {"net", "params"}),
    ],
)
def test_a_baseline_of_another_version(project, capsys, key, value, kept):
    data = json.loads(Path("srprof-baseline.json").read_text())
    ours = data["environment"][key]
    data["environment"][key] = value
    Path("srprof-baseline.json").write_text(json.dumps(data))
    Path("net.py").write_text(KEEPS)  # larger, which nobody can know
    code, text = run(capsys)
    assert code == 1
    assert f"the baseline is of another {key} ({value}, now {ours})" in text
    compared = {m["metric"] for m in checked(capsys)["checks"][0]["metrics"] if m["compared"]}
    assert compared == kept
    code, text = run(capsys, "--partial")
    assert code == 0
    assert "warning: the baseline is of another" in text
    assert "not compared: planned" in text


def test_a_patch_release_of_torch_closes_no_gate(project, capsys):
    """What cannot depend on it is compared, and the rest is a warning."""
    data = json.loads(Path("srprof-baseline.json").read_text())
    ours = data["environment"]["torch"]
    patch = f"{ours.rpartition('.')[0]}.99"
    data["environment"]["torch"] = patch
    Path("srprof-baseline.json").write_text(json.dumps(data))
    code, text = run(capsys)
    assert code == 0
    assert f"warning: the baseline is of another torch ({patch}, now {ours})" in text
    assert "FAILED" not in text
    assert "::warning title=srprof" in run(capsys, "--format", "github")[1]
    (found,) = checked(capsys)["checks"]
    compared = {m["metric"] for m in found["metrics"] if m["compared"]}
    assert compared == {"net", "params", "flops", "activations", "convs"}
    assert len(found["left_out"]) == 1 and not found["failed"]
    Path("net.py").write_text(NET.replace("nf=8", "nf=9"))
    assert run(capsys)[0] == 1, "more parameters are the network's own"


def test_a_baseline_of_another_dtype_or_protocol(project, capsys):
    Path("srprof.toml").write_text(CONFIG + 'name = "net.py:Net 64x64"\ndtype = "float16"\n')
    assert run(capsys)[0] == 1
    found = {m["metric"]: m["compared"] for m in checked(capsys)["checks"][0]["metrics"]}
    assert found["params"] and found["macs"]
    assert not found["eager"] and not found["net"]
    assert run(capsys, "--partial")[0] == 0
    Path("list.txt").write_text("32x32\n")
    Path("srprof.toml").write_text(
        CONFIG + 'name = "net.py:Net 64x64"\nprotocol = "ntire"\nsizes = "list.txt"\n'
    )
    found = {m["metric"]: m["compared"] for m in checked(capsys)["checks"][0]["metrics"]}
    assert [name for name, compared in found.items() if not compared] == [
        "allocated",
        "reserved",
    ]


# -- bad input ------------------------------------------------------------------------------------


def test_an_update_says_what_it_accepts(project, capsys):
    """Old and new of whatever differs, before the file that had the old is gone."""
    assert "accepted" not in run(capsys, "--update")[1]
    Path("net.py").write_text(KEEPS)
    with Path("srprof.toml").open("a") as file:
        file.write('[[check]]\nname = "wide"\nmodel = "net.py:Net(nf=9)"\ninput = "64x64"\n')
    code, text = run(capsys, "--update")
    assert code == 0
    assert re.search(
        r"accepted: \S+ 64x64: eager peak: 0.35 MiB -> 0.47 MiB \(\+0.12 MiB\)\n", text
    )
    assert "accepted: wide: new\n" in text
    Path("srprof.toml").write_text(CONFIG.replace("64x64", "32x32"))
    accepted = checked(capsys, "--update")["accepted"]
    gone = [f"{name}: no longer checked" for name in ("net.py:Net 64x64", "wide")]
    assert accepted == ["net.py:Net 32x32: new", *gone]
    assert "accepted" not in checked(capsys)
    Path("srprof-baseline.json").write_text("{")
    code, text = run(capsys, "--update")
    assert code == 0
    assert "accepted: what was there is not known: the baseline srprof-baseline.json is not" in text


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "there is no baseline srprof-baseline.json: run `srprof check --update`"),
        ("{", "is not whole JSON"),
        ('{"schema": 3}', "has schema 3, and this srprof reads up to 2: update srprof"),
        ("{}", "is damaged"),
        ("[]", "is damaged"),
        ("{\n<<<<<<< HEAD\n=======\n>>>>>>> b\n}", "has merge-conflict markers (line 2)"),
    ],
)
def test_a_baseline_that_cannot_be_read(project, capsys, text, message):
    path = Path("srprof-baseline.json")
    path.unlink() if text is None else path.write_text(text)
    code, said = run(capsys)
    assert code == 2
    assert message in said
    assert said.count("\n") == 1


def test_no_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, text = run(capsys)
    assert code == 2
    assert "`srprof check --init net.py` writes one" in text
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert run(capsys)[0] == 2
    (tmp_path / "pyproject.toml").write_text("[tool.srprof]\n")
    assert "it has no checks" in run(capsys)[1]
    (tmp_path / "srprof.toml").write_text("[[check")
    assert "is not valid TOML" in run(capsys)[1]
    assert "nowhere.toml cannot be read" in run(capsys, "--config", "nowhere.toml")[1]


def test_pyproject_from_a_folder_below(project, monkeypatch, capsys):
    Path("pyproject.toml").write_text(CONFIG.replace("[[check", "[[tool.srprof.check"))
    Path("srprof.toml").unlink()
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert run(capsys)[0] == 0
    Path("../net.py").write_text(KEEPS)
    assert run(capsys)[0] == 1


# -- init -----------------------------------------------------------------------------------------


def test_init(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = KEEPS + "\n\nclass Block(nn.Module):\n    def forward(self, x, y):\n        return x\n"
    source += "\n\ndef train():\n    raise SystemExit\n"
    source += "\n\nclass Made(Net):\n    pass\n\n\ndef make():\n    return Made(3)\n"
    source += "\n\nclass Layer(nn.Module):\n    def __init__(self, nf):\n        pass\n"
    (tmp_path / "net.py").write_text(source)
    code, text = run(capsys, "--init", "net.py")
    assert code == 0
    first, *left_out, last, wrote = text.splitlines()
    assert first == "srprof.toml: net.py:Net, net.py:make"
    assert wrote == "srprof: wrote srprof.toml"
    assert last == "now run `srprof check --update`, and commit both"
    block, made, layer = left_out
    assert block.startswith("left out: Block: forward() missing 1 required positional argument")
    assert made == "left out: Made: make gives it"
    assert layer.startswith("left out: Layer: its constructor needs arguments")
    assert "# net.py:Block is left out" in Path("srprof.toml").read_text()
    assert run(capsys, "--update")[0] == 0
    assert run(capsys)[0] == 0
    assert "is there already" in run(capsys, "--init", "net.py")[1]
    Path("srprof.toml").unlink()
    deep = ("x = " + "+".join(["1"] * 100_000), "x = " + "-" * 100_000 + "1", "x\0")
    wrong = {"x = 1": "has no nn.Module", **dict.fromkeys(("def", *deep), "is no Python")}
    for text, message in wrong.items():
        Path("other.py").write_text(text)
        code, said = run(capsys, "--init", "other.py")
        assert code == 2
        assert message in said
    assert run(capsys, "--init", "nowhere.py")[0] == 2
    code, said = run(capsys, "--init", "net.py", "--format", "json")
    assert code == 2 and "leave --format out" in said
    assert not Path("srprof.toml").exists()


# -- formats --------------------------------------------------------------------------------------


@pytest.fixture
def closed(project: Path) -> Path:
    """The project with a regression, a model that does not run and an entry that is gone."""
    Path("net.py").write_text(KEEPS)
    name = 'name = "a <b> & \\"c\\" \\u0001|, d_e_f"\n'
    Path("srprof.toml").write_text(CONFIG + CONFIG.replace(":Net", ":Nett") + name)
    data = json.loads(Path("srprof-baseline.json").read_text())
    data["entries"]["gone"] = data["entries"]["net.py:Net 64x64"]
    Path("srprof-baseline.json").write_text(json.dumps(data))
    return project


def test_junit(closed, capsys):
    """The common schema (Jenkins's junit-10.xsd), in what srprof writes of it."""
    code, text = run(capsys, "--format", "junit")
    assert code == 1
    root = ElementTree.fromstring(text)
    children = {
        "testsuites": {"testsuite"},
        "testsuite": {"testcase"},
        "testcase": {"failure", "error", "system-out"},
    }
    required = {"testsuite": {"name", "tests", "failures", "errors"}, "testcase": {"name"}}
    allowed = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": required["testsuite"] | {"time", "skipped", "timestamp", "hostname"},
        "testcase": {"name", "time", "classname", "group"},
        "failure": {"type", "message"},
        "error": {"type", "message"},
    }
    assert root.tag == "testsuites"
    for element in root.iter():
        assert {child.tag for child in element} <= children.get(element.tag, set())
        given = set(element.attrib)
        assert required.get(element.tag, set()) <= given <= allowed.get(element.tag, set())
        assert re.fullmatch(r"\d{0,3}(\.\d*)?", element.attrib.get("time", ""))
    (suite,) = root
    cases = list(suite)
    for element in (root, suite):
        counts = [int(element.attrib[name]) for name in ("tests", "failures", "errors")]
        assert counts == [3, len(suite.findall("*/failure")), len(suite.findall("*/error"))]
    assert counts == [3, 2, 1]
    assert f"line {EARLY}, is now held" in suite.find("*/failure").text
    assert cases[1].attrib["name"] == 'a <b> & "c"  |, d_e_f'


def test_github(closed, capsys):
    code, text = run(capsys, "--format", "github")
    assert code == 1
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        f"::error file=net.py,line={EARLY},title=srprof%3A net.py%3ANet 64x64::"
    )
    assert "%0A" in lines[0]
    assert all(re.fullmatch(r"::(error|warning|notice) [^:]*::.*", line) for line in lines)


def test_gitlab(closed, capsys):
    issues = json.loads(run(capsys, "--format", "gitlab")[1])
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert not issue["location"]["path"].startswith(("/", "./"))
        assert issue["location"]["lines"]["begin"] >= 1
    assert issues == json.loads(run(capsys, "--format", "gitlab")[1])
    assert {"path": "net.py", "lines": {"begin": EARLY}} in [i["location"] for i in issues]


def test_what_a_network_prints_is_no_part_of_the_report(project, capsys):
    Path("net.py").write_text('print("loading")\n' + NET)
    assert main(["check", "--format", "json"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["failed"] is False
    assert "loading" in out.err


def test_benchmark(project, capsys):
    entries = json.loads(run(capsys, "--format", "benchmark")[1])
    values = {entry["name"]: (entry["value"], entry["unit"]) for entry in entries}
    eager = srprof.analyze("net.py:Net", "64x64").memory.eager.nbytes
    assert values["net.py:Net 64x64: eager"] == (eager / 2**20, "MiB")
    assert values["net.py:Net 64x64: convs"] == (3, "count")


def test_markdown_and_the_job_summary(closed, monkeypatch, capsys, tmp_path):
    from markdown_it import MarkdownIt

    summary = tmp_path / "summary.md"
    summary.write_text("of another step\n\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    code, text = run(capsys, "--format", "markdown")
    assert code == 1
    assert summary.read_text() == "of another step\n\n" + text
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert "<h1>3 of 3 checks failed</h1>" in html
    assert html.count("<th ") + html.count("<th>") == 7
    assert f"<code>early</code> in Net.forward, line {EARLY}" in html
    assert "a &lt;b&gt; &amp; &quot;c&quot;" in html
    assert "d_e_f" in html


# -- the file on the disk -------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from srprof.gate import baseline
from srprof.gate.environment import depends

path = Path(sys.argv[1])
old = baseline.load(path)
new = baseline.Baseline({**old.environment, "torch": "new"}, old.entries)
before, after = baseline.dumps(old), baseline.dumps(new)
files = {baseline.__file__, sys.modules["srprof.output"].__file__}


def dies_at(step):
    left = [step]

    def trace(frame, event, arg):
        if frame.f_code.co_filename in files:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
        return trace

    sys.settrace(trace)
    baseline.write(new, path)
    sys.settrace(None)
    os._exit(0)


seen = {before: 0, after: 0}
for step in range(100000):
    path.write_text(before)
    child = os.fork()
    if not child:
        dies_at(step)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen[path.read_text()] += 1
    assert baseline.load(path) in (old, new)
    if code == 0:
        break
assert path.read_text() == after
print(seen[before], seen[after])
"""

TWO_AT_ONCE = """
import os, sys
from pathlib import Path
from srprof.gate import baseline

path = Path(sys.argv[1])
old = baseline.load(path)
made = [baseline.Baseline({"torch": name * 5000}, old.entries) for name in "ab"]
children = []
for one in made:
    child = os.fork()
    if not child:
        for _ in range(200):
            baseline.write(one, path)
        os._exit(0)
    children.append(child)
read = 0
while children:
    assert baseline.load(path) in (old, *made)
    read += 1
    children = [c for c in children if os.waitpid(c, os.WNOHANG)[0] == 0]
assert baseline.load(path) in made
print(read)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_point_the_baseline_is_whole(project):
    """Killed at each step of writing, one after the other: the file is the old one or the new."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "srprof-baseline.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    old, new = map(int, done.stdout.split())
    assert old > 50
    assert new >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_two_updates_at_once(project):
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE, "srprof-baseline.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    assert not list(project.glob(".srprof-*"))


# -- pytest ---------------------------------------------------------------------------------------


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_plugin(project):
    Path("net.py").write_text(KEEPS)
    Path("test_net.py").write_text(
        textwrap.dedent("""
        import pytest

        @pytest.fixture
        def net():
            from net import Net
            return Net()

        @pytest.mark.limit_peak("1 MiB", input="64x64")
        def test_holds(net):
            return net

        @pytest.mark.limit_peak("0.3 MiB", input="64x64")
        def test_returned(net):
            return net

        @pytest.mark.limit_peak("0.3 MiB", input="64x64")
        def test_yielded(net):
            yield net
            print("torn down")

        @pytest.mark.limit_peak("0.36 MiB", input=(1, 3, 64, 64), memory="planned")
        def test_planned(net):
            yield net

        @pytest.mark.limit_peak("1 MiB", input="64x64")
        def test_nothing():
            pass

        @pytest.mark.limit_peak("1 MB/s", input="64x64")
        def test_bad(net):
            return net

        def test_fixture(srprof, net):
            assert srprof.analyze(net, "64x64").complexity.convolutions == 3
            srprof.assert_peak(net, "64x64", max="1 MiB")
            srprof.assert_peak("net.py:Net", "64x64", max=1000, memory="eager")
        """)
    )
    done = pytest_in(project, "--strict-markers", "--strict-config", "-W", "error")
    out = done.stdout
    assert "5 failed, 2 passed" in out, out
    for name in ("returned", "yielded", "nothing", "bad", "fixture"):
        assert f"FAILED test_net.py::test_{name}" in out
    assert f"`early` in Net.forward, line {EARLY}, is held at the peak" in out
    assert "over its limit of 0.30 MiB" in out
    assert "returns or yields the network" in out
    assert "'1 MB/s' is no size" in out


def test_the_plugin_costs_nothing(project):
    Path("test_other.py").write_text(
        "import sys\n\ndef test_nothing():\n"
        "    assert 'srprof.gate.pytest_plugin' in sys.modules\n"
        "    heavy = {'torch', 'numpy', 'pandas', 'srprof.analysis', 'srprof.gate.run'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = pytest_in(project)
    assert done.returncode == 0, done.stdout


# -- what the page shows --------------------------------------------------------------------------


def block(title: str) -> str:
    return re.search(rf"<!-- tested: {title} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL).group(1)


def test_the_configuration_of_the_page(project, capsys):
    Path("srprof.toml").write_text(block("the configuration"))
    (check,) = configs.load(Path("srprof.toml")).checks
    assert check.name == "net"
    assert set(check.limits) == {"eager", "params", "latency_ms"}
    assert run(capsys, "--update")[0] == 0
    assert run(capsys)[0] == 0


def test_the_pytest_example_of_the_page(project):
    Path("test_net.py").write_text(block("pytest"))
    done = pytest_in(project, "-W", "error")
    assert "2 passed" in done.stdout, done.stdout


def run_action(inputs: dict[str, str], folder: Path, summary: Path) -> subprocess.CompletedProcess:
    """The steps of action.yml with these inputs, as a runner would run them in a shell."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    assert set(inputs) <= set(action["inputs"])
    given = {name: str(about["default"]) for name, about in action["inputs"].items()} | inputs

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: given[m[1]], text)

    done = None
    for step in action["runs"]["steps"]:
        if "if" in step:
            name = re.fullmatch(r"inputs\.([\w-]+) != ''", step["if"]).group(1)
            if not given[name]:
                continue
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # inputs come through the environment, never as code
        path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(summary)}
        env |= {"GITHUB_WORKSPACE": str(folder), "GITHUB_ACTION_PATH": str(ROOT)}
        env |= {key: filled(value) for key, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder / filled(step.get("working-directory", ".")),
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            break
    return done


def test_the_action_as_the_page_uses_it(project, tmp_path):
    """All steps, with a `python` that only notes what pip is to install."""
    stand_in = project / "python"
    stand_in.write_text('#!/bin/sh\nprintf "%s|" "$@" > pip.txt\n')
    stand_in.chmod(0o755)
    workflow = yaml.safe_load(block("the workflow"))
    (step,) = [s for s in workflow["jobs"]["memory"]["steps"] if "srprof" in s.get("uses", "")]
    summary = tmp_path / "summary.md"
    done = run_action(step["with"], project, summary)
    assert done.returncode == 0, done.stderr
    assert (project / "pip.txt").read_text() == f"-m|pip|install|-c|{ROOT}/constraints.txt|{ROOT}|"
    done = run_action({**step["with"], "constraints": ""}, project, summary)
    assert (project / "pip.txt").read_text() == f"-m|pip|install|{ROOT}|"
    inputs = {**step["with"], "install": ""}
    (project / "pip.txt").unlink()
    assert "the check holds" in summary.read_text()
    Path("net.py").write_text(KEEPS)
    shutil.copy("srprof.toml", "other $(touch pwned).toml")
    done = run_action({**inputs, "config": "other $(touch pwned).toml"}, project, summary)
    assert done.returncode == 1
    assert done.stdout.startswith(f"::error file=net.py,line={EARLY},")
    assert not Path("pwned").exists()
    assert not (project / "pip.txt").exists()


def test_the_hook(project):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert f"id: {hook['id']}" in PAGE
    assert hook["pass_filenames"] is False
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    for source, code in ((NET, 0), (KEEPS, 1)):
        Path("net.py").write_text(source)
        done = subprocess.run(hook["entry"].split(), env=env, capture_output=True, check=False)
        assert done.returncode == code


# -- srprof's own ---------------------------------------------------------------------------------


def test_the_zoo_is_gated():
    from srprof import registry

    data = parse_toml((ROOT / "srprof.toml").read_text())
    assert {c["model"] for c in data["check"]} == {n.name for n in registry.networks()}
    held = baselines.load(ROOT / "srprof-baseline.json")
    assert set(held.entries) == {c.name for c in configs.load(ROOT / "srprof.toml").checks}
    assert "srprof check" in (ROOT / ".ci" / "run").read_text()


def test_a_baseline_of_twenty_models_is_small():
    held = baselines.load(ROOT / "srprof-baseline.json")
    largest = sorted(
        held.entries,
        key=lambda name: -len(baselines.dumps(baselines.Baseline({}, {name: held.entries[name]}))),
    )[:20]
    twenty = baselines.Baseline(held.environment, {name: held.entries[name] for name in largest})
    assert len(twenty.entries) == 20
    assert len(baselines.dumps(twenty).encode()) < 100_000


# -- the line that changed ------------------------------------------------------------------------

BLOCKS = """\
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        y = torch.sigmoid(self.conv(x))
        return y + x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.ModuleList(Block() for _ in range(4))

    def forward(self, x):
        x = self.head(x)
        kept = []
        for block in self.body:
            x = block(x)
        return x
"""
#: Every block's result is kept now: four tensors of one line, and one line that was edited.
APPENDS = BLOCKS.replace("x = block(x)", "x = block(x)\n            kept.append(x)")


@pytest.fixture
def versioned(project, capsys, monkeypatch) -> Path:
    """The project in git, with a network of blocks, and the edit that keeps their results."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    Path("net.py").write_text(BLOCKS)
    assert run(capsys, "--update")[0] == 0
    committed({})
    Path("net.py").write_text(APPENDS)
    return project


def test_the_line_that_changed_is_named_first(versioned, capsys):
    (found,) = checked(capsys)["checks"]
    line = 1 + APPENDS.splitlines().index("            kept.append(x)")
    first, *rest = found["explanation"]
    assert first == f"changed since the baseline: net.py:{line} `kept.append(x)`"
    assert (found["file"], found["line"]) == ("net.py", line)
    assert any("the eager peak went from" in text for text in rest)


def test_a_change_that_holds_nothing_itself_is_named_too(versioned, capsys):
    """The edit is in one place, and what grew in another."""
    wide = BLOCKS.replace("y = torch.sigmoid(self.conv(x))", "y = torch.sigmoid(twice(x))")
    wide = wide.replace(
        "class Block", "def twice(x):\n    return torch.cat([x, x])[:1]\n\n\nclass Block"
    )
    Path("net.py").write_text(wide)
    (found,) = checked(capsys)["checks"]
    assert found["failed"]
    assert "changed since the baseline" in found["explanation"][0]
    assert re.search(r"net\.py:(5|6|15)", found["explanation"][0])


def test_without_git_nothing_is_said_of_it(project, capsys):
    Path("net.py").write_text(KEEPS)
    (found,) = checked(capsys)["checks"]
    assert found["line"] == EARLY
    assert not any("changed since" in text for text in found["explanation"])


def test_an_update_says_why(versioned, capsys):
    """Old, new and the reason."""
    accepted = checked(capsys, "--update")["accepted"]
    assert any(re.search(r"eager peak: \S+ MiB -> \S+ MiB", line) for line in accepted)
    (reason,) = (line for line in accepted if "because changed since the baseline" in line)
    assert "`kept.append(x)`" in reason


def test_lines_of_a_diff_without_context():
    text = (
        "+++ b/a.py\n@@ -1,2 +3,2 @@ def f\n@@ -9 +9,0 @@\n+++ b/with space.py\t\n@@ -0,0 +1 @@\n"
    )
    assert _hunks(text) == {"a.py": {3, 4, 9, 10}, "with space.py": {1}}
