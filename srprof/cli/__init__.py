"""The command line. Each command is one file; this is where errors become exit codes.

Exit codes: 0 done; 1 a check failed; 2 the input is wrong; 3 the model raised; 130 interrupted.
No torch is loaded before a command needs it.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, NoReturn

from srprof._version import __version__
from srprof.errors import InputError, InternalError, ModelError
from srprof.failures import GONE, failure
from srprof.output import own_streams, say, write
from srprof.paths import current_folder, place
from srprof.timeout import limited, timeout
from srprof.words import one_line

#: Commands in the order in which the help lists them, with what it says of each; each is a module
#: here, with `DESCRIPTION`, `add_options` and `run`, which is loaded when the command is called.
COMMANDS = {
    "analyze": "explain the peak memory of a network, node by node and line by line",
    "advise": "list changes of a network's source by the memory that they save",
    "calibrate": "make a device profile by a microbenchmark on the device",
    "devices": "list the device profiles, or show one with the source of each figure",
    "fit": "the largest input, tile or batch that fits a budget of memory",
    "lean": "rewrite a network to the same outputs in less memory, and prove it",
    "list": "list the networks of the zoo",
    "merge": "fold a training-form checkpoint into its inference form",
    "rank": "rank networks as the NTIRE challenge does, among themselves or in its field",
    "diff": "compare two models, revisions, inputs or analyses: what changed at the peak",
    "evaluate": "PSNR and SSIM of a network's images, beside runtime and memory",
    "measure": "run a network for real: memory node by node, workspace, latency",
    "report": "write a page with ranking, figures and every node, from a TOML file",
    "spectrum": "what modules do to the frequencies of feature maps",
    "sweep": "a table, and a Pareto plot, of a network's variants and input sizes",
    "time": "time a network quickly, beside its predicted latency",
    "validate": "compare predicted memory with measured, by node",
    "check": "hold networks against limits and a recorded baseline, for CI",
    "train": "train a network by the paper's recipe, with its memory predicted first",
    "ablate": "train the variants of a study alike, and compare cost and PSNR",
}

#: Commands whose `--timeout` is each network's, or each step's.
_OF_SEVERAL = {"check", "rank", "report", "sweep", "validate", "train", "ablate"}
#: Seconds that threads may take to end behind a command.
_PATIENCE = 2.0

_DESCRIPTION = (
    "Where the memory of a super-resolution network goes: at which node, and because of which "
    "variable in which line. No GPU is needed, and no activation is allocated."
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like every other of srprof's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `--input -1x3` is a wrong size and not an unknown option
        self._negative_number_matcher = re.compile(r"-\d")

    def error(self, message: str) -> NoReturn:
        """Raise what `main` turns into exit code 2."""
        raise InputError(f"{message}; `{self.prog} --help` shows what there is")

    def _print_message(self, message: str, file: object = None) -> None:
        """Argparse's own way of printing: help and version are results."""
        write(message, None)


class _Help(argparse.HelpFormatter):
    """Commands and their texts on one line: argparse forgets how far commands are indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 2 * self._indent_increment + max(map(len, COMMANDS))


def build_parser(*called: str) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of those that are called."""
    parser = _Parser(
        prog="srprof",
        description=_DESCRIPTION,
        epilog="example: srprof analyze fmen_s --input 256x256",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"srprof {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in called:
            command.description = _module(name).DESCRIPTION
            _module(name).add_options(command)
    return parser


def _module(command: str) -> Any:
    return importlib.import_module(f"srprof.cli.{command}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code. Nothing but this turns an error into one.

    Whatever was raised, it is said in one line (`failures.failure`).
    """
    with own_streams(), _ended_by_nobody_else():
        try:
            return _run(argv)
        except KeyboardInterrupt:
            say("srprof: interrupted; nothing was written")
            return 130
        except BaseException as error:
            return _say_why(error)


@contextmanager
def _ended_by_nobody_else() -> Iterator[None]:
    """`os._exit` raises as `sys.exit` does: a network's would end a gate with its own code.

    Another thread, which may be one that watches this process, does end it: with a line, and never
    as if all had gone well.
    """
    leave, process, thread = os._exit, os.getpid(), threading.get_ident()

    def refused(status: int) -> NoReturn:
        if os.getpid() == process:
            if threading.get_ident() == thread:
                raise SystemExit(f"os._exit({status!r})")
            caller = sys._getframe(1)
            file, line = caller.f_code.co_filename, caller.f_lineno
            say(f"srprof: a thread ended the process at {place(file, line)}: os._exit({status!r})")
            leave(status or ModelError.exit_code)
        leave(status)  # a forked child's

    os._exit = refused
    try:
        yield
    finally:
        os._exit = leave


def _say_why(error: BaseException) -> int:
    """Say an error in one line; gives its exit code."""
    try:
        failed = failure(error)
        say(f"srprof: {one_line(failed)}")
    except BaseException:  # of what this needs a network may have left nothing, not even calls
        say("srprof: it failed, and what for cannot be said any more")
        return InternalError.exit_code
    return failed.exit_code


def _run(argv: Sequence[str] | None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    zero = next((text for text in argv if "\0" in text), None)
    if zero is not None:  # Python's own functions of files raise whatever comes to their minds
        raise InputError(f"{zero!r} has a zero byte, which no name has; leave it out")
    first = next(iter(argv), None)
    parser = build_parser(first) if first in COMMANDS else build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as done:  # --help and --version have printed
        return int(done.code or 0)
    if args.command is None:
        parser.print_help()
        return 0
    if not current_folder():
        raise InputError(GONE)

    from srprof import options  # the command has loaded it

    options.check(args)
    with timeout(getattr(args, "timeout", None)), _limited(args):
        code: int = _module(args.command).run(args)
    options.say_older(args)
    return code


def _limited(args: argparse.Namespace) -> AbstractContextManager[None]:
    """The limit of a command that runs one network; others have one for each of theirs."""
    return nullcontext() if args.command in _OF_SEVERAL else limited(getattr(args, "spec", "it"))


def entry() -> int:
    """The console script: `main` in a process that will soon end."""
    gc.disable()  # importing torch makes many objects and no garbage worth looking for
    with own_streams():  # to the end: what threads and exit handlers print is no result either
        code = main()
        if "torch" in sys.modules:
            _end(code)
    return code


def _end(code: int) -> NoReturn:
    """End the process now: taking torch down frees, for a third of a second, what ends with it.

    Threads that Python would wait for, a network's too, may take a little longer, but not for ever.
    """
    waiting = threading.Thread(target=_wait_for_threads, daemon=True)
    if threading.active_count() > 1:
        with suppress(KeyboardInterrupt):
            waiting.start()
            waiting.join(_PATIENCE)
    atexit._run_exitfuncs()
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(Exception):  # closed, or nobody reads it
            stream.flush()  # type: ignore[union-attr]  # None where it was closed from the start
    os._exit(code)


def _wait_for_threads() -> None:
    """As Python does at its end: have executors let their threads go, and wait for all."""
    for let_go in reversed(getattr(threading, "_threading_atexits", [])):
        let_go()
    ours = (threading.main_thread(), threading.current_thread())
    for thread in threading.enumerate():
        if not thread.daemon and thread not in ours:
            thread.join()
