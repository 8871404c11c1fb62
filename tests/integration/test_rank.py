"""`srprof rank`: models, records, tables, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from srprof.challenge.years import SIZES, YEARS
from srprof.cli import main
from srprof.compare import scoring
from srprof.compare.entries import predicted, trace_model
from srprof.compare.rank import _admitted
from srprof.compare.ranking import METRICS, Cell, Entry, Origin
from srprof.cost.profiles import load_profile
from srprof.figures import peak_names
from srprof.registry import find
from srprof.render.views.ranking import document, ordinal
from srprof.render.writers import render
from srprof.render.writers.latex import escaped as latex_escaped
from tests.golden_files import ROOT

RECORDS = ROOT / "benchmarks" / "records" / "cpu-amd-epyc"
RECORD = str(RECORDS / "fmen_s_64x64_float32.json")
#: The networks of FMEN's Table 4.
TABLE_4 = ("imdn", "e_rfdn", "rlfn", "neesr", "repafdn", "megsr", "rainbow", "fmen_s")

CASES = {
    "rank.txt": ["--ranks"],
    "rank.md": ["--ranks", "--format", "markdown"],
    "rank.tex": ["--ranks", "--format", "latex"],
    "rank.json": ["--format", "json"],
    "rank_ntire2022.txt": ["fmen_s", "rainbow", "--with", "ntire2022", "--scoring", "sub2"],
    "rank_ntire2026.txt": ["fmen_s", "--with", "ntire2026"],
}


def read(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    assert main(["rank", *argv, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def by_name(data: dict) -> dict[str, dict]:
    return {row["name"]: row for row in data["rows"]}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden, capsys: pytest.CaptureFixture[str]):
    assert main(["rank", *CASES[name]]) == 0
    golden(capsys.readouterr().out, name)


@pytest.mark.parametrize("arguments, runs", [(["--input", "64x64"], 1), ([], 3)])
def test_each_model_is_run_once_at_each_size(arguments, runs, monkeypatch, capsys):
    from srprof.tracing import run

    asked = []
    run_once = run._run_once
    monkeypatch.setattr(run, "_run_once", lambda *a: asked.append(a) or run_once(*a))
    assert main(["rank", "fmen_s", "imdn", *arguments]) == 0
    assert len(asked) == 2 * runs


def test_table_4_has_the_published_digits(capsys: pytest.CaptureFixture[str]):
    rows = by_name(read(capsys, *TABLE_4))
    names = {"params": "params_M", "flops": "flops_G", "activations": "activations_M"}
    for name in TABLE_4:
        published = find(name).published[4]
        for metric, theirs in names.items():
            written = METRICS[metric].written(rows[name][metric])
            assert written == f"{published[theirs]:.{METRICS[metric].decimals}f}", (name, metric)
        assert rows[name]["convs"] == published["convs"]
        assert rows[name]["psnr_dB"] == published["psnr_dB"]
        assert rows[name]["origins"]["psnr_dB"]["kind"] == "published"
        assert rows[name]["origins"]["params"]["kind"] == "predicted"


def test_who_is_the_smallest_depends_on_what_is_counted(capsys: pytest.CaptureFixture[str]):
    """Issue 6: FMEN-S by the published number; NEESR and ByteESR are smaller by `planned`."""
    order = {}
    for memory in peak_names():
        rows = by_name(read(capsys, *TABLE_4, "--memory", memory))
        order[memory] = sorted(rows, key=lambda name: rows[name]["ranks"]["memory"])
        assert all(row["memory"] == row["peaks"][memory] for row in rows.values())
    published = sorted(TABLE_4, key=lambda name: find(name).published[4]["memory_MiB"])
    assert published[0] == order["eager"][0] == order["allocated"][0] == "fmen_s"
    assert order["planned"][:3] == ["neesr", "rlfn", "fmen_s"]
    assert main(["rank", *TABLE_4]) == 0
    text = capsys.readouterr().out
    assert re.search(r"By memory, planned: neesr [\d.]+, rlfn [\d.]+, fmen_s", text)
    assert re.search(r"By memory, allocated: fmen_s", text)


def test_in_the_field_of_2022(capsys: pytest.CaptureFixture[str]):
    data = read(capsys, "fmen_s", "--with", "ntire2022")
    rows = by_name(data)
    assert len(rows) == 46
    # the same network: nothing is lost to the rounding of its published figures
    for metric in ("params", "flops", "activations"):
        assert rows["fmen_s"]["ranks"][metric] == rows["NJU_Jet"]["ranks"][metric]
    (placement,) = data["placements"]
    assert placement["ranks"] == rows["fmen_s"]["ranks"]
    assert main(["rank", "fmen_s", "--with", "ntire2022"]) == 0
    text = capsys.readouterr().out
    head, _, row = text.partition("Places in the field\n")[2].splitlines()[2:5]
    places = dict(zip(re.split("  +", head), row.split(), strict=True))
    said = {metric: ordinal(rank) for metric, rank in rows["fmen_s"]["ranks"].items()}
    columns = {"params": "Params", "flops": "FLOPs", "runtime_ms": "Runtime", "memory": "Memory"}
    assert {metric: places[name] for metric, name in columns.items()} == {
        m: said[m] for m in columns
    }
    assert places["Main track"] == ordinal(rows["fmen_s"]["tracks"]["main"]["place"])
    assert "beside 35 ranked rows" in text
    assert "10 rows without a place" in text


def test_a_table_goes_by_the_rules_of_its_year(capsys: pytest.CaptureFixture[str]):
    """RLFN has 19.70 G by 2022's count and 19.67 by fvcore's, as 2024's baseline."""
    rows = {}
    for name in ("ntire2022", "ntire2026"):
        data = read(capsys, "rlfn", "--with", name, "--input", "256x256")
        rows[name] = by_name(data)["rlfn"]
        assert data["scoring"]["name"] == YEARS[name].scoring
        assert rows[name]["origins"]["runtime_ms"]["device"] == YEARS[name].profile
    flops = {name: METRICS["flops"].written(row["flops"]) for name, row in rows.items()}
    assert flops == {"ntire2022": "19.70", "ntire2026": "19.67"}
    assert "FLOPs by the rules of fvcore" in rows["ntire2026"]["origins"]["flops"]["what"]
    assert rows["ntire2022"]["tracks"].keys() == {"main", "sub1", "sub2"}
    assert rows["ntire2026"]["tracks"].keys() == {"ntire2026"}
    # 29.00 dB are of DIV2K's images, and those of 2026 are others
    assert rows["ntire2022"]["psnr_dB"] and rows["ntire2026"]["psnr_dB"] is None


