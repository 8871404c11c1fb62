"""`srprof report`: a folder with a page, tables and figures, from a TOML file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from srprof.options import add, add_path, progress_line, said
from srprof.output import write

DESCRIPTION = """\
Write a report: index.html, one page that fetches nothing; table.md and table.tex; data.json with
everything that they show; figures as SVG and PNG. The TOML file names the models:

  title = "Two networks"
  models = ["fmen_s", { name = "mine", spec = "net.py:Net(nf=48)" }]
  input = "256x256"
  profiles = ["gtx1080ti"]         # optional: predicted time (srprof devices)
  references = ["ntire2022"]       # optional: published rows beside them
  sections = ["ranking", "memory"] # optional: all by default

The folder is -o PATH, by default REPORT beside the file; an earlier report in it is replaced.
SPECs of files are found from the current folder.
A model that raises is left out, and the report says so; then the exit code is 3.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("definition", metavar="REPORT.toml", help="what to show")
    add_path(parser, None)
    add(parser, "--ops", "--timeout")


def run(args: argparse.Namespace) -> int:
    """Build and write; 3 if a model raised, which is left out."""
    from srprof.report.definition import read_definition

    definition = read_definition(args.definition)

    from srprof.report.build import build, check_folder, write_report

    folder = Path(args.output or Path(args.definition).with_suffix(""))
    check_folder(folder)
    words = ["srprof", "report", args.definition, *(["-o", args.output] if args.output else [])]
    with progress_line() as progress:
        report = build(definition, shlex.join(words), progress)
        progress("writing the page, tables and figures", 0, 1)
        names = write_report(report, folder)
    write(f"{folder}: {len(names)} files; open {folder / names[0]}\n", None)
    return said(report.record.failed)
