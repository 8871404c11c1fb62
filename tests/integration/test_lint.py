"""`srprof lint`: made-up entries that are well, and that are not, by a SPEC and by a script."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import srprof
from srprof.challenge.years import YEARS, score
from srprof.cli import main
from srprof.linting.record import Lint
from tests.made_up_images import photograph, save

WELL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=8):
        super().__init__()
        self.head = nn.Conv2d(3, nf, 3, padding=1)
        self.tail = nn.Conv2d(nf, 48, 1)
        self.up = nn.PixelShuffle(4)
        {line}

    def forward(self, x):
        y = self.up(self.tail(self.head(x).relu()))
        return (y + nn.functional.interpolate(x, scale_factor=4)).clamp(0, 1)
"""
#: Lines of a constructor, each with the checks that it fails, and those that it warns of.
LINES = {
    "pass": ("", ""),
    "self.cuda()(torch.randn(1, 3, 32, 32).cuda())": ("without-gpu constructor", ""),
    "self(torch.randn(1, 3, 32, 32))": ("constructor", ""),
    "torch.cuda.is_available() and self.cuda()(torch.randn(1, 3, 32, 32).cuda())":
        ("constructor", "without-gpu"),
    "import socket; socket.create_connection(('example.org', 80))":
        ("builds without-network", ""),
    "import subprocess; subprocess.run(['python', '-c', ''])": ("builds", ""),
    "import nowhere_at_all": ("packages builds", ""),
    "self.up = nn.PixelShuffle(2)": ("size values", ""),
    "self.tail.weight.data.fill_(float('nan'))": ("values", ""),
    "self.head = nn.Sequential(nn.ReflectionPad2d(6), nn.Conv2d(3, nf, 3), nn.ZeroPad2d(-5))":
        ("", "size"),
    "self.head = nn.Conv2d(3, nf, 9)": ("size values", ""),
}  # fmt: skip

SCRIPT = """
import os
import torch
import cv2_that_is_not_there


def select_model(args, device):
    model_id = args.model_id
    if model_id == 0:
        from models.team00_a import Net
        name, data_range = "a", 1.0
        model = Net()
        model.load_state_dict(torch.load(os.path.join("model_zoo", "a.pth")), strict=True)
    elif model_id == 1:
        from models.team00_a import Net
        name, data_range = "b", 1.0
        model = Net().eval().to(device)
        model.load_state_dict(torch.load("model_zoo/b.pth")["params"], strict=False)
        image = torch.randn(1, 3, 32, 32).to(device)
        for _ in range(3):
            model(image)
    elif model_id == 2:
        from models.team02_c import Net
        name, data_range = "c", 1.0
        model = Net()
        model.load_state_dict(torch.load("model_zoo/lost.pth"), strict=True)
    elif model_id == 3:
        from models.team00_a import Net
        name, data_range = "d", 255.0
        model = Net()
        model.load_state_dict(torch.load("model_zoo/a.pth"))
    return model.eval().to(device), name, data_range, None
"""


