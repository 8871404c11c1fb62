"""The README and the docs show what the commands print; every command in them runs, in order."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
import torch

import srprof
from srprof import models, registry
from srprof.cli import COMMANDS, build_parser, main
from srprof.cost.profiles import load_profile, to_toml
from tests.golden_files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Pages with commands to type, which begin in a fresh copy of examples/.
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in (
        "analyze", "change", "fit", "gate", "rank", "sweep", "time", "report", "measure",
        "quality", "train", "first-minute", "lean_device", "output", "advice", "operators",
        "challenge", "estimate",
    )),
]  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: the comment before it, its language, its text."""

    marker: str
    kind: str
    text: str

    @property
    def left_out(self) -> str:
        """Why no test of this file runs it; "" if one does."""
        match = re.match(r"(not run|ci|tested): (.+)", self.marker)
        return match[0] if match else ""


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(
        r"^(?: *<!-- (.*?) -->\n)?( *)```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE
    )
    return [Block(marker, kind, dedent(body)) for marker, _, kind, body in found]


def words(line: str) -> str:
    """A line without the widths of its columns."""
    text = " ".join(line.split())
    return text if text.strip("- ") else re.sub("-+", "-", text)


def check_shown(shown: str, printed: str) -> None:
    """What is shown was printed, line after line; what is left out between is said by `...`."""
    rest, cut = list(map(words, printed.rstrip("\n").splitlines())), False
    for line in map(words, shown.splitlines()):
        if line == "...":
            cut = True
            continue
        assert line in rest, f"not printed: {line}"
        at = rest.index(line)
        assert cut or at == 0, f"lines before it are left out, and nothing says so: {line}"
        rest, cut = rest[at + 1 :], False
    assert cut or not rest, f"the rest is left out, and nothing says so: {rest[0]}"


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block of shell, and the comment behind it."""
    for line in block.text.splitlines():
        if line.strip():
            command, _, comment = line.partition(" #")
            yield command.strip(), comment.strip()


def run_one(command: str, comment: str, folder: Path) -> None:
    """One command as a person types it; it ends with the exit code that the comment says, or 0."""
    said = re.search(r"exit code ([1-9])\b(?! if)", comment)
    code = int(said[1]) if said else 0
    argv = shlex.split(command)
    if argv[0] == "srprof":
        assert main(argv[1:]) == code, command
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs_in_order(page, tmp_path, capsys, monkeypatch):
    """From a fresh copy of examples/, with what its output shows, and the Python between."""
    pytest.importorskip("skimage")
    folder = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for name in ("net", "vsr"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    ran = 0
    for block in blocks(page):
        if block.left_out:
            continue
        if block.kind == "console":
            command, _, shown = block.text.partition("\n")
            assert main(shlex.split(command.removeprefix("$ srprof "))) == 0, command
            check_shown(shown, capsys.readouterr().out.replace(f"{ROOT}{os.sep}", ""))
        elif block.kind == "sh":
            for command, comment in commands(block):
                run_one(command, comment, folder)
                capsys.readouterr()
        elif block.kind == "python":
            exec(compile(block.text, page, "exec"), {})  # as the reader of the page does
        else:
            continue
        ran += 1
    assert ran > 0
    monkeypatch.delitem(sys.modules, "net", raising=False)


def test_pages_with_commands_are_all_run():
    """Or say why not: every block of shell, in whatever page."""
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        page = path.relative_to(ROOT).as_posix()
        for block in blocks(page):
            if block.kind in ("sh", "console") and page not in PAGES:
                assert block.left_out, f"{page}: add it to PAGES, or say why it is not run"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_run_is_understood(page, tmp_path, monkeypatch):
    """Its commands exist, with these options."""
    monkeypatch.chdir(tmp_path)
    Path("cpu.toml").write_text(to_toml(load_profile("h100")))
    for block in blocks(page):
        if block.marker.startswith("not run") and block.kind == "sh":
            for command, _ in commands(block):
                argv = shlex.split(command)
                if argv[0] == "srprof":
                    build_parser(argv[1]).parse_args(argv[1:])


def test_an_excerpt_must_say_what_it_leaves_out():
    printed = "a\nb\nc\nd\n"
    for shown in ("a\nb\nc\nd", "a\n...\nd", "...\nb\nc\n...", "...\nd"):
        check_shown(shown, printed)
    for shown in ("b\nc\nd", "a\nc\n...", "a\nb", "...\nx"):
        with pytest.raises(AssertionError):
            check_shown(shown, printed)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 180


def test_lines_named_in_the_text():
    lines = (ROOT / "models" / "rfdn_net.py").read_text().splitlines()
    page = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    bound, read = re.search(r"`out`, of line (\d+), .*? on line (\d+)", page).groups()
    assert lines[int(bound) - 1].strip().startswith("out = ")
    assert "self.c5(out)" in lines[int(read) - 1]


def test_fmen_s_holds_nothing():
    memory = srprof.analyze("fmen_s", "510x510").memory
    assert memory.planned == memory.eager
    page = (ROOT / "docs" / "analyze.md").read_text(encoding="utf-8")
    assert f"{memory.eager.nbytes / 2**20:.2f} MiB" in page


def test_exact_sum_named_in_the_design():
    requested = srprof.analyze("e_rfdn", "510x510").requested.eager.nbytes
    design = " ".join((ROOT / "docs" / "design.md").read_text().split())
    assert f"the exact sum is {requested / 2**20:.2f}" in design


def test_every_option_of_the_pages_exists(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    others = {
        "--no-deps",
        "--dist",
        "--repositories",
        "--photographs",
        "--prove",
    }  # of pip, pytest and benchmarks
    for page in PAGES:
        prose = (ROOT / page).read_text(encoding="utf-8")
        for option in set(re.findall(r"(?<!\S)`?(--[a-z][a-z-]+)", prose)) - others:
            assert option in text, f"{page}: {option}"


def test_every_command_is_in_the_readme_s_table_and_on_a_page():
    table = README.partition("## All commands")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+)`", table.partition("From Python")[0]))
    assert named == set(COMMANDS)
    typed = {
        shlex.split(command)[1]
        for page in PAGES
        for block in blocks(page)
        if block.kind in ("sh", "console")
        for command, _ in commands(block)
        if command.removeprefix("$ ").startswith("srprof ")
    }
    assert set(COMMANDS) - {"completion"} <= typed | {"help"}


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))],
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
