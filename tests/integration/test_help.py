"""`srprof --help`, `help TOPIC`, `completion`, and what is said of a word that is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from srprof.cli import COMMANDS, TASKS, main
from srprof.cli.completion import SHELLS
from srprof.figures import FIGURES
from srprof.topics import TOPICS
from srprof.words import filled


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_commands_stand_under_their_tasks(capsys):
    lines = said(capsys, "--help").splitlines()
    assert list(TASKS) == ["look", "change", "keep", "measure", "train", "help"]
    for task, commands in TASKS.items():
        start = lines.index(f"{task}:") + 1
        section = lines[start : start + len(commands)]
        assert [line.split()[0] for line in section] == list(commands)
    assert sum(map(len, TASKS.values())) == len(COMMANDS), "a command has one task"


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "130"])
def test_exit_codes_are_documented(capsys, code):
    assert f"\n  {code:5}" in "\n" + said(capsys, "help", "exit-codes")
    assert f"{code} " in said(capsys, "--help").partition("exit codes: ")[2]


@pytest.mark.parametrize("topic", TOPICS)
def test_topics(capsys, topic):
    text = said(capsys, "help", topic)
    assert len(text.splitlines()) >= 3
    assert topic in said(capsys, "help", "--help")


def test_every_figure_has_its_words(capsys):
    text = said(capsys, "help", "words")
    for figure in FIGURES:
        assert f"  {figure.name}" in text and figure.meaning in text


def test_help_of_a_command_is_its_own(capsys):
    assert said(capsys, "help", "fit") == said(capsys, "fit", "--help")
    assert said(capsys, "help") == said(capsys, "--help")


@pytest.mark.parametrize(
    ("argv", "mend"),
    [
        (["analyse", "fmen_s"], "no command 'analyse': did you mean analyze?"),
        (["chek"], "did you mean check?"),
        (["net.py:Net"], "no command 'net.py:Net': `srprof --help` shows what there is"),
        (["analyze", "fmen_s", "--inptu", "8x8"], "did you mean --input?; `srprof analyze --help`"),
        (["analyze", "fmen_s", "--budgt=4GiB"], "--budgt=4GiB; `srprof analyze --help` shows"),
        (["fit", "fmen_s", "--budgt=4GiB"], "did you mean --budget?"),
        (["lean", "fmen_s", "--levle", "exact", "--verfy"], "--level?; did you mean --verify?"),
        (["--verson"], "did you mean --version?"),
        (["help", "exit-code"], "did you mean exit-codes?"),
        (["help", "analyse"], "did you mean analyze?"),
    ],
)
def test_what_was_meant(capsys, argv, mend):
    text = said(capsys, *argv, code=2)
    assert mend in text and text.count("\n") == 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_of_any_help_is_over_the_width(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    calls = [["--help"], *([name, "--help"] for name in COMMANDS), *(["help", t] for t in TOPICS)]
    for argv in calls:
        over = [line for line in said(capsys, *argv).splitlines() if len(line) > width]
        assert over == [], argv


def test_paragraphs_are_laid_out_and_examples_stay():
    text = "One two\nthree four.\n\n  srprof fit     of a picture and more\n  x\nFive"
    assert filled(text, 28).splitlines() == [
        "One two three four.", "", "  srprof fit     of a", "                 picture and",
        "                 more", "  x", "Five",
    ]  # fmt: skip


# -- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(capsys, shell):
    script = said(capsys, "completion", shell)
    for word in ("analyze", "granularity", "cuda-fake", "fit"):
        assert word in script
    assert "--tiles" not in script, "older names are not offered"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_the_script(capsys, tmp_path, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    file = tmp_path / "script"
    file.write_text(said(capsys, "completion", shell))
    subprocess.run([program, "-n", str(file)], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("srprof ana", {"analyze"}),
        ("srprof lean x --lev", {"--level"}),
        ("srprof lean x --level ", {"exact", "equivalent"}),
        ("srprof analyze ne", {"net.py"}),
    ],
)
def test_bash_offers(capsys, tmp_path: Path, typed, offered):
    (tmp_path / "net.py").touch()
    (tmp_path / "script").write_text(said(capsys, "completion", "bash"))
    words = typed.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    asked = (
        f"source ./script; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        f"COMP_LINE='{typed}'; COMP_POINT={len(typed)}; "
        "$(complete -p srprof | sed -E 's/.*-F ([^ ]+).*/\\1/') srprof; printf '%s\\n' "
        '"${COMPREPLY[@]}"'
    )
    found = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert offered <= set(found.stdout.split()), found.stderr
    assert len(found.stdout.split()) <= len(offered) + 1
