"""Bad input ends in one clear line and an exit code; nothing is half-written, nothing changed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch

import srprof
from srprof.cli import main
from tests.refusals import one_line
from tests.spandrel_zoo import import_spandrel

NETWORKS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, nf=4, scale=2):
        super().__init__()
        self.body = nn.Conv2d(3, nf, 3, padding=1)

    def forward(self, x):
        return self.body(x)


class Plain(nn.Module):
    def forward(self, x):
        return x * 2


class Wide(nn.Module):
    def forward(self, x):
        return torch.cat([x] * 8, dim=1)


class Needs(Net):
    def __init__(self, nf):
        super().__init__(nf)


class Raises(Net):
    def forward(self, x):
        raise ValueError("the first line\\nand a second one")


class RaisesNothing(Net):
    def forward(self, x):
        assert x.dim() == 3


class CudaInForward(Net):
    def forward(self, x):
        return self.body(x.cuda())


class CudaInConstructor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3).cuda()

    def forward(self, x):
        return self.body(x)


def number():
    return 3


def nothing():
    pass


def its_class():
    return Net


def bad_constructor():
    raise KeyError("nf")


constant = 5
net = Net()
"""

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
CUDA_LINES = {  # of `NETWORKS`, counted from 1
    name: next(i for i, line in enumerate(NETWORKS.splitlines(), 1) if ".cuda()" in line and i > at)
    for name, at in (
        ("CudaInForward", NETWORKS[: NETWORKS.index("class CudaInForward")].count("\n")),
        ("CudaInConstructor", NETWORKS[: NETWORKS.index("class CudaInConstructor")].count("\n")),
    )
}


