"""`srprof report`: the folder, its figures against the analyses, and the committed reports.

After a change of them that is meant `--update-golden` makes each report anew, by the command.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import srprof
from srprof.cli import main
from srprof.codec import decode_table, encode
from srprof.render.document import Column, Document, Section, Table
from srprof.render.writers import render
from srprof.render.writers.html import script_json
from srprof.report.build import DATA, LATEX, MARKDOWN, build, data_json, latex, markdown
from srprof.report.definition import Definition, read_definition
from tests.golden_files import ROOT

REPORTS = sorted((ROOT / "reports").glob("*.toml"))
EVIL = "</script><script>window.harm=1</script>"
DEFINITION = f"""
title = "Two <b>networks</b>"
models = ["e_rfdn", {{ name = "{EVIL}", spec = "fmen_s" }}]
input = "48x48"
profiles = ["gtx1080ti", "a100"]
references = ["ntire2022"]

[[tables]]
title = "Figures"
models = ["e_rfdn", {{ name = "wide", spec = "fmen_s(n_feats=64)", published = {{ time_ms = 3 }} }}]
measures = ["params_M", "convs", "time_ms"]

[[figures]]
name = "two"
title = "Two topologies"
kind = "memory"
unit = "feature maps"
models = ["figure2_plain", "figure2_fusion"]
input = "32x32"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report with all sections, one of whose models has a name that is a script."""
    place = tmp_path_factory.mktemp("report")
    (place / "both.toml").write_text(DEFINITION, encoding="utf-8")
    assert main(["report", str(place / "both.toml")]) == 0
    return place / "both"


@pytest.fixture(scope="module")
def data(folder):
    return json.loads((folder / DATA).read_text(encoding="utf-8"))


def test_the_folder_holds_what_the_data_names(folder, data):
    assert {path.name for path in folder.iterdir()} == set(data["files"])
    assert {"index.html", "table.md", "table.tex", "data.json", "memory.svg", "two.png"} <= set(
        data["files"]
    )
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".srprof")]
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert (folder / "index.html").stat().st_size < 6_000_000


def test_the_record_is_the_analysis(data):
    for model in data["models"]:
        analysis = srprof.analyze(model["spec"], "48x48")
        assert model["peak"]["eager"] == analysis.memory.eager.nbytes
        rows = [
            dict(zip(model["nodes"]["columns"], r, strict=True)) for r in model["nodes"]["rows"]
        ]
        eager = [
            model["net"] + sum(r[p] for p in ("input", "output", "kept", "held")) for r in rows
        ]
        assert max(eager) == model["peak"]["eager"]
        assert [r["line"] for r in rows] == [n.line for n in analysis.trace.nodes]
        for index, device in enumerate(("gtx1080ti", "a100")):
            timed = srprof.analyze(analysis.trace, profile=device)
            found = model["devices"][index]
            assert found["predicted_ms"] == pytest.approx(1e3 * timed.latency.seconds, rel=1e-5)
            us = [row[found["nodes"]["columns"].index("us")] for row in found["nodes"]["rows"]]
            assert sum(us) == pytest.approx(1e3 * found["predicted_ms"], rel=1e-4)
            parts = [ms for families in found["modules"].values() for ms in families.values()]
            assert sum(parts) == pytest.approx(found["predicted_ms"], rel=1e-4)


def test_tables_have_published_and_ours(data):
    (table,) = data["tables"]
    ours, wide = table["rows"]
    assert ours["figures"]["params_M"]["published"] == 0.433
    assert ours["figures"]["params_M"]["agrees"] is True
    assert ours["figures"]["convs"] | {"how": ""} == {
        "published": 64, "ours": 64, "agrees": True, "how": "", "reproducible": True,
    }  # fmt: skip
    parameters = srprof.analyze("fmen_s(n_feats=64)", "256x256").complexity.parameters
    assert wide["figures"]["params_M"]["ours"] == pytest.approx(parameters / 1e6, rel=1e-5)
    assert wide["figures"]["time_ms"]["published"] == 3
    assert wide["figures"]["time_ms"]["agrees"] is None


def test_figure_2_in_the_papers_unit(data):
    plain, fusion = data["figures"][0]["models"]
    for model, maps in ((plain, 2), (fusion, 8)):
        (image,) = model["inputs"]
        rest = 3 / 64  # the image, which the caller holds
        assert image["shape"] == [1, 3, 32, 32]
        assert (model["peak"]["eager"] - model["net"]) / model["map"] == pytest.approx(maps + rest)


class _Scripts(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_a_name_that_is_a_script_is_text(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert EVIL not in page
    assert "<title>Two &lt;b&gt;networks&lt;/b&gt;</title>" in page
    parser = _Scripts()
    parser.feed(page)
    assert [tag for tag, _ in parser.found].count("script") == 3  # record, Plotly, ours
    assert EVIL in parser.texts  # the option of the model
    assert EVIL not in (folder / MARKDOWN).read_text(encoding="utf-8")


def test_the_page_names_nothing_to_fetch(folder):
    parser = _Scripts()
    parser.feed((folder / "index.html").read_text(encoding="utf-8"))
    fetched = [
        value
        for _, attributes in parser.found
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "data", "action"}
    ]
    assert all(value.startswith(("#", "data:")) for value in fetched), fetched
    policy = next(a["content"] for _, a in parser.found if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_json_in_a_script_element_cannot_end_it():
    value = {"name": "</script><!-- &amp; -->"}
    text = script_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_an_earlier_report_is_replaced_and_nothing_else(folder, tmp_path, capsys):
    place = tmp_path / "again"
    shutil.copytree(folder, place)
    (tmp_path / "again.toml").write_text('title = "t"\nmodels = ["fmen_s"]\ninput = "16x16"\n')
    command = ["report", str(tmp_path / "again.toml")]
    (place / "notes.txt").write_text("mine")
    assert main(command) == 2
    assert "'notes.txt'" in capsys.readouterr().err
    assert (place / "two.png").exists()
    (place / "notes.txt").unlink()
    assert main(command) == 0
    left = {path.name for path in place.iterdir()}
    assert left == set(json.loads((place / DATA).read_text())["files"])
    assert "two.png" not in left


def test_an_earlier_report_stays_until_the_new_one_takes_its_place(folder, tmp_path, monkeypatch):
    """That is all that is done to it: `replace_folder` has it there at every moment."""

    def interrupted(fresh: Path, target: Path):
        assert sorted(p.name for p in fresh.iterdir()) == ["data.json", "index.html", *rest]
        raise KeyboardInterrupt

    rest = ["memory.png", "memory.svg", "table.md", "table.tex"]
    monkeypatch.setattr("srprof.report.build.replace_folder", interrupted)
    shutil.copytree(folder, tmp_path / "again")
    (tmp_path / "again.toml").write_text(
        'title = "t"\nmodels = ["fsrcnn"]\ninput = "1x1x8x8"\nsections = ["memory"]\n'
    )
    assert main(["report", str(tmp_path / "again.toml")]) == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "again.toml"]
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_a_report_that_was_killed_between_two_renames_is_put_back_first(folder, tmp_path, capsys):
    left = tmp_path / ".srprof-tmp-abcdefgh" / "earlier" / "again"
    shutil.copytree(folder, left)
    (left / "notes.txt").write_text("mine")
    (tmp_path / "again.toml").write_text('title = "t"\nmodels = ["fsrcnn"]\n')
    assert main(["report", str(tmp_path / "again.toml")]) == 2
    assert "'notes.txt'" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "again.toml"]
    assert (tmp_path / "again" / DATA).read_bytes() == (folder / DATA).read_bytes()


@pytest.mark.parametrize("kind", ["folder", "file", "no parent", "broken data"])
def test_a_place_in_use_is_refused_before_any_work(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("srprof.report.build.build", lambda *_: pytest.fail("work was done"))
    (tmp_path / "r.toml").write_text('title = "t"\nmodels = ["fmen_s"]\n')
    place = tmp_path / "out"
    if kind == "file":
        place.write_text("mine")
    elif kind == "no parent":
        place = tmp_path / "none" / "out"
    else:
        place.mkdir()
        name = "data.json" if kind == "broken data" else "mine.txt"
        (place / name).write_text("{" if kind == "broken data" else "mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", str(tmp_path / "r.toml"), "-o", str(place)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"srprof: -o {place}: ") and message.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "r.toml").write_text(
        'title = "t"\nmodels = ["fmen_s"]\ninput = "16x16"\nsections = ["peaks"]\n'
    )
    (tmp_path / "out").mkdir()
    assert main(["report", str(tmp_path / "r.toml"), "-o", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "data.json", "table.md", "table.tex", "peaks.svg", "peaks.png"}


def test_a_network_of_no_nodes_and_one_of_no_parameters(tmp_path):
    folder = tmp_path / ("far_away_" * 20)  # its name leaves figures their room
    folder.mkdir()
    (folder / "net.py").write_text(
        "from torch import nn\nclass Same(nn.Module):\n    def forward(self, x): return x\n"
    )
    (tmp_path / "r.toml").write_text(
        f'title = "t"\nmodels = ["{folder}/net.py:Same"]\ninput = "16x16"\n'
        'devices = ["gtx1080ti"]\n[[tables]]\ntitle = "T"\nmodels = ["bicubic"]\n'
        'measures = ["params_K", "time_ms"]\n'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # matplotlib's, of axes without extent
        assert main(["report", str(tmp_path / "r.toml")]) == 0
    (row,) = json.loads((tmp_path / "r" / DATA).read_text())["tables"][0]["rows"]
    assert row["figures"]["params_K"]["ours"] == 0


def test_a_wrong_model_leaves_no_folder(tmp_path, capsys):
    (tmp_path / "r.toml").write_text('title = "t"\nmodels = ["fmen_z"]\n')
    assert main(["report", str(tmp_path / "r.toml")]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


def test_the_same_report_is_the_same_but_for_its_making(tmp_path):
    table = {"title": "t", "models": ["fmen_s"], "input": "16x16", "profiles": ["a100"]}
    one, two = (
        build(decode_table(Definition, table, "r"), command).record for command in ("a", "b")
    )
    assert (one.environment.command, two.environment.command) == ("a", "b")
    assert data_json(one) == data_json(replace(two, environment=one.environment))
    assert json.loads(data_json(one)) == json.loads(json.dumps(encode(one)))


def test_tables_escape():
    table = Table((Column("a|b"), Column("50 %", "number")), (("x_1 & <y>", "~^\\"),))
    document = Document((Section("100 % & #1", table=table),))
    assert r"a\|b" in render(document, "markdown")
    assert "&lt;y>" in render(document, "markdown")
    text = render(document, "latex")
    assert r"x\_1 \& \textless{}y\textgreater{}" in text
    assert r"100 \% \& \#1" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(folder, tmp_path):
    preamble = (
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}"
        r"\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    )
    text = (folder / LATEX).read_text(encoding="utf-8")
    (tmp_path / "a.tex").write_text(f"{preamble}\n{text}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_plotly_and_matplotlib_are_loaded_only_for_the_page():
    code = (
        "import sys; from srprof.report import build, definition, record, tables; "
        "print([m for m in ('plotly', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the committed reports ------------------------------------------------------------------------


def analytic(path: Path) -> dict[str, str]:
    """The parts of a report that are computed, by file; without what made them."""
    report = build(read_definition(str(path.relative_to(ROOT))), "")
    return {DATA: data_json(report.record), MARKDOWN: markdown(report), LATEX: latex(report)}


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_committed_reports_are_what_the_command_makes(path, golden, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = ["report", str(path.relative_to(ROOT))]
    if golden.update:  # with the page and the pictures
        assert main(command) == 0
    there = path.with_suffix("")
    parts = analytic(path)
    committed = json.loads((there / DATA).read_text(encoding="utf-8"))
    files = committed.pop("files")
    assert committed.pop("environment")["command"] == shlex.join(["srprof", *command])
    made = json.loads(parts.pop(DATA))
    assert made.pop("environment")["command"] == ""
    assert made == committed
    kept = {file for file in files if not re.search(r"index\.html$|\.png$", file)}
    assert kept <= {p.name for p in there.iterdir()}
    for name, text in parts.items():
        golden(text, there / name)


def test_both_reports_are_there():
    assert {path.stem for path in REPORTS} >= {"ntire2022", "fmen_paper"}


def test_how_far_a_report_has_come_is_said():
    said: list[tuple[str, int, int]] = []
    table = {"title": "t", "models": ["fsrcnn", "bicubic"], "input": "16x16"}
    build(decode_table(Definition, table, "r"), "", lambda *what: said.append(what))
    assert said[:2] == [("analyzing fsrcnn", 0, 2), ("analyzing bicubic", 1, 2)]
    assert ("ranking bicubic", 1, 2) in said