def test_the_year_of_a_scoring_and_what_is_said_of_another(capsys: pytest.CaptureFixture[str]):
    data = read(capsys, "rlfn", "--scoring", "ntire2024", "--input", "256x256")
    (row,) = data["rows"]
    assert row["origins"]["runtime_ms"]["device"] == "rtx3090"
    assert any("26.90 dB (valid) and 26.99 dB (test)" in note for note in data["notes"])
    arguments = ["--with", "ntire2022", "--scoring", "ntire2026", "--input", "256x256"]
    notes = read(capsys, "rlfn", *arguments)["notes"]
    assert any("FLOPs are those of NTIRE 2022, and NTIRE 2026 counts others" in n for n in notes)
    notes = read(capsys, "rlfn", "--with", "ntire2026", "--profile", "rtx3090", *arguments[-2:])
    assert any("of an RTX A6000, predicted for rtx3090" in note for note in notes["notes"])


WARMED = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, warm=True):
        super().__init__()
        self.body = nn.Conv2d(3, 16, 3, padding=1)
        if warm:
            self.cuda()
            self(torch.rand(1, 3, 128, 128).cuda())

    def forward(self, x):
        return self.body(x)
"""


def test_what_building_a_network_takes_is_in_the_challenges_memory(tmp_path, monkeypatch, capsys):
    """The counter begins with the program: a pass in the constructor may be all of the peak."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(WARMED)
    specs = ["net.py:Net", "net.py:Net(warm=False)"]
    data = read(capsys, *specs, "--with", "ntire2026", "--input", "32x32")
    warmed, plain = (by_name(data)[spec] for spec in specs)
    assert warmed["memory"] > 16 * 128 * 128 * 4 > plain["memory"]
    assert "while the network is built" in warmed["origins"]["memory"]["what"]
    (note,) = [note for note in data["notes"] if "what building it takes" in note]
    assert note.startswith("net.py:Net: memory is")


def test_a_row_below_the_floor_of_its_year_has_no_place():
    origin = Origin("measured")
    rows = [Entry(str(p), {"psnr_dB": Cell(p, origin)}) for p in (26.894, 26.896, 29.0)]
    low, high, _ = (_admitted(row, YEARS["ntire2026"]) for row in rows)
    assert (low.ranked, high.ranked) == (False, True)
    assert low.notes == (
        "no place, its 26.89 dB are below 26.90, which NTIRE 2026 asks for on DIV2K_LSDIR_valid",
    )
    assert _admitted(rows[0], YEARS["ntire2022"]).ranked