def line_of(source: str, text: str) -> int:
    """The number of the first line of the source that has the text."""
    return next(i for i, line in enumerate(source.splitlines(), 1) if text in line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with networks in `net.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORKS)
    return tmp_path


def files_in(folder: Path) -> set[str]:
    """Everything below a folder, Python's own caches aside."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {path for path in found if "__pycache__" not in path}


def run_main(*argv: str) -> int:
    """The exit code of a command, which argparse gives by an exception."""
    try:
        return main(list(argv))
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1


Refused = Callable[..., str]


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused, with and without `-o`; gives its line on stderr."""

    def check(*argv: str, code: int = 2) -> str:
        there = files_in(folder)
        lines = []
        for more in ((), ("-o", "result.txt")):
            found = run_main(*argv, *more)
            captured = capsys.readouterr()
            lines.append(one_line(captured.err))
            assert found == code, captured.err
            assert captured.out == ""
            assert files_in(folder) == there
        assert lines[0] == lines[1]
        return lines[0]

    return check


# -- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fmen_x", "fmen_s"),
        ("FMEN-S", "fmen_s"),
        ("erfdn", "e_rfdn"),
        ("rfdn_baselin", "rfdn_baseline"),
        ("imdn(", None),
        ("imd(scale=2)", "imdn"),
    ],
)
def test_unknown_name_suggests_the_nearest(refused: Refused, name: str, nearest: str | None):
    line = refused("analyze", name)
    assert name in line or name.split("(", maxsplit=1)[0] in line
    if nearest:
        assert re.search(rf"did you mean .*\b{nearest}\b", line)


def test_name_like_no_other_says_where_the_names_are(refused: Refused):
    line = refused("analyze", "zzzzqqqq")
    assert "'zzzzqqqq'" in line
    assert "srprof list" in line
    assert "file.py:Factory" in line


@pytest.mark.parametrize("spec", ["nowhere.py:Net", "folder/net.py:Net", "gone.pth", "/x/y.pt"])
def test_missing_file_is_named(refused: Refused, spec: str):
    line = refused("analyze", spec)
    assert "no file" in line
    assert spec.partition(":")[0] in line


def test_folder_in_the_place_of_a_file(refused: Refused, folder: Path):
    (folder / "package.py").mkdir()
    assert "package.py" in refused("analyze", "package.py:Net")


def test_missing_factory_lists_those_there(refused: Refused):
    line = refused("analyze", "net.py:Zork")
    assert "'Zork'" in line
    for name in ("Net", "Needs", "number", "bad_constructor"):
        assert re.search(rf"\b{name}\b", line)
    assert "did you mean Net?" in refused("analyze", "net.py:Nett")


def test_missing_factory_of_a_module(refused: Refused):
    assert "'Zork'" in refused("analyze", "torch.nn:Zork")


def test_file_without_factory(refused: Refused):
    assert "net.py:Factory" in refused("analyze", "net.py")
    refused("analyze", "net.py:")
    refused("analyze", ":Net")
    refused("analyze", "")


@pytest.mark.parametrize(
    "argument",
    [
        "nf=__import__('pathlib').Path('evaluated').touch()",
        "__import__('pathlib').Path('evaluated').touch()",
        "nf=[open('evaluated', 'w')]",
        "nf=(open('evaluated', 'w'), 1)[1]",
        "nf={open('evaluated', 'w'): 1}",
        "nf=(lambda: open('evaluated', 'w'))()",
        "nf=f\"{open('evaluated', 'w')}\"",
        "nf=[4 for _ in (open('evaluated', 'w'),)]",
        "*[open('evaluated', 'w')]",
        "**{'nf': open('evaluated', 'w')}",
        "nf=torch.float32",
        "nf=2**3",
        "nf=48 if True else 64",
        "nf=width",
    ],
)
def test_argument_that_is_no_literal_is_not_evaluated(
    refused: Refused, folder: Path, argument: str
):
    line = refused("analyze", f"net.py:Net({argument})")
    assert "literal" in line or "**" in line
    assert not (folder / "evaluated").exists()


@pytest.mark.parametrize(
    "call", ["Net(", "Net(nf=4", "Net)", "Net(nf=4)(3)", "Net(nf=4).eval()", "Net(nf=)", "4", "a b"]
)
def test_broken_call(refused: Refused, call: str):
    assert call in refused("analyze", f"net.py:{call}")


def test_deeply_nested_argument(refused: Refused):
    refused("analyze", f"net.py:Net(nf={'(' * 5000}4{')' * 5000})")


@pytest.mark.parametrize(
    ("factory", "kind"), [("number", "int"), ("nothing", "NoneType"), ("its_class", "type")]
)
def test_factory_that_returns_no_module(refused: Refused, factory: str, kind: str):
    line = refused("analyze", f"net.py:{factory}")
    assert kind in line
    assert "nn.Module" in line


@pytest.mark.parametrize("spec", ["constant", "constant(1)", "net(3)", "torch"])
def test_something_that_is_no_factory(refused: Refused, spec: str):
    assert spec.split("(", maxsplit=1)[0] in refused("analyze", f"net.py:{spec}")


def test_missing_argument(refused: Refused):
    line = refused("analyze", "net.py:Needs")
    assert "'nf'" in line
    assert "net.py:Needs(" in line


@pytest.mark.parametrize("call", ["Net(zf=4)", "Net(1, 2, 3)", "Net(4, nf=4)"])
def test_arguments_that_the_factory_does_not_take(refused: Refused, call: str):
    assert "nf=4, scale=2" in refused("analyze", f"net.py:{call}")


def test_keyword_given_twice(refused: Refused):
    assert "nf" in refused("analyze", "net.py:Net(nf=4, nf=5)")


def test_zoo_network_with_an_argument_that_it_does_not_take(refused: Refused):
    assert "'depth'" in refused("analyze", "fmen_s(depth=3)")


def test_module_that_does_not_exist(refused: Refused):
    line = refused("analyze", "no_such_module.sub:Net")
    assert "no_such_module" in line
    assert "torch.no_such_part" in refused("analyze", "torch.no_such_part:Net")
    assert "torch.nn.Conv2d" in refused("analyze", "torch.nn.Conv2d:Net")


@pytest.mark.parametrize("spec", ["not a module:Net", "a-b:Net", "net.pyy:Net", "http://x:Net"])
def test_location_that_is_neither_file_nor_module(refused: Refused, spec: str):
    refused("analyze", spec)


# -- the model's own faults ---------------------------------------------------------------------


def test_syntax_error_has_file_and_line(refused: Refused, folder: Path):
    (folder / "broken.py").write_text("import torch\n\ndef factory(:\n    pass\n")
    line = refused("analyze", "broken.py:factory", code=3)
    assert "SyntaxError" in line
    assert "broken.py:3" in line


def test_null_bytes_in_a_file(refused: Refused, folder: Path):
    (folder / "broken.py").write_bytes(b"import torch\n\0\n")
    assert "broken.py" in refused("analyze", "broken.py:factory", code=3)


def test_missing_dependency_has_file_and_line(refused: Refused, folder: Path):
    (folder / "needs.py").write_text("import torch\nimport not_installed_anywhere\n")
    line = refused("analyze", "needs.py:Net", code=3)
    assert "not_installed_anywhere" in line
    assert "needs.py:2" in line


def test_missing_dependency_of_a_module(refused: Refused, folder: Path):
    (folder / "needing_module.py").write_text("import torch\nimport not_installed_anywhere\n")
    line = refused("analyze", "needing_module:Net", code=3)
    assert "not_installed_anywhere" in line
    assert "needing_module.py:2" in line


@pytest.mark.parametrize("code", ["", "0", "3", "'usage: train.py'"])
def test_file_that_ends_the_process(refused: Refused, folder: Path, code: str):
    """A training script without a `__main__` guard."""
    (folder / "script.py").write_text(f"{NETWORKS}\nimport sys\nsys.exit({code})\n")
    line = refused("analyze", "script.py:Net", code=3)
    assert "SystemExit" in line
    assert f"script.py:{NETWORKS.count(chr(10)) + 3}" in line


def test_model_that_ends_the_process(refused: Refused, folder: Path):
    source = NETWORKS.replace("raise ValueError", "raise SystemExit")
    (folder / "net.py").write_text(source)
    line = refused("analyze", "net.py:Raises", code=3)
    assert f"net.py:{line_of(source, 'raise SystemExit')}" in line


def test_script_that_reads_the_command_line(folder: Path):
    (folder / "script.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr')\n"
        f"parser.parse_args()\n{NETWORKS}"
    )
    there = files_in(folder)
    process = command("analyze", "script.py:Net", cwd=folder)
    assert process.returncode == 3
    line = one_line(process.stderr.splitlines(keepends=True)[-1])  # argparse says its own first
    assert "script.py:4" in line
    assert files_in(folder) == there


def test_model_that_raises_has_file_and_line(refused: Refused, folder: Path):
    line = refused("analyze", "net.py:Raises", code=3)
    assert "ValueError" in line
    assert "the first line" in line
    assert f"net.py:{line_of(NETWORKS, 'raise ValueError')}" in line


def test_model_that_raises_without_a_message(refused: Refused, folder: Path):
    line = refused("analyze", "net.py:RaisesNothing", code=3)
    assert "AssertionError" in line
    assert f"net.py:{line_of(NETWORKS, 'assert x.dim')}" in line


def test_constructor_that_raises_has_file_and_line(refused: Refused, folder: Path):
    line = refused("analyze", "net.py:bad_constructor", code=3)
    assert "KeyError" in line
    assert f"net.py:{line_of(NETWORKS, 'raise KeyError')}" in line


def test_too_many_inputs(refused: Refused):
    line = refused("analyze", "net.py:Net", "--input", "8x8", "--input", "8x8", code=3)
    assert "forward() takes 2 positional arguments" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("factory", ["CudaInForward", "CudaInConstructor"])
def test_cuda_without_cuda(refused: Refused, folder: Path, factory: str):
    options = ["--input", "8x8", "--trace-on", "cpu"]  # on meta it has a stand-in
    line = refused("analyze", f"net.py:{factory}", *options, code=3)
    assert f"net.py:{CUDA_LINES[factory]}" in line
    assert re.search("CUDA|NVIDIA", line)


# -- the size -----------------------------------------------------------------------------------


NO_SIZES = """256 0x256 256x0 -1x3 256x256x x256 1x256x256 1x3x0x8 1x0x8x8 axb 8X8x 8.5x8 1e3x8
1x2x3x4x5""".split()


@pytest.mark.parametrize("size", [*NO_SIZES, "", " ", "8 x 8", "8x8\n"])
@pytest.mark.parametrize("joined", [True, False])
def test_size_that_is_none(refused: Refused, size: str, joined: bool):
    option = [f"--input={size}"] if joined else ["--input", size]
    line = refused("analyze", "fmen_s", *option)
    assert repr(size) in line
    assert "HxW" in line or "at least 1" in line


@pytest.mark.parametrize(
    "size", ["1000000000x1000000000", "9" * 30 + "x8", "1x1x4294967296x4294967296"]
)
def test_absurd_size_names_the_overflow(refused: Refused, size: str):
    line = refused("analyze", "fmen_s", "--input", size)
    assert "overflow" in line
    assert size in line


def test_size_with_thousands_of_digits(refused: Refused):
    """More than Python turns into an integer (`sys.get_int_max_str_digits`)."""
    assert "overflow" in refused("analyze", "fmen_s", "--input", "9" * 5000 + "x8")


@pytest.mark.parametrize("spec", ["net.py:Wide", "fmen_s", "e_rfdn", "imdn"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_feature_maps_that_overflow(refused: Refused, spec: str, dtype: str):
    """The input alone can be counted: 3 x 6e17 elements."""
    line = refused("analyze", spec, "--input", "600000000x1000000000", "--dtype", dtype)
    assert "overflow" in line
    assert "smaller" in line


def test_large_size_that_can_be_counted_works(capsys: pytest.CaptureFixture[str]):
    assert main(["analyze", "fmen_s", "--input", "100000x100000", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory"]["peak"]["eager"] > 50 * 100000**2 * 4


@pytest.mark.parametrize("spec", ["net.py:Net", "fmen_s", "e_rfdn", "imdn"])
@pytest.mark.parametrize("channels", [1, 4])
def test_wrong_channels_say_what_to_write(refused: Refused, spec: str, channels: int):
    line = refused("analyze", spec, "--input", f"1x{channels}x32x32", code=3)
    assert re.search(r"\.py:\d+ in \w+", line), "file and line of the model"
    assert f"1x{channels}x32x32" in line
    assert "--input 1x3xHxW" in line


def test_network_of_one_channel_says_what_to_write(refused: Refused, folder: Path):
    (folder / "gray.py").write_text(NETWORKS.replace("Conv2d(3,", "Conv2d(1,"))
    line = refused("analyze", "gray.py:Net", "--input", "32x32", code=3)
    assert "--input 1x1xHxW" in line


def test_input_smaller_than_the_network_takes(refused: Refused):
    line = refused("analyze", "e_rfdn", "--input", "14x14", code=3)
    assert re.search(r"blocks\.py:\d+", line)
    assert "too small" in line
    assert main(["analyze", "e_rfdn", "--input", "15x15"]) == 0


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--dtype", "float31"),
        ("--dtype", "int8"),
        ("--format", "xml"),
        ("--view", "everything"),
        ("--trace-on", "tpu"),
        ("--top", "many"),
        ("--granularity", "0"),
        ("--granularity", "-512"),
        ("--granularity", "half"),
    ],
)
def test_option_with_a_wrong_value(refused: Refused, option: str, value: str):
    line = refused("analyze", "fmen_s", f"{option}={value}")
    assert value in line


def test_unknown_option_and_command(refused: Refused):
    assert "--imput" in refused("analyze", "fmen_s", "--imput", "8x8")
    assert "analyse" in refused("analyse", "fmen_s")
    assert "SPEC" in refused("analyze")


# -- checkpoints --------------------------------------------------------------------------------


class Unsupported(Exception):
    """What the stand-in for spandrel raises for keys that it does not know."""


class StandInLoader:
    """spandrel's loader, for one network of one convolution."""

    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def load_from_state_dict(self, state: dict[str, torch.Tensor]) -> Any:
        if set(state) != {"weight", "bias"}:
            raise Unsupported
        model = torch.nn.Conv2d(3, 4, 3)
        model.load_state_dict(state)
        return types.SimpleNamespace(model=model)


@pytest.fixture(params=["stand-in", "spandrel"])
def spandrel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """spandrel itself where it is installed, and a stand-in that tests srprof alone."""
    if request.param == "stand-in":
        module: Any = types.ModuleType("spandrel")
        module.ModelLoader, module.UnsupportedModelError = StandInLoader, Unsupported
        monkeypatch.setitem(sys.modules, "spandrel", module)
    elif importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed (the extra `spandrel`)")
    else:
        import_spandrel()
    return request.param


class Dangerous:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, ("evaluated", "w")


def write_checkpoint(path: Path, kind: str) -> None:
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), path)
    whole = path.read_bytes()
    contents = {"garbage": b"not a checkpoint" * 64, "truncated": whole[: len(whole) // 2]}
    contents |= {"empty": b"", "one byte": b"\x80"}
    if kind in contents:
        path.write_bytes(contents[kind])


BROKEN = ["garbage", "truncated", "empty", "one byte"]


@pytest.mark.parametrize("kind", [*BROKEN, "whole"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoint_without_spandrel(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    write_checkpoint(folder / f"weights{suffix}", kind)
    if kind == "whole" and suffix == ".safetensors":
        safetensors.torch.save_file(
            torch.nn.Conv2d(3, 4, 3).state_dict(), folder / "weights.safetensors"
        )
    line = refused("analyze", f"weights{suffix}")
    assert ("pip install 'srprof[spandrel]'" if kind == "whole" else "damaged") in line
    assert f"weights{suffix}" in line


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(refused: Refused, folder: Path, spandrel: str, kind: str):
    write_checkpoint(folder / "weights.pth", kind)
    line = refused("analyze", "weights.pth")
    assert "weights.pth" in line
    assert "cannot be read" in line
    assert "weights_only" not in line, "torch's advice to load it unsafely"


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_safetensors(refused: Refused, folder: Path, spandrel: str, kind: str):
    if importlib.util.find_spec("safetensors") is None:
        pytest.skip("safetensors is not installed (the extra `spandrel`)")
    write_checkpoint(folder / "weights.safetensors", kind)
    assert "weights.safetensors" in refused("analyze", "weights.safetensors")


def test_safetensors_not_installed(
    refused: Refused, folder: Path, monkeypatch: pytest.MonkeyPatch, spandrel: str
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    write_checkpoint(folder / "weights.safetensors", "whole")
    assert "pip install safetensors" in refused("analyze", "weights.safetensors")


def test_checkpoint_with_code_in_it_is_not_run(refused: Refused, folder: Path, spandrel: str):
    torch.save({"weight": Dangerous()}, folder / "weights.pth")
    line = refused("analyze", "weights.pth")
    assert "weights.pth" in line
    assert not (folder / "evaluated").exists()
    assert "trust" not in line, "torch's advice to load it unsafely"


def test_checkpoint_of_an_unknown_network(refused: Refused, folder: Path, spandrel: str):
    torch.save({"mystery": torch.zeros(3)}, folder / "weights.pth")
    line = refused("analyze", "weights.pth")
    assert "neither a zoo nor spandrel recognises it" in line
    assert "file.py:Factory" in line


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 5, {}])
def test_checkpoint_that_is_no_state_dict(
    refused: Refused, folder: Path, spandrel: str, content: Any
):
    torch.save(content, folder / "weights.pth")
    assert "weights.pth" in refused("analyze", "weights.pth")


# -- the output file ----------------------------------------------------------------------------


COMMANDS = [("analyze", "net.py:Net", "--input", "8x8"), ("list",)]


def check_refused_output(
    capsys: pytest.CaptureFixture[str], folder: Path, argv: tuple[str, ...], path: str
) -> str:
    there = files_in(folder)
    code = run_main(*argv, "-o", path)
    captured = capsys.readouterr()
    line = one_line(captured.err)
    assert (code, captured.out) == (2, "")
    assert f"-o {path}" in line
    assert files_in(folder) == there
    return line


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_in_a_missing_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    line = check_refused_output(capsys, folder, argv, "missing/result.txt")
    assert "'missing'" in line


@pytest.mark.parametrize("argv", COMMANDS)
@pytest.mark.parametrize("path", [".", "results", "results/", ""])
def test_output_that_is_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], path: str
):
    (folder / "results").mkdir()
    check_refused_output(capsys, folder, argv, path)


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_below_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    check_refused_output(capsys, folder, argv, "net.py/result.txt")


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_with_too_long_a_name(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    check_refused_output(capsys, folder, argv, "x" * 300)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
@pytest.mark.parametrize("argv", COMMANDS)
@pytest.mark.parametrize("path", ["/proc/result.txt", "/proc/self/result.txt", "/proc/version"])
def test_output_where_nobody_may_write(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], path: str
):
    """Not even root."""
    check_refused_output(capsys, folder, argv, path)


@pytest.mark.skipif(AS_ROOT, reason="permissions do not bind root")
@pytest.mark.parametrize("argv", COMMANDS)
def test_output_without_permission(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
):
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    try:
        assert "permission" in check_refused_output(capsys, folder, argv, "locked/result.txt")
    finally:
        locked.chmod(0o755)
    read_only = folder / "result.txt"
    read_only.write_text("before")
    read_only.chmod(0o444)
    assert "permission" in check_refused_output(capsys, folder, argv, "result.txt")
    assert read_only.read_text() == "before"


def test_output_file_stays_when_the_input_is_wrong(folder: Path):
    (folder / "result.txt").write_text("before")
    assert run_main("analyze", "net.py:Raises", "-o", "result.txt") == 3
    assert run_main("analyze", "net.py:Zork", "-o", "result.txt") == 2
    assert (folder / "result.txt").read_text() == "before"


def test_output_is_refused_before_the_model_is_built(folder: Path):
    (folder / "marks.py").write_text(f"{NETWORKS}\nopen('imported', 'w').close()\n")
    assert run_main("analyze", "marks.py:Net", "-o", "missing/result.txt") == 2
    assert not (folder / "imported").exists()


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_through_a_link_leaves_the_link(folder: Path, argv: tuple[str, ...]):
    (folder / "real.txt").write_text("before")
    (folder / "link.txt").symlink_to("real.txt")
    assert run_main(*argv, "-o", "link.txt") == 0
    assert (folder / "link.txt").is_symlink()
    assert (folder / "real.txt").read_text() not in ("", "before")


@pytest.mark.parametrize("argv", COMMANDS)
def test_output_to_a_pipe_leaves_the_pipe(folder: Path, argv: tuple[str, ...]):
    """As with `/dev/null` and `/dev/stdout`, which root could replace by a file."""
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        code = run_main(*argv, "-o", "pipe")
        assert stat.S_ISFIFO(os.stat(folder / "pipe").st_mode)
        assert files_in(folder) == {"net.py", "pipe"}
        if code == 0:
            assert os.read(reader, 65536)
        else:
            assert code == 2
    finally:
        os.close(reader)


# -- global state -------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A statement of a model's author, what it changes, and the word by which a note names it."""

    statement: str
    read: Callable[[], Any]
    named: str


SETTINGS = {
    "default dtype": Setting(
        "torch.set_default_dtype(torch.float64)", torch.get_default_dtype, "default dtype"
    ),
    "default device": Setting(
        "torch.set_default_device('cpu')",
        lambda: (torch.get_default_device(), torch.empty(0).device),
        "default device",
    ),
    "cudnn.benchmark": Setting(
        "torch.backends.cudnn.benchmark = True",
        lambda: torch.backends.cudnn.benchmark,
        "cudnn.benchmark",
    ),
    "cudnn.deterministic": Setting(
        "torch.backends.cudnn.deterministic = True",
        lambda: torch.backends.cudnn.deterministic,
        "cudnn.deterministic",
    ),
    "cudnn.enabled": Setting(
        "torch.backends.cudnn.enabled = False",
        lambda: torch.backends.cudnn.enabled,
        "cudnn.enabled",
    ),
    "cudnn.allow_tf32": Setting(
        "torch.backends.cudnn.allow_tf32 = False",
        lambda: torch.backends.cudnn.allow_tf32,
        "tf32",
    ),
    "matmul precision": Setting(
        "torch.set_float32_matmul_precision('high')",
        torch.get_float32_matmul_precision,
        "matmul precision",
    ),
    "deterministic algorithms": Setting(
        "torch.use_deterministic_algorithms(True, warn_only=True)",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "deterministic_algorithms",
    ),
    "threads": Setting(
        "torch.set_num_threads(torch.get_num_threads() + 1)", torch.get_num_threads, "thread"
    ),
    "anomaly detection": Setting(
        "torch.autograd.set_detect_anomaly(True)", torch.is_anomaly_enabled, "anomaly"
    ),
    "grad mode": Setting("torch.set_grad_enabled(False)", torch.is_grad_enabled, "grad mode"),
    "current folder": Setting("os.chdir('/')", os.getcwd, "folder"),
    "recursion limit": Setting(
        "sys.setrecursionlimit(sys.getrecursionlimit() + 500)",
        sys.getrecursionlimit,
        "recursion limit",
    ),
}

CHANGING = """\
import os, random, sys
import torch
from torch import nn

{at_import}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        {in_constructor}

    def forward(self, x):
        {in_forward}
        return self.body(x)
"""

PLACES = ("at_import", "in_constructor", "in_forward")


def write_changing(folder: Path, place: str, statement: str) -> None:
    statements = dict.fromkeys(PLACES, "pass") | {place: statement}
    (folder / "changing.py").write_text(CHANGING.format(**statements))


@pytest.fixture(params=SETTINGS.values(), ids=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Iterator[Setting]:
    """A setting; put back here too, so that one failure does not become many."""
    before = torch.get_num_threads(), sys.getrecursionlimit(), os.getcwd()
    backends = torch.backends.cudnn
    flags = backends.benchmark, backends.deterministic, backends.enabled, backends.allow_tf32
    yield request.param
    torch.set_default_dtype(torch.float32)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = None
    while torch._C._len_torch_function_stack():  # modes that a default device left behind
        torch._C._pop_torch_function_stack()
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    backends.benchmark, backends.deterministic, backends.enabled, backends.allow_tf32 = flags
    torch.set_num_threads(before[0])
    sys.setrecursionlimit(before[1])
    os.chdir(before[2])


@pytest.mark.parametrize("place", PLACES)
def test_global_state_is_named_and_put_back(
    folder: Path, capsys: pytest.CaptureFixture[str], setting: Setting, place: str
):
    write_changing(folder, place, setting.statement)
    before = setting.read()
    code = main(["analyze", "changing.py:Net", "--input", "8x8", "--format", "json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert setting.read() == before
    found = json.loads(captured.out)
    assert found["nodes"][0]["op"] == "convolution"
    if (setting.named, place) != ("grad mode", "in_forward"):  # gradients are off there already
        assert [note for note in found["notes"] if setting.named in note], found["notes"]


def test_global_state_is_named_in_the_text(folder: Path, capsys: pytest.CaptureFixture[str]):
    write_changing(folder, "at_import", "torch.set_default_dtype(torch.float64)")
    try:
        assert main(["analyze", "changing.py:Net", "--input", "8x8"]) == 0
    finally:
        torch.set_default_dtype(torch.float32)
    assert "default dtype" in capsys.readouterr().out


@pytest.mark.parametrize("place", PLACES)
def test_global_state_is_put_back_when_the_model_raises(
    refused: Refused, folder: Path, setting: Setting, place: str
):
    write_changing(folder, place, f"{setting.statement}; raise ValueError('enough')")
    before = setting.read()
    line = refused("analyze", str(folder / "changing.py") + ":Net", "--input", "8x8", code=3)
    assert "enough" in line
    assert setting.read() == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["pass", "raise ValueError"])
def test_random_states_are_put_back(folder: Path, place: str, end: str):
    numpy = pytest.importorskip("numpy")
    write_changing(
        folder, place, "torch.manual_seed(1); random.seed(1); import numpy; "
        f"numpy.random.seed(1); torch.rand(3); {end}"
    )  # fmt: skip
    torch.manual_seed(7), random.seed(7), numpy.random.seed(7)
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    code = main(["analyze", "changing.py:Net", "--input", "8x8"])
    assert code == (0 if end == "pass" else 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert numpy.random.get_state()[1].tolist() == states[2]


def test_output_goes_to_the_folder_where_the_command_was_given(folder: Path):
    """Though the model changes it."""
    (folder / "elsewhere").mkdir()
    write_changing(folder, "in_forward", f"os.chdir({str(folder / 'elsewhere')!r})")
    assert main(["analyze", "changing.py:Net", "--input", "8x8", "-o", "result.txt"]) == 0
    assert (folder / "result.txt").exists()


# -- in a process of its own --------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Without unbuffered output, which hides what happens when the interpreter ends."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def command(*argv: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    defaults: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, "-m", "srprof", *argv],
        cwd=cwd,
        env=environment(),
        text=True,
        timeout=120,
        check=False,
        **(defaults | options),
    )


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("analyze", "fmen_x"), 2),
        (("analyze", "net.py:Raises", "--input", "8x8"), 3),
        (("analyze", "net.py:Net", "--input", "8x8"), 0),
    ],
)
def test_exit_codes_of_the_process(folder: Path, argv: tuple[str, ...], code: int):
    process = command(*argv, cwd=folder)
    assert process.returncode == code
    if code:
        one_line(process.stderr)
        assert process.stdout == ""
    else:
        assert process.stderr == ""
        assert process.stdout


@pytest.mark.parametrize(
    "argv",
    [
        ("analyze", "net.py:Net", "--input", "8x8", "--format", "json"),
        ("list",),
        ("--help",),
        ("analyze", "--help"),
        ("--version",),
        (),
    ],
)
def test_reader_that_has_gone(folder: Path, argv: tuple[str, ...]):
    """The pipe is broken before the first byte is written."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = command(*argv, cwd=folder, stdout=writer)
    finally:
        os.close(writer)
    assert process.stderr == ""
    assert process.returncode == 0


def test_reader_that_takes_one_line(folder: Path):
    pipeline = f"'{sys.executable}' -m srprof analyze imdn --view nodes --format csv | head -1"
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipeline],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("node") or process.stdout.startswith("index")
    assert process.stdout.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("argv", COMMANDS)
def test_full_disk_behind_stdout(folder: Path, argv: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        process = command(*argv, cwd=folder, stdout=full)
    assert process.returncode == 2
    assert "No space left" in one_line(process.stderr)


def test_terminal_that_has_no_unicode(folder: Path):
    (folder / "net.py").write_text(NETWORKS + "\nclass Größe(Net):\n    pass\n")
    process = subprocess.run(
        [sys.executable, "-m", "srprof", "analyze", "net.py:Größe", "--input", "8x8"],
        cwd=folder,
        env=environment() | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert b"Traceback" not in process.stderr
    assert process.returncode == 0


SLOW = """\
import time
from torch import nn


def wait():
    open("started", "w").close()
    time.sleep(300)


class SlowToBuild(nn.Module):
    def __init__(self):
        super().__init__()
        wait()


class SlowToRun(nn.Module):
    def forward(self, x):
        wait()
        return x * 2


class Stubborn(nn.Module):
    def forward(self, x):
        try:
            wait()
        except Exception:
            return x
        return x
"""


@pytest.mark.parametrize("factory", ["SlowToBuild", "SlowToRun", "Stubborn"])
def test_control_c(folder: Path, factory: str):
    (folder / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "srprof", "analyze", f"slow.py:{factory}", "-o", "result.txt"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        # A shell that starts pytest in the background has its children ignore SIGINT.
    )
    try:
        while process.poll() is None and not (folder / "started").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted" in one_line(err)
    assert out == ""
    assert files_in(folder) == {"net.py", "slow.py", "started"}


def test_control_c_leaves_nothing_active(folder: Path, capsys: pytest.CaptureFixture[str]):
    source = NETWORKS.replace("raise ValueError", "raise KeyboardInterrupt")
    (folder / "net.py").write_text(source)
    assert main(["analyze", "net.py:Raises", "--input", "8x8"]) == 130
    one_line(capsys.readouterr().err)
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.is_grad_enabled()
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


# -- the same from Python -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("fmen_x", [(1, 3, 8, 8)]),
        ("fmen_s", []),
        ("fmen_s", ["256"]),
        ("fmen_s", [(1, 3, 0, 8)]),
        ("fmen_s", [(1, 3, 10**9, 10**9)]),
        (3, [(1, 3, 8, 8)]),
        (torch.nn.Conv2d, [(1, 3, 8, 8)]),
        (torch.zeros(3), [(1, 3, 8, 8)]),
    ],
)
def test_python_raises_an_input_error(model: Any, inputs: list[Any]):
    with pytest.raises(srprof.InputError) as raised:
        srprof.analyze(model, *inputs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"trace_on": "tpu"}, {"granularity": 0}, {"granularity": -1}]
)
def test_python_refuses_options(options: dict[str, Any]):
    with pytest.raises(srprof.InputError):
        srprof.analyze("fmen_s", (1, 3, 8, 8), **options)


def test_python_gets_the_place_of_the_models_error(folder: Path):
    with pytest.raises(srprof.ModelError) as raised:
        srprof.analyze("net.py:Raises", (1, 3, 8, 8))
    assert raised.value.file == str(folder / "net.py")
    assert raised.value.line == line_of(NETWORKS, "raise ValueError")
    assert isinstance(raised.value.__cause__, ValueError)
