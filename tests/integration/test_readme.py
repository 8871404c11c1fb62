"""The README and the docs show what the commands print; their examples work."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

import srprof
from srprof import models, registry
from srprof.cli import COMMANDS, main
from tests.golden_files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ srprof (.*?)\n(.*?)```", README, flags=re.DOTALL)


def words(line: str) -> str:
    """A line without the widths of its columns."""
    text = " ".join(line.split())
    return text if text.strip("- ") else re.sub("-+", "-", text)


@pytest.mark.parametrize("command, shown", BLOCKS)
def test_shown_lines_are_printed_in_this_order(command, shown, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)) == 0
    printed = list(map(words, capsys.readouterr().out.splitlines()))
    position = 0
    for line in shown.splitlines():
        assert words(line) in printed[position:], line
        position += printed[position:].index(words(line))


def test_there_are_blocks_to_compare():
    assert len(BLOCKS) >= 2


def test_lines_named_in_the_text():
    lines = (ROOT / "models" / "rfdn_net.py").read_text().splitlines()
    bound, read = re.search(r"`out`, of line (\d+), .*? on line (\d+)", README).groups()
    assert lines[int(bound) - 1].strip().startswith("out = ")
    assert "self.c5(out)" in lines[int(read) - 1]


def test_fmen_s_holds_nothing():
    memory = srprof.analyze("fmen_s", "510x510").memory
    assert memory.planned == memory.eager
    assert f"{memory.eager.nbytes / 2**20:.2f} MiB" in README


def test_exact_sum_named_in_the_design():
    requested = srprof.analyze("e_rfdn", "510x510").requested.eager.nbytes
    design = " ".join((ROOT / "docs" / "design.md").read_text().split())
    assert f"the exact sum is {requested / 2**20:.2f}" in design


def test_every_option_of_the_readme_exists(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    others = {"--with", "--no-deps", "--dist"}  # pip's and pytest's among them
    for option in set(re.findall(r"(?<!\S)`?(--[a-z][a-z-]+)", README)) - others:
        assert option in text, option


def test_every_command_of_the_readme_exists():
    blocks = "".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
    named = set(re.findall(r"^srprof (\w+)", blocks, flags=re.MULTILINE))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) <= named


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/design.md",
        "docs/gate.md",
        "docs/latency.md",
        "docs/validation.md",
    ],
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_both_set_up_commands_are_marked_for_ci():
    for name in ("main", "test"):
        block = re.search(rf"<!-- ci: {name} command -->\n```sh\n(.*?)\n```", README, re.DOTALL)
        assert block is not None
        assert block.group(1).startswith("python3 -m venv .venv && ")
        assert "\n" not in block.group(1)


def test_the_zoo_page_is_what_the_command_makes(golden, capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--format", "markdown"]) == 0
    golden(capsys.readouterr().out, ROOT / "docs" / "zoo.md")


def test_the_network_of_contributing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's file, put where it says, is listed, traced and run."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL).group(1)
    file = tmp_path / "espcn_net.py"
    file.write_text(code, encoding="utf-8")
    (network,) = models._entries(file)
    module = importlib.util.spec_from_file_location("srprof.models.espcn_net", file)
    loaded = importlib.util.module_from_spec(module)
    monkeypatch.setitem(sys.modules, "srprof.models.espcn_net", loaded)
    module.loader.exec_module(loaded)
    monkeypatch.setattr(registry, "networks", lambda: (network,))
    analysis = srprof.analyze("espcn(scale=2, nf=32)", "24x24")
    assert analysis.trace.nodes[-1].shape == (1, 1, 48, 48)
    with torch.no_grad():
        assert network.load()()(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


def test_published_memory_of_the_validation_page():
    """A row of its first table, computed anew."""
    page = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    published, *ours = re.search(
        r"\| ByteESR \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", page
    ).groups()
    analysis = srprof.analyze("rlfn", "510x510", protocol="ntire")
    cold, after = analysis.cold, analysis.simulation
    computed = (cold.peak_requested, cold.peak_allocated, after.peak_allocated)
    assert ours == [f"{nbytes / 2**20:.2f}" for nbytes in computed]
    assert ours[-1] == published
