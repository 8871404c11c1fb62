"""Whatever a network raises, wherever: one line, its file and line, and exit code 3."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import srprof
from srprof.cli import main
from srprof.errors import ModelError
from tests.cases import strange
from tests.refusals import one_line

FILE = strange.__file__
SIZE = ("--input", "8x8")


def spec(call: str) -> str:
    return f"{FILE}:{call}"


def raised(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The line of a command whose network raised."""
    assert main(list(argv)) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    line = one_line(captured.err)
    assert re.search(r"strange\.py:\d+", line), line
    return line


@pytest.mark.parametrize("at", ["init", "forward"])
@pytest.mark.parametrize("kind", [*strange.RAISED, "_exit", "endless"])
def test_whatever_is_raised(capsys, at: str, kind: str):
    raised(capsys, "analyze", spec(f"Faulty({at!r}, {kind!r})"), *SIZE)
    assert sys.getrecursionlimit() < 3000
    assert os._exit.__name__ == "_exit"


def test_what_is_raised_is_named(capsys):
    line = raised(capsys, "analyze", spec("Faulty(kind='mute')"), *SIZE)
    assert "Mute" in line
    assert "__str__ raised RuntimeError" in line


#: Each command that runs a network, with what it takes behind the SPEC.
COMMANDS = {
    "analyze": SIZE,
    "analyze --train": SIZE,
    "analyze --cross-check": SIZE,
    "analyze --protocol=ntire": SIZE,
    "analyze --trace-on=cpu": SIZE,
    "analyze --trace-on=cuda-fake": SIZE,
    "analyze --dtype=float16": SIZE,
    "advise": SIZE,
    "fit": ("--budget", "1MiB"),
    "estimate": ("--dtype", "float32"),
    "lean": SIZE,
    "rank": SIZE,
    "evaluate": ("--hr", "hr", "--device", "cpu"),
    "spectrum": ("--image", "hr/image.png", "--module", "*"),
    "measure": (*SIZE, "--device", "cpu", "--repeat", "1"),
    "time": (*SIZE, "--device", "cpu", "--repeat", "1"),
    "sweep": (*SIZE, "--jobs", "1"),
}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    (tmp_path / "hr").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "hr" / "image.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("at", ["init", "forward"])
@pytest.mark.parametrize("command", COMMANDS)
def test_in_every_command(images, capsys, command: str, at: str):
    name, *options = command.split()
    raised(capsys, name, spec(f"Faulty({at!r}, 'halt')"), *options, *COMMANDS[command])


def test_in_diff(capsys):
    raised(capsys, "diff", spec("Net"), spec("Faulty"), *SIZE)


def test_in_training(images, capsys):
    Path("train.toml").write_text(f'model = "{spec("Faulty")}"\noutput = "out"\ndata = "hr"\n')
    raised(capsys, "train", "train.toml")


@pytest.mark.parametrize("at", ["train", "parameters", "modules", "hash", "eq", "repr", "weight"])
def test_what_nobody_needs_to_call(capsys, at: str):
    """A network whose `train` ends the process runs as one whose `train` says that it cannot."""
    assert main(["analyze", spec(f"Faulty({at!r})"), *SIZE]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [("--dtype", "float16"), ("--trace-on", "cuda-fake")])
def test_a_move_that_raises(capsys, options: tuple[str, ...]):
    raised(capsys, "analyze", spec("Faulty('_apply')"), *SIZE, *options)


@pytest.mark.parametrize("call", ["HasNoClass", "WithoutSuper", "Outer", "Endless"])
def test_what_torch_does_not_run(capsys, call: str):
    raised(capsys, "analyze", spec(call), *SIZE)


def test_a_constructor_that_leaves_torch_s_out(capsys):
    line = raised(capsys, "analyze", spec("Outer"), *SIZE)
    assert "part" in line
    assert "super().__init__()" in line
    with pytest.raises(ModelError, match="super"):
        srprof.analyze(strange.WithoutSuper(), (1, 3, 8, 8))


@pytest.mark.parametrize(
    "call", ["Nested(200)", "Nested(320)", "Recursive('list')", "Recursive('mutual')", "Cycle"]
)
def test_what_torch_runs(call: str):
    assert main(["analyze", spec(call), *SIZE]) == 0


def test_modules_nested_in_each_other_are_copied():
    assert srprof.analyze(strange.Nested(200), (1, 3, 8, 8)).value("convs") == 1


def test_a_cycle_of_modules_that_must_be_moved(capsys):
    """torch itself goes round in it, for no line of the user's."""
    line = raised(capsys, "analyze", spec("Cycle"), *SIZE, "--dtype", "float16")
    assert "RecursionError" in line


def test_a_call_that_raises_only_later(capsys, monkeypatch):
    monkeypatch.setattr(strange.Late, "calls", 0)
    with pytest.raises(ModelError, match="Halt"):
        srprof.measure(strange.Late(), (1, 3, 8, 8), device="cpu", repeat=0)


@pytest.mark.parametrize("kind", ["exit", "halt", "mute"])
def test_in_python(kind: str):
    with pytest.raises(ModelError) as caught:
        srprof.analyze(strange.Faulty("forward", kind), (1, 3, 8, 8))
    assert caught.value.file == FILE
    assert caught.value.line


