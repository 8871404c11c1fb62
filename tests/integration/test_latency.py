"""Predicted latency in every format: golden text, sums, pictures, and what is refused."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import sys
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

import srprof
from srprof.cli import main
from srprof.cost.estimate import estimate_costs
from srprof.cost.profiles import load_profile, needs_calibration, profile_names
from srprof.errors import InputError
from srprof.ops import FAMILIES
from srprof.render.figures import KINDS as FIGURES
from srprof.render.figures import LOOKS
from srprof.render.figures.latency import module_times, points, roofline
from srprof.render.views import VIEWS
from tests.golden_files import ROOT, without_source_lines
from tests.shown import FORMATS, shown

CASES = {
    "analyze_e_rfdn_gtx1080ti.txt": ("e_rfdn", "text", {"top": 5}),
    "analyze_fmen_s_gtx1080ti_modules.md": ("fmen_s", "markdown", {"view": "modules", "top": 8}),
}

MASKS = ROOT / "tests" / "cases" / "masks.py"
OWN = """\
title = "My card"
bandwidth = 300
cache = 4
memory = 8
sms = 20

[peak]
float32 = 5.0
"""


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    model, form, options = CASES[name]
    text = shown(srprof.analyze(model, "256x256", profile="gtx1080ti"), form, **options)
    latency = text[text.index("Latency on") :].partition("\n\nComplexity")[0] + "\n"
    golden(without_source_lines(latency), name)


@pytest.fixture(scope="module")
def e_rfdn():
    return srprof.analyze("e_rfdn", "64x64", profile="gtx1080ti")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


# -- the machine formats --------------------------------------------------------------------------


def test_json_is_the_contract(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    latency = data["latency"]
    assert latency["device"] == "gtx1080ti"
    assert set(latency) == {
        "device", "title", "predicted_ms", "uncertainty_ms", "uncertainty_from", "held_out_error",
        "overhead_ms", "overhead_share", "by_bound", "by_class", "by_module", "device_ms",
        "host_ms", "graph_ms", "unmeasured_ms", "unmeasured_nodes", "avoidable",
    }  # fmt: skip
    assert set(latency["by_class"][0]) == {
        "class", "nodes", "ms", "share", "bound", "bound_share"
    }  # fmt: skip
    assert 0 < latency["uncertainty_ms"] < latency["predicted_ms"]


def test_json_sums(e_rfdn):
    data = json.loads(shown(e_rfdn, "json"))
    latency, nodes = data["latency"], data["nodes"]
    total = latency["predicted_ms"]
    running = [node for node in nodes if node["bound"] != "free"]
    assert sum(node["predicted_us"] for node in nodes) == pytest.approx(1e3 * total)
    assert sum(c["ms"] for c in latency["by_class"]) == pytest.approx(total)
    assert sum(c["share"] for c in latency["by_class"]) == pytest.approx(1)
    assert sum(c["nodes"] for c in latency["by_class"]) == len(running)
    assert sum(latency["by_bound"].values()) == pytest.approx(total)
    assert latency["by_module"][""] == pytest.approx(total)
    assert latency["overhead_share"] == pytest.approx(latency["overhead_ms"] / total)
    for found in latency["by_class"]:
        members = [node for node in running if node["op_class"] == found["class"]]
        assert sum(n["predicted_us"] for n in members) == pytest.approx(1e3 * found["ms"])
        bound = sum(n["predicted_us"] for n in members if n["bound"] == found["bound"])
        assert bound == pytest.approx(1e3 * found["ms"] * found["bound_share"])


# -- what could be saved --------------------------------------------------------------------------


def saved(text: str) -> list[str]:
    """The lines of that section of a text."""
    return text.partition("\nCould be saved, each by itself\n")[2].partition("\n\n")[0].splitlines()


@pytest.fixture(scope="module")
def fmen_s():
    return srprof.analyze("fmen_s", "510x510", profile="h200")


def test_what_could_be_saved_in_words(fmen_s):
    """FMEN-S has 50 channels throughout, which an H200 computes slower than 64."""
    text = shown(fmen_s)
    lines = saved(text)
    costs = fmen_s.record.latency.avoidable
    assert 0 < len(lines) <= 3 and len(lines) <= len(costs)
    (wide,) = (line for line in lines if "channels" in line and "would:" in line)
    width = next(cost for cost in costs if cost.kind == "width")
    counted = f"{width.nodes} convolutions have 50 channels, which cost more than 64 would: "
    assert wide == f"{counted}{width.ms:.2f} of {width.of_ms:.2f} ms"
    device, host = fmen_s.latency.device, fmen_s.latency.host
    assert (
        f"\ndevice {1e3 * device:.2f} ms, host {1e3 * host:.2f} ms: bound by the device\n" in text
    )


def test_the_page_has_what_the_command_prints(fmen_s, golden):
    lines = [line for line in shown(fmen_s).splitlines() if line.startswith("device ")]
    example = "\n".join([*lines, "", "Could be saved, each by itself", *saved(shown(fmen_s))])
    fences = ("<!-- saved: begin -->\n```\n", "```\n<!-- saved: end -->")
    golden(f"{example}\n", ROOT / "docs" / "latency.md", fences)


def test_what_could_be_saved_as_json(fmen_s):
    """Each is what the whole estimate is without it: here, without the biases."""
    latency = json.loads(shown(fmen_s, "json"))["latency"]
    found = fmen_s.latency
    assert latency["device_ms"] == latency["graph_ms"] == 1e3 * found.device
    assert latency["host_ms"] == 1e3 * found.host
    costs = {cost["kind"]: cost for cost in latency["avoidable"]}
    without = [replace(node.cost, bias=0) for node in found.nodes]
    less = estimate_costs(without, found.profile).seconds
    assert costs["bias"]["ms"] == pytest.approx(1e3 * (found.seconds - less))
    assert costs["bias"]["nodes"] == sum(node.cost.bias > 0 for node in found.nodes)
    assert [c["ms"] for c in latency["avoidable"]] == sorted(
        (c["ms"] for c in latency["avoidable"]), reverse=True
    )
    assert srprof.analyze(fmen_s.trace).to_dict()["latency"] is None


def test_the_rest_of_a_network_that_works_on_the_cpu_has_its_line():
    """Its masks are made in main memory: most of the time, of which no graph holds anything."""
    analysis = srprof.analyze(f"{MASKS}:Swin", "256x256", profile="h200")
    text, latency = shown(analysis), analysis.record.latency
    (work,) = analysis.record.main_memory
    cost = latency.avoidable[0]
    assert (cost.kind, cost.work) == ("cpu", work)
    assert cost.ms > 0.9 * latency.predicted_ms and latency.graph_ms is None
    assert saved(text)[0] == f"{work.text}: {cost.ms:.2f} ms; {work.mend}"
    assert re.search(r"\ndevice \d+.\d+ ms, host \d+.\d+ ms: bound by the host\n", text)


def test_a_small_image_waits_for_the_host(fmen_s):
    found = srprof.analyze(fmen_s.trace.spec, "64x64", profile="h200")
    device, text = f"{1e3 * found.latency.device:.2f}", shown(found)
    assert f": bound by the host; with CUDA graphs {device}\n" in text
    assert saved(text)[0].startswith("waiting for the host: ")
    assert saved(text)[0].endswith(f"; with CUDA graphs {device} ms")


def test_how_much_no_measured_operation_is_near(fmen_s):
    """At 17x23 nearly all: the smallest of the table are larger."""
    record = srprof.analyze("fmen_s", "17x23", profile="h200").record
    latency = record.latency
    assert 0 < latency.unmeasured_nodes <= len(record.nodes)
    assert f"are of {latency.unmeasured_nodes} nodes that no measured operation is near" in shown(
        srprof.analyze("fmen_s", "17x23", profile="h200")
    )
    of_all = fmen_s.record.latency
    assert of_all.unmeasured_ms < 0.05 * of_all.predicted_ms
    plain = srprof.analyze(fmen_s.trace, profile="rtx3090").record.latency
    assert plain.unmeasured_ms is plain.unmeasured_nodes is None


def test_without_a_device_nothing_is_predicted(e_rfdn):
    plain = srprof.analyze(e_rfdn.trace)
    data = plain.to_dict()
    assert data["latency"] is None
    assert {(n["predicted_us"], n["bound"], n["op_class"]) for n in data["nodes"]} == {(None,) * 3}
    for view in VIEWS:
        text = shown(plain, "text", view=view)
        assert "predicted" not in text.replace("allocated", "")
        assert text != shown(e_rfdn, "text", view=view) or view == "peak"


def test_the_frame_and_the_csv_have_each_node_s_time(e_rfdn):
    frame = e_rfdn.to_frame()
    total = 1e6 * e_rfdn.latency.seconds
    assert frame["predicted_us"].sum() == pytest.approx(total)
    rows = list(csv.DictReader(io.StringIO(shown(e_rfdn, "csv"))))
    assert sum(float(row["predicted_us"]) for row in rows) == pytest.approx(total)
    assert {row["bound"] for row in rows} <= {"memory", "compute", "launch", "free"}
    modules = csv.DictReader(io.StringIO(shown(e_rfdn, "csv", view="modules")))
    times = {row["module"]: float(row["predicted_ms"]) for row in modules}
    assert times["(the model)"] == pytest.approx(total / 1e3)
    assert times["B1"] > times["B1.esa"] > 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_in_every_format(e_rfdn, form, view):
    assert len(shown(e_rfdn, form, view=view)) > 200


def test_a_network_of_views_alone_takes_no_time():
    from torch import nn

    analysis = srprof.analyze(nn.Flatten(), "8x8", profile="gtx1080ti")
    assert analysis.latency.seconds == 0
    for form in FORMATS:
        shown(analysis, form)
    for kind in FIGURES:
        assert kind in {"roofline", "modules"}
    assert points(analysis.latency) == []
    roofline(analysis)
    assert module_times(analysis) == {}


# -- the command ----------------------------------------------------------------------------------


def test_the_device_may_be_a_file_of_one_s_own(own, capsys):
    assert main(["analyze", "fmen_s", "--input", "64x64", "--profile", "mine.toml"]) == 0
    assert "Latency on My card, predicted" in capsys.readouterr().out


def refused(capsys, *argv: str) -> str:
    """The one line on stderr of a command whose input is wrong."""
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("srprof: ") and captured.err.count("\n") == 1
    return captured.err


ANALYZE = ("analyze", "fmen_s", "--input", "64x64")


def test_unknown_device_has_the_nearest_names(capsys):
    line = refused(capsys, *ANALYZE, "--profile", "gtx1080")
    assert "'gtx1080'" in line and "gtx1080ti" in line
    assert "rtx3090" in refused(capsys, *ANALYZE, "--profile", "3090")


def test_a_device_that_must_be_calibrated_says_how(capsys):
    line = refused(capsys, *ANALYZE, "--profile", "cpu")
    assert "srprof calibrate --device cpu -o cpu.toml" in line


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("bandwidth = 300", "", "bandwidth"),
        ("bandwidth = 300", "bandwidth = -3", "bandwidth"),
        ("bandwidth = 300", "bandwith = 300", "did you mean bandwidth?"),
        ("float32 = 5.0", "float23 = 5.0", "did you mean float32?"),
        ("float32 = 5.0", 'float32 = "fast"', "peak.float32"),
        ("sms = 20", "sms = 2.5", "sms"),
        ("[peak]", "[peak", "not valid TOML"),
        ("[peak]", "[compute]\ntile_64 = 7\n[peak]", "compute.tile_64"),
    ],
)
def test_a_broken_profile_says_which_key(own, capsys, old, new, named):
    own.write_text(OWN.replace(old, new), encoding="utf-8")
    line = refused(capsys, *ANALYZE, "--profile", "mine.toml")
    assert named in line and "mine.toml" in line


def test_a_missing_profile_is_named(capsys):
    assert "gone.toml" in refused(capsys, *ANALYZE, "--profile", "gone.toml")


def test_a_dtype_that_the_device_lacks(capsys):
    line = refused(capsys, *ANALYZE, "--profile", "gtx1080ti", "--dtype", "bfloat16")
    assert "gtx1080ti has no peak for bfloat16" in line
    with pytest.raises(InputError, match="no peak for float16"):
        srprof.analyze("fmen_s", "64x64", dtype="float16", profile="gtx1080ti")


# -- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIGURES)
def test_a_picture_beside_the_report(own, capsys, kind):
    command = (*ANALYZE, "--profile", "mine.toml", "--figure-kind", kind)
    for ending, magic in ((".svg", b"<?xml"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF")):
        path = own.with_name(f"picture{ending}")
        assert main([*command, "--figure", str(path)]) == 0
        assert path.read_bytes().startswith(magic)
    assert "Latency on My card" in capsys.readouterr().out
    text = "".join(ElementTree.parse(own.with_name("picture.svg")).getroot().itertext())
    assert "My card" in text
    assert "ms" in text


def test_the_same_picture_is_the_same_file(own):
    files = []
    for name in ("a.svg", "b.svg"):
        assert main([*ANALYZE, "--profile", "mine.toml", "--figure", name, "-o", "report.txt"]) == 0
        files.append(own.with_name(name).read_bytes())
    assert files[0] == files[1]


def test_a_picture_that_cannot_be_drawn_is_refused_before_any_work(own, capsys):
    profile = ("--profile", "mine.toml")
    assert ".svg, .png, .pdf" in refused(capsys, *ANALYZE, *profile, "--figure", "picture.bmp")
    line = refused(capsys, *ANALYZE, *profile, "--figure", "gone/a.svg")
    assert "--figure: gone/a.svg" in line
    assert "--profile" in refused(capsys, *ANALYZE, "--figure", "picture.svg")
    assert list(own.parent.iterdir()) == [own]


def test_every_family_has_a_look_of_its_own():
    assert set(LOOKS) == set(FAMILIES)
    assert len({look.color for look in LOOKS.values()}) == len(FAMILIES)
    assert len({look.marker for look in LOOKS.values()}) == len(FAMILIES)


def test_no_point_is_above_its_roof(e_rfdn):
    """Nothing is faster than the device, whichever efficiency its class has."""
    profile = e_rfdn.profile
    for point in points(e_rfdn.latency):
        roof = min(profile.peak["float32"], profile.bandwidth * point.intensity)
        assert point.speed <= roof * (1 + 1e-9)
    assert sum(p.seconds for p in points(e_rfdn.latency)) == pytest.approx(e_rfdn.latency.seconds)


def test_the_bars_are_the_whole(e_rfdn):
    for most in (1, 12, 24, 1000):
        bars = module_times(e_rfdn, most)
        total = sum(sum(times.values()) for times in bars.values())
        assert total == pytest.approx(e_rfdn.latency.seconds)
    assert len(module_times(e_rfdn, 24)) <= 24 < len(module_times(e_rfdn, 1000))
    assert next(iter(module_times(e_rfdn))) == "fea_conv"


def test_nothing_overlaps(e_rfdn):
    """The roofs' names are clear of the points, and every text is inside the picture."""
    for name in ("gtx1080ti", "a100"):
        figure = roofline(srprof.analyze(e_rfdn.trace, profile=name))
        figure.draw_without_rendering()
        axes = figure.axes[0]
        boxes = [text.get_window_extent() for text in axes.texts]
        dots = [
            axes.transData.transform(offset)
            for group in axes.collections
            for offset in group.get_offsets()
        ]
        leftmost, rightmost = min(x for x, _ in dots), max(x for x, _ in dots)
        for box in boxes:
            assert box.x1 < leftmost or box.x0 > rightmost
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        lines = sorted(box.y0 for box in boxes if box.x1 < leftmost)  # parallel, along the slopes
        assert all(b - a > 2 * 9 * figure.dpi / 72 for a, b in pairwise(lines))
        peaks = [box for box in boxes if box.x0 > rightmost]
        assert not any(a.overlaps(b) for a, b in combinations(peaks, 2))