def test_a_published_row_may_have_the_name_of_a_model(capsys: pytest.CaptureFixture[str]):
    data = read(capsys, "rainbow", "--with", "ntire2022")
    assert [r["reference"] for r in data["rows"] if r["name"] == "rainbow"].count(None) == 1
    assert sum(r["name"] == "rainbow" for r in data["rows"]) == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--memory", "planned"], "Published memory is"),
        (["--input", "64x64"], "Published figures are of the challenge's images"),
        (["--profile", "rtx3090"], "Published runtimes are of the challenge's card"),
    ],
)
def test_what_does_not_compare_with_published_figures_is_said(arguments, said, capsys):
    assert main(["rank", "fmen_s", "--with", "ntire2022", *arguments]) == 0
    assert said in capsys.readouterr().out


def test_a_record_takes_the_place_of_what_was_predicted(capsys: pytest.CaptureFixture[str]):
    record = json.loads(Path(RECORD).read_text())
    arguments = ["fmen_s", "imdn", "--input", "64x64", "--record", RECORD]
    rows = by_name(read(capsys, *arguments))
    origins = rows["fmen_s"]["origins"]
    assert rows["fmen_s"]["runtime_ms"] == record["latency"]["value_ms"]
    assert rows["fmen_s"]["memory"] == record["memory"]["cold"]["max_allocated"]
    for metric in ("runtime_ms", "memory"):
        assert origins[metric]["kind"] == "measured"
        assert origins[metric]["device"] == record["device"]["name"]
        assert origins[metric]["source"] == RECORD
    assert rows["imdn"]["origins"]["runtime_ms"]["kind"] == "predicted"
    assert main(["rank", *arguments]) == 0
    assert "Runtimes are of different devices" in capsys.readouterr().out
    # what a device reports is no measure of planned memory
    rows = by_name(read(capsys, *arguments, "--memory", "planned"))
    assert rows["fmen_s"]["origins"]["memory"]["kind"] == "predicted"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_is_printed_can_be_ranked_again(form, tmp_path, capsys):
    path = str(tmp_path / f"results.{form}")
    assert main(["rank", "fmen_s", "imdn", "--format", form, "-o", path]) == 0
    first, again = by_name(read(capsys, "fmen_s", "imdn")), by_name(read(capsys, "--from", path))
    for name, row in first.items():
        assert again[name]["ranks"] == row["ranks"]
        assert {m: again[name][m] for m in METRICS} == pytest.approx(
            {m: row[m] for m in METRICS}, abs=1e-6
        )
        assert {o["kind"] for o in again[name]["origins"].values()} == {"given"}


