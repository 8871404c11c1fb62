"""SPECs that name no model, and models with faults of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from srprof.cli import main
from tests.bad_input import CUDA_LINES, NETWORKS, Refused, command, files_in, line_of
from tests.refusals import one_line

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
def test_cuda_without_cuda(refused: Refused, folder: Path):
    options = ["--input", "8x8", "--trace-on", "cpu"]  # on meta it has a stand-in
    line = refused("analyze", "net.py:CudaInForward", *options, code=3)
    assert f"net.py:{CUDA_LINES['CudaInForward']}" in line
    assert re.search("CUDA|NVIDIA", line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_constructor_with_cuda_is_built_without(folder: Path):
    options = ["--input", "8x8", "--trace-on", "cpu"]
    assert main(["analyze", "net.py:CudaInConstructor", *options]) == 0
