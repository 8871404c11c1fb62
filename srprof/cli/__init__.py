"""The command line. Each command is one file; this is where errors become exit codes.

Exit codes: 0 done; 1 a check failed; 2 the input is wrong; 3 the model raised; 130 interrupted.
No torch is loaded before a command needs it.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from srprof._version import __version__
from srprof.errors import SrprofError

#: Commands in the order in which the help lists them; each a module here.
COMMANDS = {
    "analyze": "srprof.cli.analyze",
    "list": "srprof.cli.list",
}

_DESCRIPTION = (
    "Where the memory of a super-resolution network goes: at which node, and because of which "
    "variable in which line. No GPU is needed, and no activation is allocated."
)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    parser = argparse.ArgumentParser(
        prog="srprof",
        description=_DESCRIPTION,
        epilog="example: srprof analyze fmen_s --input 256x256",
    )
    parser.add_argument("--version", action="version", version=f"srprof {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for module in COMMANDS.values():
        importlib.import_module(module).add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code. Nothing but this turns an error into one."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except SrprofError as error:
        print(f"srprof: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader (`| head`) has all that it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("srprof: interrupted; nothing was written", file=sys.stderr)
        return 130


def entry() -> int:
    """The console script: `main` in a process that will soon end."""
    gc.disable()  # importing torch makes many objects and no garbage worth looking for
    return main()
