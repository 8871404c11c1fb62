"""The command line. Each command is one file; this is where errors become exit codes.

Exit codes: 0 done; 1 a limit is not held, or it does not fit; 2 the input is wrong; 3 the model
raised; 130 interrupted.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, NoReturn

from srprof._version import __version__
from srprof.errors import InputError, InternalError, ModelError
from srprof.failures import GONE, failure
from srprof.output import own_streams, say, say_written, write
from srprof.paths import current_folder, place
from srprof.timeout import limited, timeout
from srprof.words import did_you_mean, filled, one_line

#: Commands by task, in the order in which the help lists them, with what it says of each; each is a
#: module here, with `DESCRIPTION`, `add_options` and `run`, which is loaded when it is called.
TASKS: Mapping[str, Mapping[str, str]] = {
    "look": {
        "analyze": "where a network's memory and time go, by node, line, variable",
        "diff": "what changed between two models, revisions or inputs",
        "fit": "the largest input, tile or batch within a budget of memory",
        "estimate": "peaks as functions of the size, for programs without torch",
        "rank": "rank networks as the NTIRE challenge does",
        "sweep": "a table, and a Pareto plot, of variants and input sizes",
        "report": "a page with ranking, figures and every node",
        "list": "the networks of the zoo",
        "devices": "the device profiles, with the source of each figure",
    },
    "change": {
        "advise": "which lines to change, by the memory that each saves",
        "lean": "the same outputs in less memory, with the proof",
    },
    "keep": {
        "check": "hold networks against limits and a baseline, for CI",
        "lint": "hold a challenge's entry against what is asked of one",
    },
    "measure": {
        "measure": "run it for real: memory by node, scratch, latency",
        "time": "a quick timing beside the predicted latency",
        "validate": "predicted memory against measured, by node",
        "calibrate": "make a device profile from short benchmarks",
        "evaluate": "PSNR and SSIM, beside runtime and memory",
        "spectrum": "what modules do to the frequencies of feature maps",
        "audit": "a challenge's published results, against themselves and against its code",
    },
    "train": {
        "train": "train by the paper's recipe, with the memory said first",
        "ablate": "train the variants of a study alike, and compare them",
        "merge": "a checkpoint's training form into its inference form",
    },
    "help": {
        "help": "of a command, or of SPEC, sizes, words, exit codes",
        "completion": "complete all of this in bash, zsh or fish",
    },
}
#: The same in one.
COMMANDS = {name: text for commands in TASKS.values() for name, text in commands.items()}

#: Commands whose `--timeout` is each network's, or each step's.
_OF_SEVERAL = {"audit", "check", "rank", "report", "sweep", "validate", "train", "ablate"}
#: The exit code of Ctrl-C.
INTERRUPTED = 130
#: Seconds that threads may take to end behind a command.
_PATIENCE = 2.0

_DESCRIPTION = """\
Where the memory of a super-resolution network goes: at which node, and because of which
variable in which line. No GPU is needed, and no activation is allocated.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like every other of srprof's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `--input -1x3` is a wrong size and not an unknown option
        self._negative_number_matcher = re.compile(r"-\d")

    def error(self, message: str) -> NoReturn:
        """Raise what `main` turns into exit code 2."""
        raise InputError(f"{message}; `{self.prog} --help` shows what there is")

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Refuse what is none of its options, and name those that look like it."""
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        shown = [name for name in self._option_string_actions if name.startswith("--")]
        near = [did_you_mean(option, shown) for option in options]
        mends = "".join(f"; {mend}" for mend in dict.fromkeys(filter(None, near)))
        self.error(f"unrecognized arguments: {' '.join(words)}{mends}")

    def _print_message(self, message: str, file: object = None) -> None:
        """Argparse's own way of printing: help and version are results."""
        write(message, None)


class _AllCommands(_Parser):
    """The parser of all commands, which its help lists by task."""

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        (commands,) = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        listed = {action.dest: action for action in commands._choices_actions}
        for task, names in TASKS.items():
            formatter.start_section(task)
            formatter.add_arguments([listed[name] for name in names])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([a for a in self._actions if a is not commands])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


class _Help(argparse.HelpFormatter):
    """Descriptions have examples, which are indented and stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return filled(text, width)


class _HelpOfAll(_Help):
    """Commands and their texts on one line: argparse forgets how far commands are indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 2 * self._indent_increment + max(map(len, COMMANDS))


_EPILOG = """\
exit codes: 0 done; 1 a limit is not held, or it does not fit; 2 the input is wrong; 3 the network
raised; 130 interrupted

example: srprof analyze fmen_s --input 256x256
"""


def build_parser(*called: str) -> _Parser:
    """The parser of all commands, with the options of those that are called."""
    parser = _AllCommands(
        prog="srprof",
        usage="srprof COMMAND ... (srprof COMMAND --help, srprof help TOPIC)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_HelpOfAll,
    )
    parser.add_argument("--version", action="version", version=f"srprof {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", parser_class=_Parser, prog="srprof"
    )
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, formatter_class=_Help)
        if name in called:
            command.description = _module(name).DESCRIPTION
            _module(name).add_options(command)
    return parser


def parser_of(command: str) -> _Parser:
    """The parser of one command."""
    actions = build_parser(command)._actions
    (commands,) = (a for a in actions if isinstance(a, argparse._SubParsersAction))
    parser: _Parser = commands.choices[command]
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
            return INTERRUPTED
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
    if first is not None and first not in COMMANDS and not first.startswith("-"):
        mend = did_you_mean(first, COMMANDS, count=2) or "`srprof --help` shows what there is"
        raise InputError(f"there is no command {first!r}: {mend}")
    parser = build_parser(first) if first in COMMANDS else build_parser()
    try:
        args, unknown = parser.parse_known_args(argv)
    except SystemExit as done:  # --help and --version have printed
        return int(done.code or 0)
    if unknown:
        (parser_of(first) if first in COMMANDS else parser).unknown(unknown)
    if args.command is None:
        parser.print_help()
        return 0
    if not current_folder():
        raise InputError(GONE)

    from srprof import options  # the command has loaded it
    from srprof.operators.known import using_ops

    options.check(args)
    with (
        using_ops(*getattr(args, "ops", ())),
        timeout(getattr(args, "timeout", None)),
        _limited(args),
    ):
        code: int = _module(args.command).run(args)
    if code != INTERRUPTED:  # what is whole then, the command has said
        say_written()
    options.say_older(args)
    return code


def _limited(args: argparse.Namespace) -> AbstractContextManager[None]:
    """The limit of a command that runs one network; others have one for each of theirs."""
    spec = getattr(args, "spec", "it")
    return nullcontext() if args.command in _OF_SEVERAL or spec is None else limited(spec)


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