def statuses(lint: Lint) -> tuple[str, str]:
    """Names of the checks that failed, and of those that warned."""
    failed, warned = (
        " ".join(check.name for check in lint.checks if check.status == status)
        for status in ("failed", "warned")
    )
    return failed, warned


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_a_constructor(tmp_path, line):
    """Well, or not, for just what the line does."""
    file = tmp_path / "net.py"
    file.write_text(WELL.format(line=line), encoding="utf-8")
    lint = srprof.lint(f"{file}:Net", edits=False)
    failed, warned = LINES[line]
    assert statuses(lint) == (failed, warned)
    assert lint.failed == bool(failed)
    if "builds" in failed:
        assert lint.unscored == "the network could not be run"
    if "without-gpu" in failed + warned:
        (finding,) = lint.check("constructor").findings
        assert (finding.file, finding.line, finding.code) == (str(file), 12, line)
        assert "calls Net once" in finding.what
    if "without-network" in failed:
        assert "example.org" in lint.check("without-network").findings[0].what
    if "packages" in failed:
        what = lint.check("builds").findings[0].what
        assert what.startswith("cannot be built without nowhere_at_all, which is not")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A challenge's repository in small, with checkpoints of a network that enlarges images."""
    folder = tmp_path_factory.mktemp("challenge")
    for name in ("models", "model_zoo"):
        (folder / name).mkdir()
    (folder / "test_demo.py").write_text(SCRIPT, encoding="utf-8")
    text = WELL.format(line="pass")
    (folder / "models/team00_a.py").write_text(text, encoding="utf-8")
    (folder / "models/team02_c.py").write_text(f"import models.team00_a\n{text}", encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(text, scope)
    state = {key: value * 0.01 for key, value in scope["Net"]().state_dict().items()}
    torch.save(state, folder / "model_zoo/a.pth")
    torch.save({"params": dict(list(state.items())[:-1])}, folder / "model_zoo/b.pth")
    return folder


def of_team(repository: Path, file: str, team: int, **options: Any) -> Lint:
    script = str(repository / "test_demo.py")
    path = str(repository / "models" / file)
    return srprof.lint(path, script=script, team=team, **{"edits": False, **options})


def test_a_team_that_is_well(repository):
    lint = of_team(repository, "team00_a.py", 0)
    assert statuses(lint) == ("", "")
    assert lint.check("script").status == "passed"
    (loaded,) = lint.check("weights").findings
    assert loaded.what == "model_zoo/a.pth: every key, and every shape"
    assert "from 0 to 1, as the script has it" in lint.check("values").findings[0].what


def test_the_scripts_warm_up_is_the_scripts(repository):
    """And a laxity that hides a missing key."""
    lint = of_team(repository, "team00_a.py", 1)
    assert statuses(lint) == ("weights", "script")
    (warm_up,) = lint.check("script").findings
    assert "test_demo.py calls Net 3 times, and autograd records it" in warm_up.what
    assert warm_up.code == "model(image)"
    assert lint.check("constructor").status == "passed"
    (loaded,) = lint.check("weights").findings
    assert "1 missing (tail.bias)" in loaded.what
    assert "strict=False" in loaded.what


def test_a_range_that_is_not_the_networks(repository):
    lint = of_team(repository, "team00_a.py", 3)
    assert statuses(lint) == ("values", "")
    assert "the script gives values of 0 to 255" in lint.check("values").findings[0].what


def test_another_file_and_a_lost_checkpoint(repository):
    lint = of_team(repository, "team02_c.py", 2)
    assert statuses(lint) == ("one-file weights", "")
    assert "there is no such file" in lint.check("weights").findings[0].what


def test_the_score_is_that_of_an_analysis(repository):
    """By the year's own image and count, from the SPEC that a user would analyze."""
    year, spec = YEARS["ntire2024"], f"{repository / 'models/team00_a.py'}:Net"
    lint = srprof.lint(spec, year=year.name)
    found = lint.standing
    assert found is not None
    timed = srprof.analyze(spec, (1, 3, *year.sizes.runtime), profile=year.profile)
    counts = srprof.analyze(spec, (1, 3, *year.sizes.counts))
    assert timed.latency is not None
    runtime, flops = 1e3 * timed.latency.seconds, counts.value(year.flops)
    assert found.score == score(year, runtime, flops, counts.value("params"))
    assert [price.what for price in found.widths] == ["nf=16", "nf=32"]
    for price in found.widths:
        wider = spec.replace(":Net", f":Net({price.what})")
        now = srprof.analyze(wider, (1, 3, *year.sizes.runtime), profile=year.profile)
        assert now.latency is not None
        assert price.runtime_ms == 1e3 * now.latency.seconds
        assert price.params == now.value("params")
        assert price.change == price.score - found.score > 0


def test_an_edit_is_priced(tmp_path):
    """One that lowers memory and splits a call in two costs time, and so score."""
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a = nn.Conv2d(3, 48, 3, padding=1)\n"
        "        self.b = nn.Conv2d(48, 48, 3, padding=1)\n"
        "        self.c = nn.Conv2d(96, 48, 1)\n        self.up = nn.PixelShuffle(4)\n\n"
        "    def forward(self, x):\n        y = self.a(x)\n        z = self.b(y)\n"
        "        return self.up(self.c(torch.cat([y, z], 1)))\n",
        encoding="utf-8",
    )
    lint = srprof.lint(f"{file}:Net")
    found = lint.standing
    assert found is not None
    split = next(price for price in found.edits if price.kind == "split")
    assert split.runtime_ms > found.runtime_ms
    assert split.change > 0
    assert (split.file, split.line) == (str(file), 16)
    assert sum(price.change for price in found.edits) == pytest.approx(
        found.edits[-1].score - found.score
    )


