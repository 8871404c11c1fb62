"""`srprof check`: limits and the recorded baseline, for CI."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.gate.formats import FORMATS
from srprof.gate.formats import render as render_for_ci
from srprof.options import add_output, format_of, show
from srprof.output import check_output, write

if TYPE_CHECKING:
    from srprof.gate.check import Report
    from srprof.gate.config import Config

_DESCRIPTION = """\
Hold the networks of srprof.toml (or [tool.srprof] in pyproject.toml) against their limits and
against srprof-baseline.json, and say which variable in which line costs more than before.

  srprof check --init net.py     write a first srprof.toml for the networks of a file
  srprof check --update          record what they need now; commit the file
  srprof check                   exit 0 if all hold, 1 if one does not
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="hold networks against limits and a recorded baseline, for CI",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="srprof.toml or pyproject.toml (default: the nearest, here or above)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="write the baseline anew")
    what.add_argument(
        "--init", metavar="FILE", help="write a first configuration for this file's networks"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="a baseline of another torch, dtype or protocol: what cannot be compared is a warning",
    )
    add_output(parser, FORMATS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 if the gate is closed."""
    check_output(args.output)
    if args.init is not None:
        return _init(args)

    from srprof.gate import config as configs

    path = configs.find(Path.cwd()) if args.config is None else Path(args.config)
    config = configs.load(path)
    with redirect_stdout(sys.stderr):  # what the networks' own code prints is no part of the report
        report = _updated(config) if args.update else _checked(config, args.partial)

    from srprof.render.views.check import document
    from srprof.render.writers import render

    root = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    form, shown = format_of(args), document(report, root)
    if form in FORMATS:
        write(render_for_ci(report, form, root), args.output)
    else:
        show(args, shown)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(render(shown, "markdown"), summary)
    return int(report.failed)


def _checked(config: Config, partial: bool) -> Report:
    from srprof.gate import baseline

    known = None if config.baseline is None else baseline.load(config.baseline)

    from srprof.gate.check import run as run_checks

    return run_checks(config, known, partial)


def _updated(config: Config) -> Report:
    if config.baseline is None:
        raise InputError(f"{config.file.name} says baseline = false: there is none to update")
    if not config.baseline.parent.is_dir():
        raise InputError(f"there is no folder {str(config.baseline.parent)!r}; make it first")

    from srprof.gate import baseline
    from srprof.gate.check import update

    report, made = update(config)
    if made is None:
        return replace(report, updated=f"{config.baseline.name} is as it was")
    baseline.write(made, config.baseline)
    return replace(report, updated=f"{config.baseline.name} has {len(made.entries)} entries now")


def _init(args: argparse.Namespace) -> int:
    from srprof.gate.init import first_config

    target = Path(args.config or "srprof.toml")
    if target.name == "pyproject.toml":
        raise InputError("--init writes a srprof.toml: leave --config out, or name another file")
    if target.exists():
        raise InputError(f"{target} is there already: edit it, or take it away first")
    with redirect_stdout(sys.stderr):
        text, found = first_config(args.init, str(target.parent))
    write(text, str(target))
    names = ", ".join(found)
    write(f"{target}: {names}\nnow run `srprof check --update`, and commit both\n", args.output)
    return 0


def _append(text: str, path: str) -> None:
    """Add to GitHub's job summary, which other steps write to as well."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"GITHUB_STEP_SUMMARY {path}: {error.strerror}") from error
