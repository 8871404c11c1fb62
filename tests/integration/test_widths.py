"""What other widths would cost: which arguments are widths, the table, and what cannot be built."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import srprof
from srprof import registry
from srprof.cli import main
from tests.shown import check_shown

ROOT = Path(__file__).parents[2]
SHAPE = (1, 3, 24, 24)

NET = """\
import torch.nn.functional as F
from torch import nn

with open("imports.txt", "a") as file:
    print("net.py", file=file)


class Net(nn.Module):
    def __init__(self, scale=2, nf=16, blocks=8, mid=12, kernel=9, pool=8, deep=True, name="a",
                 heads=None, **more):
        super().__init__()
        if nf % 3 == 0:
            raise ValueError(f"nf={nf} is a multiple of three")
        self.pool = pool
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(nf, mid, kernel, padding=kernel // 2), nn.Conv2d(mid, nf, 1))
            for _ in range(blocks)
        )
        self.tail = nn.Conv2d(nf, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x):
        x = self.head(x)
        for block in self.body:
            x = block(x)
        weight = F.adaptive_avg_pool2d(x, self.pool)
        return self.shuffle(self.tail(x * F.interpolate(weight, size=x.shape[2:])))
"""

LINEAR = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, dim=16, window=8):
        super().__init__()
        self.window = window
        self.body = nn.Sequential(nn.Linear(3, dim), nn.ReLU(), nn.Linear(dim, 3))

    def forward(self, x):
        n, c, h, w = x.shape
        parts = x.permute(0, 2, 3, 1).reshape(n, -1, self.window**2, c)
        x = self.body(parts)
        return (x @ x.transpose(-1, -2) @ x).reshape(n, h, w, c).permute(0, 3, 1, 2)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    return "net.py:Net"


def advised(spec: Any, **how: Any) -> srprof.Advice:
    return srprof.advise(spec, SHAPE, profile="h200", **how)


def refused(capsys: pytest.CaptureFixture[str], *options: str, code: int = 2) -> str:
    """The one line of stderr."""
    assert main(["advise", "net.py:Net", "--input", "24x24", *options]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


# -- which arguments are widths -------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["net.py:Net", "net.py:Net(2, 16)", "net.py:Net(mid=12, nf=16)"])
def test_arguments_are_widths_that_change_the_channels_and_no_calls(net: str, spec: str):
    """Not numbers of blocks, kernels, sizes, scales, switches, or what is no whole number."""
    found = advised(spec).widths
    assert [(w.name, w.present) for w in found] == [("nf", 16), ("mid", 12)]
    assert [[row.value for row in w.rows] for w in found] == [[8, 16, 32], [8, 12, 16, 32]]
    assert all(w.now.spec == spec for w in found)


def test_linear_layers_have_widths_and_windows_are_none(tmp_path: Path):
    (tmp_path / "net.py").write_text(LINEAR, encoding="utf-8")
    assert [w.name for w in advised(f"{tmp_path}/net.py:Net").widths] == ["dim"]


def test_the_code_is_imported_once_for_all_widths(net: str, tmp_path: Path):
    srprof.advise(net, SHAPE)
    alone = (tmp_path / "imports.txt").read_text().count("net.py")
    (tmp_path / "imports.txt").unlink()
    advised(net, widths="nf=8..20")
    assert (tmp_path / "imports.txt").read_text().count("net.py") == alone


@pytest.mark.parametrize("model", ["bicubic", "idn", torch.nn.Conv2d(3, 64, 3)])
def test_a_network_without_widths_says_so(model: Any):
    advice = srprof.advise(model, (1, 3, 24, 24), profile="h200")
    assert advice.widths == () and "no argument of the network is a width" in str(advice)


def test_without_a_profile_nothing_is_tried(net: str):
    advice = srprof.advise(net, SHAPE)
    assert advice.widths == () and "width" not in str(advice)
    assert (advice.to_dict()["profile"], advice.to_dict()["widths"]) == (None, [])


def test_a_line_for_each_width_says_what_others_would_cost():
    advice = advised("fmen_s")
    found = advice.widths[0]
    said = {
        row.value: f"{row.latency_ms:.2f}{' (best)' if row is found.best else ''}"
        for row in found.rows
    }
    line = f"n_feats=50: {said[50].replace(' (best)', '')} ms{' (best)' * (found.best.value == 50)}"
    assert f"{line}; 48 would cost {said[48]}, 56 {said[56]}, 64 {said[64]}\n" in str(advice)


# -- a table --------------------------------------------------------------------------------------


def test_each_row_is_an_analysis_of_its_network(net: str, capsys: pytest.CaptureFixture[str]):
    options = ["--profile", "h200", "--dtype", "float16", "--widths", "nf=13..20:2"]
    assert main(["advise", net, "--input", "24x24", *options, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (found,) = data["widths"]
    assert (data["profile"], found["name"], found["present"]) == ("h200", "nf", 16)
    assert [row["value"] for row in found["rows"]] == [13, 15, 16, 17, 19]
    for row in found["rows"]:
        if row["value"] == 15:
            assert row["error"].endswith("nf=15 is a multiple of three")
            assert "ValueError at net.py:13" in row["error"] and row["latency_ms"] is None
            continue
        assert row["error"] is None and row["same_size"]
        spec = f"net.py:Net(nf={row['value']})"
        assert row["spec"] == ("net.py:Net" if row["value"] == 16 else spec)
        analysis = srprof.analyze(spec, SHAPE, dtype="float16", profile="h200")
        for name in ("latency_ms", "allocated", "params", "flops", "macs"):
            assert row[name] == pytest.approx(analysis.value(name), rel=1e-12), name
    times = {row["value"]: row["latency_ms"] for row in found["rows"] if row["latency_ms"]}
    assert found["best"] == min((v for v in times if v >= 16), key=lambda v: (times[v], -v))


def test_the_table_is_shown_in_every_form(net: str):
    advice = advised(net, widths="nf=14..17")
    check_shown(advice, "nf", "17")
    assert [row[0] for row in advice.document().table.rows] == [14, 16, 17]
    assert "nf=15: " in str(advice) and "is a multiple of three" in str(advice)


def test_how_many_widths_were_tried_is_said(net: str):
    said: list[tuple[str, int, int]] = []
    advised(net, widths="nf=16..20:2", progress=lambda *what: said.append(what))
    widths = [one for one in said if one[0] == "widths of Net"]
    assert said[0] == ("recording the run", 0, 1)
    assert widths == [("widths of Net", n, 2) for n in (0, 1)]


def test_other_scales_are_no_widths_of_one_network(net: str):
    assert "scale=3: the results are not as large as now" in str(advised(net, widths="scale=3"))


def test_a_checkpoints_weights_are_left_out(net: str, tmp_path: Path):
    torch.save(registry.find("fsrcnn").load()(d=16).state_dict(), tmp_path / "w.pth")
    advice = srprof.advise(
        "fsrcnn(d=16)", (1, 1, 16, 16), weights="w.pth", profile="h200", widths="d=24"
    )
    assert [row.value for row in advice.widths[0].rows] == [16, 24]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("profile", ["h200", "rtx3090", "gtx1080ti"])
def test_a_network_of_no_channels_inside_is_a_row(profile: str):
    """FMEN-S's warm-up is 4 narrower than its `mid_feats`."""
    advice = srprof.advise("fmen_s", SHAPE, profile=profile, widths="mid_feats=3,4")
    found = {row.value: row for row in advice.widths[0].rows}
    assert "negative dimension" in found[3].error
    assert not found[4].error and 0 < found[4].latency_ms <= found[16].latency_ms


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ("nff=8..16", "Net has no hyper-parameter 'nff'; did you mean nf?"),
        ("channels=8", "Net has no hyper-parameter 'channels'; known: scale, nf, blocks, mid"),
        ("nf=16..8", "range '16..8' ends before it begins"),
        ("nf=8..", "'8..' is no range"),
        ("nf", "write NAME=VALUES"),
        ("nf=", "a value is missing"),
        ("nf=0..8", "0 is no width; write whole numbers of at least 1"),
        ("nf=8.5", "8.5 is no width"),
        ("nf=True", "True is no width"),
        ("nf=1..2000000", "too many"),
        ("name=8", "name is 'a' here, and no whole number; those that are: scale, nf, blocks"),
        ("heads=8", "heads is None here"),
        ("deep=8", "deep is True here"),
    ],
)
def test_bad_widths_are_one_line(
    net: str, widths: str, message: str, capsys: pytest.CaptureFixture[str]
):
    said = refused(capsys, "--profile", "h200", "--widths", widths)
    assert "--widths" in said and message in said