def test_a_year_that_sums_ranks_has_no_score_of_one_row(repository):
    lint = of_team(repository, "team00_a.py", 0, year="ntire2022")
    assert lint.standing is None
    assert "sums ranks" in lint.unscored


@pytest.mark.parametrize("line", ["raise SystemExit(3)", "return 1"])
def test_a_constructor_that_ends_the_program_is_a_finding(tmp_path, line):
    file = tmp_path / "net.py"
    file.write_text(WELL.format(line=line), encoding="utf-8")
    lint = srprof.lint(f"{file}:Net", edits=False)
    (finding,) = lint.check("builds").findings
    assert finding.status == "failed"
    assert finding.what.startswith("cannot be built here")


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(WELL.format(line="pass"), encoding="utf-8")
    return tmp_path


def test_the_command(files, capsys):
    text = WELL.format(line="self(torch.randn(1, 3, 8, 8))")
    (files / "warm.py").write_text(text, encoding="utf-8")
    assert main(["lint", "net.py:Net"]) == 0
    out = capsys.readouterr().out
    assert "What to mend" not in out
    assert "is worth" in out
    assert main(["lint", "warm.py:Net", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["failed"]
    (check,) = (c for c in data["checks"] if c["name"] == "constructor")
    assert check["status"] == "failed"
    assert check["findings"][0]["line"] == 12


def test_weights_of_a_spec(files, capsys):
    scope: dict[str, Any] = {}
    exec(WELL.format(line="pass"), scope)
    torch.save(scope["Net"]().state_dict(), files / "net.pth")
    torch.save(scope["Net"](nf=16).state_dict(), files / "wide.pth")
    fits = srprof.lint("net.py:Net", weights="net.pth", edits=False)
    assert fits.check("weights").status == "passed"
    wide = srprof.lint("net.py:Net", weights="wide.pth", edits=False)
    assert "16x3x3x3 in the file and 8x3x3x3" in wide.check("weights").findings[0].what
    assert wide.check("weights").status == "failed"
    assert main(["lint", "net.py:Net", "--weights", "nowhere.pth"]) == 2
    assert "check the path of the checkpoint" in capsys.readouterr().err


def test_the_quality_of_a_record(files, capsys):
    """Of the network and of the year's images, as their folder is called."""
    folder = files / "DIV2K_LSDIR_valid_HR"
    save(photograph(48, 48), folder / "a.png")
    assert main(["evaluate", "net.py:Net", "--hr", folder.name, "-o", "valid.json"]) == 0
    psnr = json.loads((files / "valid.json").read_text())["mean"]["rgb"]["psnr_dB"]
    lint = srprof.lint("net.py:Net", records=["valid.json"], edits=False)
    (finding,) = lint.check("quality").findings
    assert finding.what.startswith(f"{psnr:.2f} dB on valid, where the floor is 26.90 dB")
    assert finding.status == ("passed" if psnr >= 26.9 else "failed")
    capsys.readouterr()
    assert main(["lint", "net.py:Net(nf=4)", "--record", "valid.json"]) == 2
    assert "is another network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["net.py"], "is a file: add the network"),
        (["net.py:Net", "--team", "3"], "give --script test_demo.py too"),
        (["net.py:Net", "--year", "ntire2023"], "is not public"),
        (["nowhere.py:Net"], "nowhere.py"),
    ],
)
def test_wrong_input_is_one_line(files, capsys, argv, words):
    assert main(["lint", *argv]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_files_are_left_alone_and_so_is_torch(repository):
    """Patches and imports of a lint end with it, and nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*.p*")}
    load, connect, loaded = torch.load, socket.socket.connect, set(sys.modules)
    of_team(repository, "team00_a.py", 1)
    assert torch.load is load
    assert socket.socket.connect == connect
    assert not [name for name in set(sys.modules) - loaded if name.startswith("models")]
    after = {path: path.stat().st_mtime_ns for path in repository.rglob("*.p*")}
    assert {p: t for p, t in after.items() if "__pycache__" not in p.parts} == before
