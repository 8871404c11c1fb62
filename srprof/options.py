"""Command-line options that several commands take; `cli/` has one file a command and no other.

An option has one meaning, one type and one default wherever it stands: `SHARED` has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from srprof import spec
from srprof.call import TRACE_ON, Call
from srprof.challenge.years import YEARS
from srprof.challenge.years import find as find_year
from srprof.errors import InputError, ModelError
from srprof.figures import peak_names
from srprof.gate.formats import FORMATS as GATE
from srprof.inputs import (
    RUN_DTYPES,
    call_inputs,
    parse_input,
    parse_sides,
    parse_size,
    parse_tolerance,
)
from srprof.leaning.levels import LEVELS
from srprof.memory.model import GRANULARITY
from srprof.operators.known import NONE as NO_RULES
from srprof.operators.rules import load as load_rules
from srprof.output import check_output, message_stream, say, to_terminal, width, write
from srprof.presets import PRESETS
from srprof.progress import TerminalProgress
from srprof.quantities import parse_aspect, parse_budget, parse_duration
from srprof.render.document import Document
from srprof.render.exports import EXPORTS
from srprof.render.figures import ENDINGS
from srprof.render.writers import formats, render, suffixes
from srprof.words import one_line

T = TypeVar("T")

#: What `--batch` without a number is.
LARGEST = 0


def argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Argparse's type for what a reader reads; its InputError is said with the option's name."""

    def typed(text: str) -> T:
        try:
            return read(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def passing(check: Callable[[str], object]) -> Callable[[str], str]:
    """Argparse's type for text that passes a check, which raises InputError, and stays text."""

    def checked(text: str) -> str:
        check(text)
        return text

    return argument(checked)


@cache
def count(least: int) -> Callable[[str], int]:
    """Argparse's type for a whole number of at least this."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise InputError(f"{text!r}: give a whole number of at least {least}")
        return value

    return argument(read)


def ending(*endings: str) -> Callable[[str], str]:
    """Argparse's type for a file to write, whose name ends in one of these."""

    def check(path: str) -> None:
        check_output(path, "")
        check_name(path, endings)

    return passing(check)


def check_name(path: str, endings: Sequence[str]) -> None:
    """An InputError if a file's name does not end in one of these, where there are any."""
    if endings and not path.lower().endswith(tuple(endings)):
        raise InputError(f"{path}: name a file that ends in {', '.join(endings)}")


def _load_profile(name: str) -> None:
    from srprof.cost.profiles import load_profile

    load_profile(name)


def _load_operators(path: str) -> None:
    if path != NO_RULES:
        load_rules(path)


size = passing(parse_size)  # text: the channels of HxW are the network's
tensor = passing(parse_input)  # text, for the same reason
sides = argument(parse_sides)
budget = argument(parse_budget)
duration = argument(parse_duration)
share = argument(parse_tolerance)
aspect = argument(parse_aspect)
profile = passing(_load_profile)
operators = passing(_load_operators)
year = passing(find_year)


class _Older(argparse.Action):
    """An older name of an option, which goes on working; `say_older` says so at the end."""

    def __init__(self, *args: Any, newer: argparse.Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._newer = newer

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        now = f"{option} is called {self._newer.option_strings[0]} now"
        namespace.older = (*getattr(namespace, "older", ()), now)
        if self._newer.nargs == 0:  # a flag has no place for the older name's value
            setattr(namespace, self.dest, values)
        else:
            self._newer(parser, namespace, values, option)


def add_older(parser: argparse._ActionsContainer, older: str, newer: str, **changes: Any) -> None:
    """An older name of an option that stands there already; `changes` where it was another kind."""
    action = parser._option_string_actions[newer]
    like = {name: getattr(action, name) for name in ("dest", "type", "nargs", "choices")}
    hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    parser.add_argument(older, action=_Older, newer=action, **{**like, **changes}, **hidden)


#: Options of several commands, each as argparse takes it.
# fmt: off
SHARED: Mapping[str, Mapping[str, Any]] = {
    "spec": {"metavar": "SPEC", "help": "the model, in one of the forms of srprof analyze --help"},
    "specs": {"metavar": "SPEC", "nargs": "*",
        "help": "models, in the forms of srprof analyze --help (default: those of the records; "
                "else rank takes some of the zoo)"},
    "--all": {"action": "store_true",
        "help": "every network: of the zoo, or of the library that is named in SPEC's place"},
    "--input": {"metavar": "SIZE", "action": "append", "type": tensor,
        "help": "LR input: HxW, H for a square, or a whole shape of any rank, NxCxHxW or 1; "
                "NAME=SIZE for a keyword, SHAPE:int64 for another dtype; again for each further "
                "input (default 256x256; rank takes each figure where the challenge does)"},
    "--inputs": {"metavar": "SIZES", "action": "append",
        "help": "LR inputs, one after the other: sizes as of --input, or ranges, 64..1024:64 "
                "(square), 64..128:64x96; between commas or again for more (default 256x256; 64x64 "
                "to be measured on the CPU)"},
    "--batch": {"metavar": "N", "nargs": "?", "type": count(1), "const": LARGEST,
        "help": "images of an --input HxW (default 1); without N the largest batch, which fit "
                "finds"},
    "--weights": {"metavar": "FILE", "help": "load this checkpoint into the model; it must fit"},
    "--dtype": {"choices": RUN_DTYPES,
        "help": "of parameters and inputs (default: the network's own; float32 of most)"},
    "--as": {"choices": tuple(PRESETS), "metavar": "PROGRAM", "dest": "run_as",
        "help": f"the program that runs the network: {', '.join(PRESETS)} (default: the call by "
                "itself; docs/estimate.md has what each does, and where that is read)"},
    "--channels-last": {"action": "store_true", "help": "4-d tensors in channels-last format"},
    "--trace-on": {"choices": TRACE_ON, "default": "auto",
        "help": "meta allocates nothing; cpu makes one real run; auto takes cpu where meta "
                "fails; cuda-fake takes composite ops apart as CUDA does, without a GPU"},
    "--ops": {"metavar": "FILE", "action": "append", "default": [], "type": operators,
        "help": "rules for operators of packages that are not installed, a TOML "
                "(docs/operators.md); none: not even srprof's own"},
    "--granularity": {"metavar": "BYTES", "type": count(1), "default": GRANULARITY,
        "help": "count each storage as a multiple of this: 512 as CUDA allocates (default), 1 "
                "exact"},
    "--alloc-conf": {"metavar": "SETTINGS",
        "help": "of CUDA's caching allocator, max_split_size_mb:128 (default: the environment's "
                "PYTORCH_CUDA_ALLOC_CONF)"},
    "--workspace": {"metavar": "FILE",
        "help": "scratch inside nodes: a table that `srprof validate --save DIR` wrote on the "
                "device; tensor-cores, what cuDNN copies on GPUs that have them (float32 as "
                "TF32); pointwise, 128 MiB in each 1x1 convolution, as some GPUs took; none "
                "(default: what the GPU of --profile takes)"},
    "--profile": {"metavar": "PROFILE", "type": profile,
        "help": "the device whose latency is predicted, and whose libraries take memory: a name "
                "(srprof devices), or a profile of your own (.toml); rank takes the challenge's "
                "card where none is named"},
    "--device": {"metavar": "DEVICE",
        "help": "hardware to run on: cuda, cuda:N or cpu (default cuda if there is one, else cpu)"},
    "--threads": {"metavar": "N", "type": count(1), "help": "CPU threads of torch's pool"},
    "--repeat": {"metavar": "N", "type": count(0),
        "help": "timed passes; 0 for none (default 100 on cuda, 10 on cpu; validate makes none)"},
    "--warmup": {"metavar": "N", "type": count(0),
        "help": "passes before them (default 10 on cuda, 2 on cpu; none by the challenge's "
                "protocol)"},
    "--timeout": {"metavar": "TIME", "type": duration,
        "help": "how long a network's code may take, 60s, before it fails with exit code 3; in "
                "commands with several networks it is each one's, in a training each step's"},
    "--budget": {"metavar": "SIZE", "type": budget,
        "help": "memory that the peak may take: 4GiB, 512MiB, 800MB"},
    "--memory": {"choices": peak_names, "default": "allocated",
        "help": "the peak that is meant, of a fresh program's first image (default allocated)"},
    "--gpu": {"metavar": "NAME",
        "help": 'the memory of this GPU, as people name it ("RTX 3060", "A100 40GB"), less what '
                "the driver and CUDA take"},
    "--frames": {"metavar": "N", "nargs": "?", "type": count(1), "const": LARGEST,
        "help": "frames of a video's --input HxW; without N the most that fit"},
    "--train": {"action": "store_true",
        "help": "the memory of one training step instead: forward, L1 loss, backward, Adam"},
    "--level": {"choices": tuple(LEVELS), "default": "exact",
        "help": "exact: every bit of the results stays; equivalent: up to rounding, for a lower "
                "peak (default exact; with --profile equivalent)"},
    "--image": {"metavar": "IMAGE",
        "help": "the LR image: a file, or HxW where its size is all that matters"},
    "--tile": {"metavar": "SIZE", "type": sides,
        "help": "run in overlapping tiles of this LR size, N or HxW; only for networks that are "
                "local"},
    "--record": {"metavar": "FILE", "action": "append", "default": [],
        "help": "what `srprof measure --format json` wrote, or a folder of such records; rank "
                "and lint take what `srprof evaluate` wrote too"},
    "--scale": {"metavar": "N", "type": count(1),
        "help": "from LR to HR (default the network's; lint takes a challenge's, 4)"},
    "--script": {"metavar": "FILE",
        "help": "of a challenge's repository, the program that builds its networks with "
                "select_model (audit: test_demo.py by default)"},
    "--team": {"metavar": "N", "type": count(0),
        "help": "the number of an entry in --script (default: the one that imports the file)"},
    "--year": {"metavar": "YEAR", "type": year,
        "help": "the challenge whose rules, counts, GPU and score are meant: "
                f"{', '.join(YEARS)} (default: of lint the last, of audit what the file says)"},
    "--save": {"metavar": "DIR",
        "help": "a folder to keep what was made: evaluate's SR images as 8-bit PNG; validate's "
                "records, and a table of the scratch found"},
    "--range": {"type": int, "choices": (1, 255),
        "help": "largest value that the network takes and gives (default: found on the first "
                "image); some checkpoints of the challenge take 255"},
    "--top": {"metavar": "N", "type": count(0),
        "help": "rows of each long table, the largest; 0 is all (default 10, all of a single "
                "view)"},
    "--figure": {"metavar": "FILE", "type": ending(*ENDINGS),
        "help": f"draw it too; the name ends in {', '.join(ENDINGS)}"},
}
# fmt: on

#: What says a call, in the order in which the help has it.
CALL = (
    "spec",
    "--input",
    "--weights",
    "--dtype",
    "--channels-last",
    "--trace-on",
    "--ops",
    "--timeout",
)


def add(parser: argparse.ArgumentParser, *names: str, **changes: Any) -> None:
    """Shared options by name; `changes` to them, of a command that has to differ."""
    for name in names:
        option = {**SHARED[name], **changes}
        if callable(option.get("choices")):  # what may be added to while srprof runs
            option["choices"] = option["choices"]()
        parser.add_argument(name, **option)


def add_call(parser: argparse.ArgumentParser, *without: str) -> None:
    """SPEC, its inputs and their format, as `read_call` reads them, but for what is left out."""
    add(parser, *(name for name in CALL if name not in without))


def add_profile(parser: argparse.ArgumentParser) -> None:
    """The profile by which latency is predicted, also by the option's older name."""
    add(parser, "--profile")
    add_older(parser, "--device", "--profile")


def read_call(
    args: argparse.Namespace, batch: int | None = None, frames: int | None = None
) -> Call:
    """The call that `add_call`'s options say.

    `batch` is of images given as height and width, and `frames` make a video of them.
    """
    channels = spec.parse(args.spec).channels
    given_inputs = [parse_input(text, channels) for text in args.input or ["256x256"]]
    if batch == LARGEST:
        raise InputError("--batch needs a number here: srprof fit finds the largest")
    for option, number in (("batch", batch), ("frames", frames)):
        whole = next((each for each in given_inputs if not each.sized), None)
        if number is not None and whole is not None:
            mend = f"leave --{option} out, or write HxW"
            raise InputError(f"--input {whole.size} has {_THEIRS[option]} of its own: {mend}")
    if batch is not None:
        given_inputs = [replace(i, shape=(batch, *i.shape[1:])) for i in given_inputs]
    if frames is not None:
        shapes = [(i.shape[0], frames, *i.shape[1:]) for i in given_inputs]
        given_inputs = [replace(i, shape=s) for i, s in zip(given_inputs, shapes, strict=True)]
    form = given(args, " ".join(name for name in _FORMAT if hasattr(args, name)))
    return Call(args.spec, call_inputs(given_inputs, args.dtype), **form)


#: What a whole shape has already.
_THEIRS = {"batch": "a batch", "frames": "frames"}
_FORMAT = ("weights", "dtype", "channels_last", "trace_on")


def given(args: argparse.Namespace, names: str) -> dict[str, Any]:
    """These options as keywords of the function that a command calls."""
    return {name: getattr(args, name) for name in names.split()}


def progress_line() -> TerminalProgress:
    """How far a command has come, on stderr if that is a terminal."""
    return TerminalProgress(message_stream())


def add_output(parser: argparse.ArgumentParser, more: Mapping[str, str] | None = None) -> None:
    """How and where tables are written; `more` formats of this command, with their endings."""
    add_format(parser, more)
    add_path(parser)


def add_path(
    parser: argparse.ArgumentParser, endings: Sequence[str] | None = (), **changes: Any
) -> None:
    """`-o`: what is written, by default to stdout.

    The name may have to end in one of these; None is a folder's.
    """
    parser.add_argument("-o", "--output", metavar="PATH", help=_PATH, **changes)
    parser.set_defaults(endings=endings)


#: One text for all commands, of which some have more.
_FORMATS = (
    f"{', '.join(formats())}; analyze also {', '.join(EXPORTS)}; check also {', '.join(GATE)}; "
    "sweep also parquet (default: as the name after -o ends, else text, and rich on a terminal)"
)
#: One text for all that commands write.
_PATH = (
    "the file to write, instead of to stdout; a profile, a checkpoint or a report's folder has no "
    "other place"
)


def say_older(args: argparse.Namespace) -> None:
    """Say what the options that were given by older names are called now."""
    for now in dict.fromkeys(getattr(args, "older", ())):
        say(f"srprof: {now}")


def check(args: argparse.Namespace) -> None:
    """What is asked of a command's options before it begins."""
    endings = getattr(args, "endings", None)
    path = getattr(args, "written", None) or getattr(args, "output", None)
    if endings is not None and path is not None:
        check_output(path)
        check_name(path, endings)


def add_format(parser: argparse.ArgumentParser, more: Mapping[str, str] | None = None) -> None:
    """How the result is written; alone, of commands whose `-o` is another file, to stdout."""
    more = more or {}
    parser.add_argument(
        "--format",
        choices=(*formats(), *more),
        metavar="FORMAT",
        help=_FORMATS,
    )
    parser.set_defaults(more_formats=more, output=None)


def format_of(args: argparse.Namespace) -> str:
    """The format that is asked for: by name, by the file's ending, else text."""
    if args.format is not None:
        return str(args.format)
    if args.output is None:
        return "rich" if to_terminal() else "text"
    return _by_ending(args) or "text"


def _by_ending(args: argparse.Namespace) -> str | None:
    path, endings = args.output.lower(), _endings(args)
    fitting = [end for end in endings if path.endswith(end)]
    return endings[max(fitting, key=len)] if fitting else None  # .perfetto.json before .json


def _endings(args: argparse.Namespace) -> dict[str, str]:
    return {**suffixes(), **{end: name for name, end in args.more_formats.items()}}


def check_ending(args: argparse.Namespace) -> None:
    """Refuse an output whose name does not say its format, if no option does."""
    if args.format is None and args.output is not None and _by_ending(args) is None:
        endings = ", ".join(sorted(_endings(args)))
        raise InputError(f"-o {args.output}: name a file that ends in {endings}, or give --format")


def show(args: argparse.Namespace, document: Document) -> None:
    """Write a command's result as `add_output`'s options say."""
    write(render(document, format_of(args), width()), args.output)


def said(failed: Sequence[str]) -> int:
    """Say which networks of several raised, a line each; the exit code of the rest."""
    for line in failed:
        say(f"srprof: {one_line(line)}")
    return ModelError.exit_code if failed else 0