def test_csv_has_every_value_with_its_origin(capsys: pytest.CaptureFixture[str]):
    assert main(["rank", "fmen_s", "--with", "ntire2022", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 46
    for row in rows:
        kind = "published" if row["reference"] else "predicted"
        assert all(row[f"origin_{m}"].startswith(kind) for m in METRICS if m != "psnr_dB")
    (ours,) = [row for row in rows if not row["reference"]]
    assert ours["params"] == "341066"
    assert ours["rank_memory"] == "1"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fmen_s", "imdn", "fmen_s"], "two models are called 'fmen_s'"),
        (["fmen_s", "--scoring", "sub3"], "there is no scoring 'sub3'"),
        (["fmen_s", "--with", "ntire2023"], "--with ntire2023: its rows are not public"),
        (["fmen_s", "--with", "ntire2024"], "baseline's row alone"),
        (["fmen_s", "--with", "ntire2027"], "did you mean ntire2026"),
        (["fmen_s", "--scoring", "ntire2023"], "has neither a formula nor rows; there is main"),
        (["fmen_s", "--profile", "rtx309"], "did you mean rtx3090"),
        (["fmen_s", "--input", "big"], "is not a size"),
        (["imdn", "--record", RECORD], "is of fmen_s, which is not among the models"),
        (["fmen_s", "--record", RECORD], "give --input with the record's size"),
        (["--from", "nowhere.csv"], "--from nowhere.csv cannot be read: No such file"),
        (["--from", "empty.json"], "has no rows"),
        (["--from", "words.csv"], "row 2 (b), column memory_MiB: 'little' is no number"),
        (["--from", "short.csv"], "has no column flops_G, runtime_ms"),
        (["--from", "twice.csv"], "two models are called 'a'"),
        (["fmen_s", "-o", "no/such/folder.txt"], "there is no folder"),
    ],
)
def test_complaints(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    head = "name,params_M,flops_G,runtime_ms,memory_MiB,activations_M\n"
    Path("empty.json").write_text("[]")
    Path("words.csv").write_text(f"{head}a,1,2,3,4,5\nb,1,2,3,little,5\n")
    Path("short.csv").write_text("name,params_M\na,1\n")
    Path("twice.csv").write_text(f"{head}a,1,2,3,4,5\na,2,2,3,4,5\n")
    assert main(["rank", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_psnr_is_of_the_published_network_only():
    device = load_profile("ntire2022")
    for spec, known in (("imdn", True), ("imdn(nf=32)", False), ("fmen_s(scale=2)", False)):
        entry = predicted(trace_model(spec, SIZES), device, "eager")
        assert ("psnr_dB" in entry.cells) == known


# -- drawing --------------------------------------------------------------------------------------

ODD = "<script>alert(1)</script> a|b **x** 100% _$&#{}~^\\ `c` \x1b[31m"


def made_up(*names: str) -> scoring.Standing:
    origin = Origin("given", source=f"{ODD}.csv")
    entries = [
        Entry(name, {metric: Cell(i + 1.0, origin) for metric in METRICS})
        for i, name in enumerate(names)
    ]
    return scoring.standing(entries, scoring.find("main"))


def test_names_cannot_break_a_table():
    text = render(document(made_up(ODD, "b")))
    page = render(document(made_up(ODD, "b")), "markdown")
    assert "\x1b" not in text + page
    assert "<script" not in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert len(cells) == 1


def test_every_cell_has_a_footnote_at_its_value_row_or_column():
    (section,) = document(made_up("a", "b")).sections
    letters = {letter for letter, _ in section.footnotes}
    assert letters == {"a"}
    assert all(row[1].note == "a" for row in section.table.rows)


def test_a_terminal_gets_colour():
    ranking = made_up("a", "b")
    coloured = render(document(ranking), "rich", 200)
    assert "\x1b[1;32m" in coloured and "\x1b[4;36m" in coloured
    assert "1.00*" in render(document(ranking))


def test_a_standing_shows_itself():
    ranking = made_up("a", "b")
    assert repr(ranking) == "<Standing of 2 models by main track: by runtime>"
    assert str(ranking) == render(document(ranking)).rstrip("\n")
    assert '<span class="best">' in ranking._repr_html_()


def test_later_years_say_what_their_scores_are_not(capsys: pytest.CaptureFixture[str]):
    assert main(["rank", "rlfn", "fmen_s", "--profile", "rtx3090", "--scoring", "ntire2024"]) == 0
    text = capsys.readouterr().out
    assert "of an RTX 3090" in text and "NTIRE2024_ESR" in text


def test_latex_compiles(tmp_path: Path):
    engine = next((e for e in ("tectonic", "pdflatex", "lualatex") if shutil.which(e)), None)
    if engine is None:
        pytest.skip("no TeX is installed: none of tectonic, pdflatex, lualatex")
    table = render(document(made_up(ODD, "b"), ranks=True), "latex")
    packages = "".join(rf"\usepackage{p}" for p in ("[T1]{fontenc}", "{booktabs}", "{graphicx}"))
    page = rf"\documentclass{{article}}{packages}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "table.tex").write_text(page, encoding="utf-8")
    options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [engine, *options, "table.tex"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_is_balanced_and_escaped():
    table = render(document(made_up(ODD, "b"), ranks=True), "latex")
    body = table.partition("\n")[2]  # after the comment that names the packages
    plain = re.sub(r"\\.", "", body)
    assert plain.count("{") == plain.count("}")
    assert not set("#$_^") & set(plain)
    assert plain.count("%") == 1  # the line end that \resizebox needs
    rows = re.findall(r"(?m)^    .* \\\\$", body)
    assert len(rows) == 3
    assert len({row.count(" & ") for row in rows}) == 1
    assert latex_escaped("50%_\\") == r"50\%\_\textbackslash{}"


def test_a_row_of_unknown_quality_is_placed_by_cost(capsys: pytest.CaptureFixture[str]):
    spec = "fmen_s(up_blocks=(1,))"  # another network than the one with a published PSNR
    assert main(["rank", spec, "fmen_s", "--with", "ntire2022"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"^ *\d+ by cost +{re.escape(spec)} ", printed, re.MULTILINE)
    assert not re.search(r"by cost +fmen_s ", printed)
    assert f"The quality of {spec} is not known: by cost alone." in printed
    assert f"{spec} (by cost)" in printed and "fmen_s (by cost)" not in printed
    rows = by_name(read(capsys, spec, "fmen_s"))
    assert [rows[name]["by_cost"] for name in (spec, "fmen_s")] == [True, False]