# -- the working folder -------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["Leaves", "Leaves('forward')"])
def test_a_network_that_leaves_the_folder(tmp_path, monkeypatch, call: str):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", spec(call), *SIZE]) == 0
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize("command", ["list", "analyze", "check", "sweep"])
def test_a_folder_that_has_been_deleted(tmp_path, monkeypatch, capsys, command: str):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    argv = [spec("Net")] if command in ("analyze", "sweep") else []
    assert main([command, *argv]) == 2
    assert "has been deleted" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("argv", [["analyze"], ["sweep", "--jobs", "1"]])
def test_a_network_that_deletes_the_folder(tmp_path, monkeypatch, argv: list[str]):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main([argv[0], spec("Deletes"), *SIZE, *argv[1:]]) == 0
    assert not folder.exists()


# -- several networks: one that fails fails alone -----------------------------------------------


def test_a_ranking_of_the_others(capsys):
    argv = ["rank", spec("Net"), spec("Faulty"), spec("Faulty('init')"), *SIZE]
    assert main([*argv, "--format", "json"]) == 3
    captured = capsys.readouterr()
    ranking = json.loads(captured.out)
    assert [row["name"] for row in ranking["rows"]] == [spec("Net")]
    assert [note.count("SystemExit at") for note in ranking["notes"]].count(1) == 2
    lines = captured.err.splitlines()
    assert len(lines) == 2
    assert all(re.search(r"srprof: .*Faulty.* failed: .*strange\.py:\d+", line) for line in lines)


def test_a_report_of_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models = [spec("Net"), spec("Faulty")]
    figure = f"[[figures]]\nname = 'one'\ntitle = 'One'\nmodels = {models}\ninput = '8x8'\n"
    alone = figure.replace("'one'", "'two'").replace(f"{models}", f"{models[1:]}")
    table = f"[[tables]]\ntitle = 'T'\nmodels = {models}\nmeasures = ['params_M']\ninput = '8x8'\n"
    Path("r.toml").write_text(
        f"title = 'Two'\ninput = '8x8'\nmodels = {models}\n"
        f"sections = ['tables', 'figures']\n{figure}{alone}{table}"
    )
    assert main(["report", "r.toml"]) == 3
    assert "strange.py" in one_line(capsys.readouterr().err)
    record = json.loads(Path("r/data.json").read_text())
    assert [model["name"] for model in record["models"]] == models[:1]
    assert [figure["name"] for figure in record["figures"]] == ["one"]
    assert [row["name"] for row in record["tables"][0]["rows"]] == models[:1]
    assert len(record["failed"]) == 1
    for page in ("r/index.html", "r/table.md"):
        assert "SystemExit at" in Path(page).read_text()


def test_a_report_of_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text(f"title = 'T'\nmodels = ['{spec('Faulty')}']\ninput = '8x8'\n")
    raised(capsys, "report", "r.toml")
    assert not Path("r").exists()


def test_the_gate_s_other_checks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checks = "".join(
        f"[[check]]\nname = '{call}'\nmodel = '{spec(call)}'\ninput = '8x8'\nparams = 500\n"
        for call in ("Faulty", "Net")
    )
    Path("srprof.toml").write_text(f"baseline = false\n{checks}")
    assert main(["check", "--format", "junit"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert 'tests="2" failures="0" errors="1"' in captured.out


def test_a_sweep_s_other_rows(capsys):
    argv = ["sweep", spec("Faulty"), "--set", "at='forward','none'", *SIZE, "--jobs", "1"]
    assert main([*argv, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    assert ["SystemExit at" in (row["error"] or "") for row in rows] == [True, False]


def test_validations_of_the_others(capsys):
    argv = ["validate", spec("Faulty"), spec("Net"), *SIZE, "--device", "cpu", "--repeat", "0"]
    assert main([*argv, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert re.search(r"strange\.py:\d+", json.dumps(found["errors"]))
    assert len(found["validations"]) == 1


# -- what srprof finds there --------------------------------------------------------------------


@pytest.mark.parametrize("trace_on", ["auto", "cuda-fake", "cpu"])
def test_shared_weights_count_once(trace_on: str):
    """torch makes two of one where it moves it to a device without data."""
    analysis = srprof.analyze(spec("TiedOnTheCpu"), "8x8", trace_on=trace_on)
    assert analysis.value("params") == 3 * 3 * 3 * 3 + 2 * 3
    assert analysis.memory.net == 3 * 512


def test_a_first_configuration_of_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = Path(FILE).read_text() + "\n\ndef stops() -> Net:\n    fault('_exit')\n"
    Path("net.py").write_text(source)
    monkeypatch.setattr("srprof.gate.init.factories", lambda *_: ["Net", "stops", "Faulty"])
    assert main(["check", "--init", "net.py"]) == 0
    written = Path("srprof.toml").read_text()
    assert written.count("[[check]]") == 1
    assert written.count("is left out") == 2
    assert capsys.readouterr().err == "srprof: wrote srprof.toml\n"
