"""`srprof ablate`: the paper's studies in small, their table, and what is wrong with a study.

That every variant falls below bicubic's L1 takes minutes: `srprof ablate
reports/ablation/blocks_tiny.toml` and `attention_tiny.toml`, whose tables stand beside them. Here
one of them is trained for as long, and all of them for a few steps.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import srprof
from srprof.cli import main
from srprof.files import parse_toml, read_toml
from srprof.render.writers import formats, render
from srprof.training.ablation import ablate
from srprof.training.study import Study, parse_study, read_study
from tests.shown import check_shown
from tests.terminals import check_terminals

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "reports" / "ablation").glob("*.toml"))
TINY = [path for path in STUDIES if path.stem.endswith("_tiny")]

STUDY = """
title = "Two"
output = "{output}"
input = "32x32"

[training]
data = "skimage"
crop = 96
held_out = 32
iterations = 3
batch = 2
patch = 16

[[variants]]
name = "FMEN"
model = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1, 1))"

[[variants]]
name = "Baseline + ESA"
model = "fmen_baseline(scale=2, nf=16, blocks=3, attention='esa')"
training = {{ lr = 1e-3 }}
"""


def write_study(folder: Path) -> str:
    file = folder / "study.toml"
    file.write_text(STUDY.format(output=folder / "runs"))
    return str(file)


def small(path: Path, folder: Path, **training: object) -> Study:
    """A committed study with another output and other training."""
    table = read_toml(path)
    base = {**table["training"], **training}
    return parse_study({**table, "output": str(folder), "training": base}, path.name)


def test_there_are_two_studies_in_two_sizes():
    assert [p.stem for p in STUDIES] == ["attention", "attention_tiny", "blocks", "blocks_tiny"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_full_and_tiny_have_the_same_variants(path):
    full = path.with_name(path.name.replace("_tiny", ""))
    names = [[v.name for v in read_study(str(p)).variants] for p in (path, full)]
    assert names[0] == names[1]


def test_the_full_studies_are_the_paper_s():
    """Params of Table 2's rows, and the recipe."""
    blocks, attention = (read_study(str(ROOT / f"reports/ablation/{n}.toml")) for n in
                         ("blocks", "attention"))  # fmt: skip
    params = [
        srprof.analyze(v.training.model, "32x32").complexity.parameters / 1e3
        for v in attention.variants
    ]
    for ours, published in zip(params, (779, 782, 784, 769), strict=True):
        assert abs(ours - published) < 1  # the baseline's digits are cut off, not rounded
    config = blocks.variants[3].training
    assert (config.batch, config.patch, config.iterations) == (64, 64, 3_000_000)
    assert (config.lr, config.halve_every, config.betas) == (5e-4, 600_000, (0.9, 0.999))
    assert [config.lr_at(i) for i in (0, 599_999, 600_000, 2_999_999)] == [
        5e-4, 5e-4, 2.5e-4, 5e-4 / 16,
    ]  # fmt: skip


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_every_variant_of_the_paper_s_studies_trains(path, tmp_path):
    """A few steps each, of the committed studies."""
    study = small(path, tmp_path, iterations=30, batch=2, crop=96, held_out=32, log_every=5)
    found = ablate(study)
    for outcome in found.outcomes:
        log = Path(outcome.variant.training.output, "log.csv").read_text()
        losses = [float(row["loss"]) for row in csv.DictReader(io.StringIO(log))]
        assert losses[-1] < losses[0] / 1.5, outcome.variant.name
        assert outcome.result.merged is not None and outcome.result.merged.agrees


def test_one_variant_falls_below_bicubic(tmp_path):
    """EDSR-baseline with RB of the tiny studies, for half as long as there."""
    path = ROOT / "reports/ablation/blocks_tiny.toml"
    study = small(path, tmp_path, iterations=1500, halve_every=500)
    found = ablate(Study(study.title, study.note, study.input, study.variants[:1]))
    (outcome,) = found.outcomes
    assert outcome.below_bicubic and outcome.result.score.l1 < found.bicubic.l1
    assert outcome.result.score.psnr > found.bicubic.psnr


def test_the_table_in_every_format(tmp_path, capsys, golden):
    study = write_study(tmp_path)
    made = ablate(read_study(study))
    check_shown(made, "Baseline + ESA", f"{made.bicubic.psnr:.2f}", f"{made.bicubic.l1:.5f}")
    check_terminals("ablate", made.document(), golden)
    printed = {form: render(made.document(), form) for form in formats()}
    assert main(["ablate", study, "--format", "csv"]) == 0
    assert capsys.readouterr().out == printed["csv"]
    found = json.loads(printed["json"])
    assert found["schema"] == 1 and found["scale"] == 2
    fmen, esa = found["variants"]
    analysis = srprof.analyze(fmen["model"], "32x32")
    assert fmen["params"] == analysis.complexity.parameters
    assert fmen["flops_ntire"] == analysis.complexity.flops_ntire
    assert fmen["peak"] == analysis.memory.eager.nbytes
    step = srprof.analyze_training(fmen["model"], (2, 3, 16, 16), granularity=1)
    assert fmen["training_peak"] == step.peak
    assert fmen["run"]["config"]["lr"] == 5e-4 and esa["run"]["config"]["lr"] == 1e-3
    rows = list(csv.DictReader(io.StringIO(printed["csv"])))
    assert [r["variant"] for r in rows] == ["bicubic", "FMEN", "Baseline + ESA"]
    assert [float(r["psnr_dB"]) for r in rows] == [
        found["bicubic"]["psnr_dB"], fmen["validation"]["psnr_dB"], esa["validation"]["psnr_dB"],
    ]  # fmt: skip
    for form in ("text", "markdown", "html", "latex"):
        assert f"{fmen['validation']['psnr_dB']:.2f}" in printed[form]
        assert "Baseline + ESA" in printed[form]
    assert printed["markdown"].startswith("# Two\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Two"', "", "title is missing"),
        ('title = "Two"', 'titel = "Two"', "unknown key titel; did you mean title?"),
        ('name = "FMEN"', 'nam = "FMEN"', "variant 1: unknown key nam; did you mean name?"),
        ('name = "FMEN"', 'name = "Baseline + ESA"', "two variants have the name"),
        ('name = "FMEN"', 'name = "baseline_+ ESA"', "two variants have the folder"),
        ("lr = 1e-3", "lrr = 1e-3", "variant 'Baseline + ESA': unknown key lrr; did you mean lr?"),
        ("lr = 1e-3", "crop = 3", "crop is the same for all variants"),
        ("batch = 2", 'batch = 2\nmodel = "fmen"', "model is not of training here"),
        ("fmen(scale=2", "fmen(scale=3", "the variants enlarge differently (FMEN x3, Baseline"),
        ("fmen(", "fmenn(", "variant 'FMEN': model: no network is called 'fmenn'"),
        ('"skimage"', '"nowhere"', "variant 'FMEN': data nowhere: cannot be read"),
        ('input = "32x32"', 'input = "32x"', "is not a size"),
    ],
)
def test_a_study_that_cannot_be(old, new, message, tmp_path, capsys):
    file = Path(write_study(tmp_path))
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    parse_toml(file.read_text())
    assert main(["ablate", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_study_without_variants(tmp_path, capsys):
    file = Path(write_study(tmp_path))
    file.write_text(file.read_text().partition("[[variants]]")[0])
    assert main(["ablate", str(file)]) == 2
    assert "variants is missing" in capsys.readouterr().err
