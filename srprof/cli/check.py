"""`srprof check`: limits and the recorded baseline, for CI."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from srprof.errors import InputError
from srprof.gate import formats
from srprof.options import add, add_output, format_of, show
from srprof.output import write

DESCRIPTION = """\
Hold the networks of srprof.toml (or [tool.srprof] in pyproject.toml) against their limits and
against srprof-baseline.json, and say which variable in which line costs more than before.

  srprof check --init net.py     write a first srprof.toml for the networks of a file
  srprof check --update          record what they need now; commit the file
  srprof check                   exit 0 if all hold, 1 if one does not
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    # fmt: off
    parser.add_argument("--config", metavar="FILE",
        help="srprof.toml or pyproject.toml (default: the nearest, here or above)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="write the baseline anew")
    what.add_argument("--init", metavar="FILE",
        help="write a first configuration for this file's networks")
    parser.add_argument("--partial", action="store_true",
        help="a baseline of another torch, dtype or protocol: what cannot be compared is a warning")
    add(parser, "--ops", "--timeout")
    add_output(parser, formats.FORMATS)


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 if the gate is closed."""
    from srprof.gate import config as configs
    from srprof.gate.formats.github import append_summary
    from srprof.gate.init import write_first
    from srprof.gate.run import check, update
    from srprof.render.views.check import document
    from srprof.render.writers import render

    if args.init is not None:
        if args.format is not None:
            raise InputError("--init has no result but the file it writes: leave --format out")
        done = write_first(args.init, args.config)
        write(done, args.output)
        return 0
    config = configs.load(configs.find(Path.cwd()) if args.config is None else Path(args.config))
    report = update(config) if args.update else check(config, args.partial)
    root = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    form, shown = format_of(args), document(report, root)
    if form in formats.FORMATS:
        write(formats.render(report, form, root), args.output)
    else:
        show(args, shown)
    append_summary(render(shown, "markdown"))
    return int(report.failed)