# -- srprof devices -------------------------------------------------------------------------------


def test_devices_are_listed(capsys):
    assert main(["devices"]) == 0
    text = capsys.readouterr().out
    for name in profile_names():
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    assert "srprof calibrate --device cpu -o cpu.toml" in text
    assert re.search(r"^gtx1080ti .* 11\.34 .* 484 .* 2\.75 .* 11 .* 5 ", text, re.MULTILINE)


def test_devices_as_json_are_in_si_units(capsys):
    assert main(["devices", "--format", "json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(found) == set(profile_names())
    assert found["a100"]["bandwidth"] == load_profile("a100").bandwidth == 2039e9
    assert "calibrate" in found["cpu"]


@pytest.mark.parametrize("name", [n for n in profile_names() if not needs_calibration(n)])
def test_a_device_is_shown_with_its_sources(name, capsys):
    assert main(["devices", name]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for source in load_profile(name).source.values():
        assert " ".join(source.split()) in text
    assert main(["devices", name, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == name


def test_devices_as_markdown_have_the_sources(capsys):
    assert main(["devices", "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert "## h100: NVIDIA H100" in text
    assert "NVIDIA H100 Tensor Core GPU Architecture whitepaper" in text


def test_a_device_without_figures_says_how_to_get_them(capsys):
    assert main(["devices", "cpu"]) == 0
    assert "srprof calibrate --device cpu" in capsys.readouterr().out


def test_devices_of_one_s_own_and_unknown_ones(own, capsys):
    assert main(["devices", "mine.toml"]) == 0
    assert "My card" in capsys.readouterr().out
    assert "h200" in refused(capsys, "devices", "h20")


# -- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script, imported",
    [
        ("latency_tables", ("fit_ntire2022",)),
        ("h100_latency", ("latency_tables", "fit_ntire2022")),
        (
            "published_runtimes",
            ("latency_tables", "fit_ntire2022", "h200_peaks", "ntire2022_peaks"),
        ),
    ],
)
def test_the_tables_of_the_page_are_what_the_command_prints(
    script, imported, golden, monkeypatch
):  # fmt: skip
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in (script, *imported):
        monkeypatch.delitem(sys.modules, name, raising=False)
    tables = "\n\n".join(importlib.import_module(script).tables())
    golden(tables, ROOT / "docs" / "latency.md", (f"{script}: begin -->\n", "\n<!--"))


@pytest.mark.parametrize("name", ["analyze", "fit", "sweep"])
def test_the_older_name_of_the_argument_is_taken_and_warned_of(name):
    """`device=` of a function that runs on none."""
    arguments = {
        "analyze": ("fsrcnn", "16x16"),
        "fit": ("fsrcnn", "1MiB"),
        "sweep": ("fsrcnn", ["16"], None),
    }
    function = getattr(srprof, name)
    wanted = function(*arguments[name], profile="gtx1080ti")
    with pytest.warns(DeprecationWarning, match="device= is profile= now") as warned:
        found = function(*arguments[name], device="gtx1080ti")
    assert [Path(w.filename).name for w in warned] == ["test_latency.py"]
    if name == "sweep":
        assert found.equals(wanted) and found["latency_ms"].notna().all()
    else:
        assert found.to_dict() == wanted.to_dict()
