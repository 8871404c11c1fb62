"""`srprof lean`: what it prints, what it writes, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srprof
from srprof import models
from srprof.call import Call
from srprof.cli import main
from srprof.leaning import proof
from srprof.leaning.comparison import compare, natural, relative_error
from srprof.leaning.run import savings
from srprof.workload import resolve
from tests.refusals import one_line

NETWORKS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        y = self.body(x)
        z = F.relu(y)
        return F.pixel_shuffle(z + 1, 2)


class Fusion(nn.Module):
    "Four feature maps in a row, concatenated for a 1x1 convolution."

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(i, 16, 3, padding=1) for i in (3, 16, 16, 16))
        self.fusion = nn.Conv2d(64, 16, 1)

    def forward(self, x):
        features = []
        for step in self.steps:
            x = F.relu(step(x))
            features.append(x)
        return self.fusion(torch.cat(features, 1))


class Branch(Net):
    def forward(self, x):
        y = self.body(x)
        if x.mean() > 0:
            y = F.relu(y)
        return y + 1


class Trains(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)

    def forward(self, first, second):
        return F.relu(self.body(torch.cat([first, second], 1))) + 1


class TwoScales(Net):
    "An LR image, and one twice as large."

    def forward(self, small, large):
        return F.relu(F.pixel_shuffle(self.body(small), 2)) + large


class Fixed(Net):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 3, 64, 64))

    def forward(self, x):
        return F.relu(self.body(x + self.position))


class Noise(nn.Module):
    def forward(self, x):
        return F.relu(x + torch.rand_like(x))


class NotNumbers(nn.Module):
    def forward(self, x):
        return (x - x) / (x - x) + 1, x > 0.5, x.sum((2, 3)) > 7


class Valid(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 9)

    def forward(self, x):
        return F.relu(self.body(x))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lean_as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The command's object, whose proof must hold."""
    assert main(["lean", *arguments, "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def module_of(path: Path) -> Any:
    """An emitted file, imported."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what it prints -----------------------------------------------------------------------------


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lean", "e_rfdn", "--input", "510x510"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}

    assert out.startswith("e_rfdn at 1x3x510x510 float32, level exact\neager peak 788.13 MiB, ")
    assert rows["eager"][1] == "788.13"
    assert float(rows["release"][1]) <= 451.2
    assert [name for name in rows if name in ("release", "in-place", "schedule")] == [
        "release",
        "in-place",
        "schedule",
    ]
    assert "\nno order of its calls is lower\n" in out
    assert "every output is the same to the bit: random and natural images of 48x48" in out


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "net.py:Fusion"
    found = lean_as_json(capsys, spec, "--input", "96x96", "--level", "equivalent")
    before = srprof.analyze(spec, (1, 3, 96, 96)).to_dict()["memory"]["peak"]
    lean = srprof.lean(spec, (1, 3, 96, 96), level="equivalent")
    after = srprof.analyze(lean, (1, 3, 96, 96)).to_dict()["memory"]["peak"]
    passes = [entry["name"] for entry in found["passes"]]

    assert found["schema"] == 1
    assert found["level"] == "equivalent"
    assert found["before"] == before
    assert found["after"] == after
    assert (found["bound"], found["gap"]) == (after["eager"], 0)
    assert passes == ["release", "fold-bn", "split-fusion", "in-place", "schedule"]
    assert sum(entry["saves"] for entry in found["passes"]) == before["eager"] - after["eager"]
    assert 0 < found["max_relative_error"] <= found["tolerance"] == 1e-5
    assert (found["identical"], found["holds"]) == (False, True)
    assert found["measured_on_cpu"] is found["time_ratio"] is found["emitted"] is None


def test_what_no_order_is_below_is_said() -> None:
    saved = savings(resolve(Call(nn.Conv2d(3, 3, 3), ((1, 3, 64, 64),))))
    lean = saved.stages[-1].peaks["eager"]
    assert (saved.bound, saved.gap) == (lean, 0)
    assert "\nno order of its calls is lower\n" in str(saved)
    assert str(replace(saved, bound=lean * 4 // 5)).splitlines()[2] == (
        "no order of its calls is below 0.07 MiB, which it is 25.0% above"
    )


def test_verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lean_as_json(capsys, "net.py:Net", "--input", "64x64", "--verify")
    measured, ratio = found["measured_on_cpu"], found["time_ratio"]

    assert [(o["image"], o["size"]) for o in found["outputs"]] == [
        (image, size) for size in ([48, 48], [40, 56], [37, 51]) for image in ("random", "natural")
    ]
    assert found["max_relative_error"] == 0
    assert measured["size"] == [128, 128]
    assert measured["after"] < measured["before"]
    assert ratio["size"] == [256, 256]
    assert ratio["pairs"] == proof.PAIRS
    assert 0 < ratio["q1"] <= ratio["median"] <= ratio["q3"]


def test_half_precision_is_equivalent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lean_as_json(
        capsys, "net.py:Fusion", "--input", "32x32", "--level", "equivalent", "--dtype", "bfloat16"
    )

    assert 1e-5 < found["max_relative_error"] <= found["tolerance"]


def test_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    found = lean_as_json(capsys, "fmen_s", "--input", "200x200", "--tile", "96x96")

    assert found["passes"][-1]["name"] == "tiles"
    assert found["passes"][-1]["saves"] > 0
    assert found["tiles"]["halo"] == 34
    assert found["bound"] is found["gap"] is None


# -- unusual networks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes", "compared"),
    [
        ("TwoInputs", ["64x64", "64x64"], [48, 48]),
        ("TwoScales", ["64x64", "128x128"], [48, 48]),
        ("Fixed", ["64x64"], [64, 64]),
        ("Noise", ["32x32"], [48, 48]),
        ("NotNumbers", ["32x32"], [48, 48]),
        ("Valid", ["32x32"], [48, 48]),
    ],
)
def test_proof_of(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    sizes: list[str],
    compared: list[int],
) -> None:
    inputs = [word for size in sizes for word in ("--input", size)]
    found = lean_as_json(capsys, f"net.py:{name}", *inputs)

    assert [o["size"] for o in found["outputs"]] == [compared] * 2
    assert found["identical"]


def test_a_fixed_size_is_verified_at_that_size(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lean", "net.py:Fixed", "--input", "64x64", "--verify"]) == 0
    out = capsys.readouterr().out

    assert "images of 64x64, on the CPU" in out
    assert "not compared at 48x48, 40x56, 37x51, which the network does not take" in out
    assert "CPU allocator at 64x64" in out
    assert "time at 64x64" in out


def test_sizes_of_several_images_keep_their_proportion() -> None:
    workload = resolve(
        Call(
            "fmen_s",
            (
                (1, 3, 64, 32),
                (2, 1, 128, 96),
            ),
        )
    )
    call = proof.at_size(workload, (10, 20))

    assert call is not None
    assert [value.shape for value in call.args] == [(1, 3, 10, 20), (2, 1, 20, 60)]
    assert (
        proof.at_size(
            resolve(
                Call(
                    "fmen_s",
                    (
                        (1, 3, 64, 64),
                        (1, 3, 65, 65),
                    ),
                )
            ),
            (48, 48),
        )
        is None
    )
    assert proof.at_size(resolve(Call("fmen_s", ((7,),))), (48, 48)) is None


def test_a_proof_that_fails_is_exit_1_and_writes_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(proof.TOLERANCE, "float32", 1e-12)
    size = ["--input", "32x32"]
    arguments = ["lean", "net.py:Fusion", *size, "--level", "equivalent", "--emit", "lean.py"]

    assert main(arguments) == 1
    assert "do not use it for this network" in capsys.readouterr().out
    assert not (folder / "lean.py").exists()


# -- comparing ----------------------------------------------------------------------------------


def test_relative_error() -> None:
    nan, inf = float("nan"), float("inf")
    one = torch.tensor([4.0, 1.0, nan, inf])

    assert relative_error(one, one.clone()) == 0
    assert relative_error(one, torch.tensor([4.0, 0.0, nan, inf])) == 0.25
    assert relative_error(one, torch.tensor([4.0, nan, nan, inf])) == inf
    assert relative_error(one, torch.tensor([4.0, 1.0, nan, -inf])) == inf
    assert relative_error(torch.zeros(2), torch.tensor([0.0, 0.5])) == 0.5
    assert relative_error(torch.tensor([True, False]), torch.tensor([True, True])) == 1
    assert relative_error(torch.ones(0), torch.ones(0)) == 0


def test_identical_is_of_bits() -> None:
    def identical(one: Any, other: Any) -> bool:
        return compare("random", None, one, other).identical

    assert identical(torch.tensor(float("nan")), torch.tensor(float("nan")))
    assert not identical(torch.tensor(0.0), torch.tensor(-0.0))
    assert not identical(torch.ones(2), torch.ones(3))
    assert not identical(torch.ones(2), torch.ones(2, dtype=torch.float64))
    assert not identical([torch.ones(2)], [torch.ones(2), torch.ones(2)])


def test_natural_images() -> None:
    torch.manual_seed(0)
    image = natural(torch.rand(1, 3, 64, 48))
    rough = torch.rand(1, 3, 64, 48)

    def roughness(value: torch.Tensor) -> float:
        return float(value.diff(dim=-1).abs().mean() / value.std())

    assert image.shape == rough.shape
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    assert roughness(image) < roughness(rough) / 2


# -- what it writes -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, 40, 56), (2, 3, 33, 35)])
def test_an_emitted_module_takes_the_networks_state(
    folder: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...]
) -> None:
    found = lean_as_json(capsys, "fmen_s", "--input", "32x32", "--emit", "lean.py")
    made = module_of(folder / "lean.py")
    (cls,) = (v for k, v in vars(made).items() if k.startswith("Lean"))
    torch.manual_seed(0)
    network, lean = models.fmen_s().eval(), cls().eval()
    lean.load_state_dict(network.state_dict())
    image = torch.rand(shape)

    assert found["emitted"] == "lean.py"
    with torch.no_grad():
        assert torch.equal(lean(image), network(image))


def test_an_emitted_module_needs_only_torch(folder: Path) -> None:
    assert main(["lean", "net.py:Net", "--input", "32x32", "--emit", "lean.py"]) == 0
    code = (
        "import sys; sys.modules['srprof'] = None; import torch, lean; "
        "print(tuple(lean.LeanNet()(torch.rand(1, 3, 20, 30)).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout == "(1, 3, 40, 60)\n"


def test_an_emitted_program_has_the_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = module_of(folder / "net.py").Fusion().eval()
    torch.save(network.state_dict(), "net.pth")
    lean_as_json(
        capsys, "net.py:Fusion", "--weights", "net.pth", "--input", "32x32",
        "--level", "equivalent", "--emit", "lean.pt2",
    )  # fmt: skip
    lean = torch.export.load("lean.pt2").module()
    image = torch.rand(2, 3, 40, 36)

    with torch.no_grad():
        assert relative_error(network(image), lean(image)) <= 1e-5


def test_an_emitted_program_of_two_inputs(folder: Path, capsys) -> None:
    """It says that nobody gave the weights which it holds."""
    inputs = ["--input", "32x32", "--input", "32x32"]
    assert main(["lean", "net.py:TwoInputs", *inputs, "--emit", "lean.pt2"]) == 0
    said = capsys.readouterr().err
    assert "srprof: lean.pt2: no --weights were given" in said
    assert said.endswith("srprof: wrote lean.pt2\n")
    lean = torch.export.load("lean.pt2").module()

    with torch.no_grad():
        assert lean(torch.rand(1, 3, 20, 24), torch.rand(1, 3, 20, 24)).shape == (1, 8, 20, 24)


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("net.py:Branch", 2, "depends on values of a tensor at net.py:36; srprof advise works"),
        ("net.py:Branch --emit lean.py", 2, "depends on values of a tensor"),
        ("net.py:Trains", 2, "changes running statistics"),
        ("net.py:Fixed", 3, "net.py:"),
        ("net.py:Valid --input 4x4", 3, "larger --input"),
        ("e_rfdn --input 8x8", 3, "larger --input"),
        ("fmen_s --input nonsense", 2, "'nonsense' is not a size"),
        ("fmen_s --level best", 2, "choose from"),
        ("fmen_s --emit lean.onnx", 2, "ends in .pt2, .py"),
        ("fmen_s --emit missing/lean.py", 2, "no folder 'missing'"),
        ("fmen_s --emit .", 2, "that is a folder"),
        ("fmen_s --emit lean.py -o lean.py", 2, "both name lean.py"),
        ("fmen_s --emit lean.py --tile 96x96", 2, "whole images"),
        ("fmen_s --tile nonsense", 2, "--tile: 'nonsense' is not a size: write HxW"),
        ("fmen_s --tile 96x", 2, "--tile: '96x'"),
        ("fmen_s --tile 0x96", 2, "--tile: size '0x96'"),
        ("fmen_s --tile 1x3x96x96", 2, "--tile: '1x3x96x96': give a height and a width only"),
        ("fmen_s --input 96x96 --tile 40x40", 2, "the halo is 34"),
        ("e_rfdn --input 64x64 --tile 96x96", 2, "resizes to the image's size"),
        ("fmen_s --weights missing.pth", 2, "missing.pth"),
        ("nothing_such", 2, "no network is called"),
    ],
)
def test_bad_input(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: str, code: int, said: str
) -> None:
    assert main(["lean", *arguments.split()]) == code
    out, err = capfd.readouterr()

    assert said in one_line(err)
    assert out == ""
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"net.py"}


@pytest.mark.parametrize("name", ["Branch", "Trains"])
def test_advise_works_where_export_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["advise", f"net.py:{name}", "--input", "64x64"]) == 0
    out, err = capsys.readouterr()

    assert out.startswith(f"{name} at 1x3x64x64 float32")
    assert err == ""


def test_from_python_it_falls_back_with_a_warning(folder: Path) -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="cannot be lean: .*a tensor at net.py:36"):
        made = srprof.lean("net.py:Branch", (1, 3, 32, 32))
    image = torch.rand(1, 3, 32, 32)

    assert isinstance(made, nn.Module)
    with torch.no_grad(), pytest.warns(UserWarning, match="not lean in this call"):
        made(image)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--emit", "-o"])
def test_a_full_disk(folder: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    (folder / "full.py").symlink_to("/dev/full")

    assert main(["lean", "net.py:Net", "--input", "32x32", option, "full.py"]) == 2
    out, err = capsys.readouterr()
    assert one_line(err) == f"srprof: {option} full.py: cannot be written: No space left on device"
    assert out == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of file size")
def test_a_disk_that_fills_up_leaves_the_old_files(folder: Path) -> None:
    files = "lean.py", "lean.pt2"
    for file in files:
        (folder / file).write_text("as it was")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "from srprof.cli import main; lean = ['lean', 'net.py:Net', '--input', '32x32', '--emit']; "
        f"print([main([*lean, file]) for file in {files}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip

    assert done.stdout == "[2, 2]\n", done.stderr
    for file, line in zip(files, done.stderr.splitlines(), strict=True):
        assert line.startswith(f"srprof: --emit {file}: cannot be written: File too large")
        assert (folder / file).read_text() == "as it was"
    assert {p.name for p in folder.iterdir()} == {"net.py", *files}
