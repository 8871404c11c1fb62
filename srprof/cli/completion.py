"""`srprof completion`: what a shell needs to complete srprof's commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from srprof.output import write

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = """\
Print a script by which a shell completes commands, options, their values and files.

  srprof completion bash > ~/.local/share/bash-completion/completions/srprof
  srprof completion zsh > ~/.zfunc/_srprof          with ~/.zfunc in $fpath, before compinit
  srprof completion fish > ~/.config/fish/completions/srprof.fish
"""

#: How options are called whose values are files, or folders.
_FILES = {
    "FILE",
    "PATH",
    "IMAGE",
    "SPEC",
    "ENTRY",
    "LIST",
    "CONFIG",
    "CHECKPOINT",
    "REPORT.toml",
    "A",
    "B",
}
_FOLDERS = {"DIR"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from srprof.cli import COMMANDS, build_parser

    parser = build_parser(*COMMANDS)
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # it is shtab's
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    write(shtab.complete(parser, args.shell), None)
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