def test_widths_need_a_profile_and_are_no_diff(net: str, capsys: pytest.CaptureFixture[str]):
    assert "give --profile too" in refused(capsys, "--widths", "nf=8")
    assert "leave --widths out" in refused(capsys, "--widths", "nf=8", "--diff")
    assert "unknown profile" in refused(capsys, "--widths", "nf=8", "--profile", "h2")
    with pytest.raises(srprof.InputError, match="give --profile too"):
        srprof.advise(net, SHAPE, widths="nf=8")


def test_where_no_width_can_be_built_the_first_says_why(
    net: str, capsys: pytest.CaptureFixture[str]
):
    said = refused(capsys, "--profile", "h200", "--widths", "nf=9,12", code=3)
    assert "nf=9 is a multiple of three" in said
    assert "scale=5 does not exist" in refused_zoo(capsys)


def refused_zoo(capsys: pytest.CaptureFixture[str]) -> str:
    options = ["--input", "24x24", "--profile", "h200", "--widths", "scale=5"]
    assert main(["advise", "fmen_s", *options]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("model", [torch.nn.Conv2d(3, 8, 3), "net.py:built"])
def test_a_network_that_is_built_already_has_no_widths(net: str, model: Any, tmp_path: Path):
    with (tmp_path / "net.py").open("a") as file:
        file.write("\n\nbuilt = Net()\n")
    with pytest.raises(srprof.InputError, match="takes no arguments; name a factory"):
        advised(model, widths="nf=8")


# -- against what was measured --------------------------------------------------------------------


@pytest.fixture
def best_widths(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "best_widths", raising=False)
    return importlib.import_module("best_widths")


def test_the_best_width_is_that_of_the_measured_convolutions_summed(best_widths, golden):
    """At 510x510 on an H200, of 26 widths; and FMEN-S's, whichever is the present one."""
    sums = best_widths.saved()
    found = list(best_widths.pairs(sums))
    assert len(found) == 6 and all(len(both[0].rows) == 26 for _, *both in found)
    assert {k: p.best.value for k, p, _ in found} == {k: m.best.value for k, _, m in found}
    for key, *both in found:
        if key.startswith("fmen_s"):
            assert max(best_widths.from_each(*both)) < 0.01
    page = ROOT / "docs" / "advice.md"
    golden(
        "\n\n".join(best_widths.tables(sums)),
        page,
        ("best_widths: begin -->\n", "\n<!-- best_widths: end"),
    )


def test_the_sums_are_those_of_the_measured_rows(best_widths):
    from srprof.calibration.table import read_lines

    raw = ROOT.parent / "shared" / "data" / "h200_ops.jsonl.gz"
    if not raw.is_file():
        pytest.skip("the measured data are not beside the project")
    rows = best_widths.rows_of(read_lines(raw)[0])
    sums = best_widths.saved()
    assert best_widths.widths_of(rows) == [int(width) for width in sums["imdn float16"]]
    for name, argument in best_widths.NETWORKS.items():
        for width in (50, 64):
            made = best_widths.summed(rows, f"{name}({argument}={width})", "float16")
            assert round(made, 3) == sums[f"{name} float16"][str(width)]
