"""Command-line options that several commands take; `cli/` has one file a command and no other."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping

from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES, check_shape, parse_size
from srprof.output import check_output, write
from srprof.render.document import Document
from srprof.render.figures import ENDINGS
from srprof.render.writers import Style, formats, render, suffixes
from srprof.spec import Spec


def add_output(parser: argparse.ArgumentParser, more: Mapping[str, str] | None = None) -> None:
    """How and where the result is written, the same for every command that prints tables.

    Args:
        more: formats that only this command has, each with how names of such files end.
    """
    add_format(parser, more)
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file instead of stdout")


def add_format(parser: argparse.ArgumentParser, more: Mapping[str, str] | None = None) -> None:
    """How the result is written; alone, of commands whose `-o` is another file, to stdout."""
    more = more or {}
    parser.add_argument(
        "--format",
        choices=(*formats(), *more),
        help="default: as the name after -o ends, else text",
    )
    parser.set_defaults(more_formats=more, output=None)


def format_of(args: argparse.Namespace) -> str:
    """The format that is asked for: by name, by the file's ending, else text."""
    if args.format is not None:
        return str(args.format)
    if args.output is None:
        return "rich" if sys.stdout.isatty() else "text"
    return _by_ending(args) or "text"


def _by_ending(args: argparse.Namespace) -> str | None:
    path = args.output.lower()
    return next((name for end, name in _endings(args).items() if path.endswith(end)), None)


def _endings(args: argparse.Namespace) -> dict[str, str]:
    return {**suffixes(), **{end: name for name, end in args.more_formats.items()}}


def check_ending(args: argparse.Namespace) -> None:
    """Refuse an output whose name does not say its format, if no option does.

    Raises:
        InputError: the endings that there are.
    """
    if args.format is None and args.output is not None and _by_ending(args) is None:
        endings = ", ".join(sorted(_endings(args)))
        raise InputError(f"-o {args.output}: name a file that ends in {endings}, or give --format")


def check_figure(path: str | None) -> None:
    """Refuse a figure that cannot be written, before any work is done.

    Raises:
        InputError: its ending is none of a picture, or `check_output` refuses it.
    """
    check_output(path, "--figure")
    if path is not None and not path.lower().endswith(ENDINGS):
        raise InputError(f"--figure {path}: name a file that ends in {', '.join(ENDINGS)}")


def show(args: argparse.Namespace, document: Document) -> None:
    """Write a command's result as `add_output`'s options say."""
    style = Style(width=shutil.get_terminal_size((100, 24)).columns)
    write(render(document, format_of(args), style), args.output)


def add_real_run(parser: argparse.ArgumentParser) -> None:
    """SPEC, its call and the device, of commands that run a model for real."""
    parser.add_argument("spec", metavar="SPEC", help="the model, as for analyze")
    add_input(parser)
    add_tensor_format(parser)
    parser.add_argument(
        "--device", metavar="DEVICE", default="cuda", help="cuda, cuda:N or cpu (default cuda)"
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """Sizes of the call's inputs, as `call_shapes` reads them."""
    parser.add_argument(
        "--input",
        metavar="SIZE",
        action="append",
        help="LR input: HxW, or NxCxHxW; again for each further input (default 256x256)",
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """A SPEC's checkpoint."""
    parser.add_argument(
        "--weights", metavar="FILE", help="load this checkpoint into the model; it must fit"
    )


def add_tensor_format(parser: argparse.ArgumentParser) -> None:
    """The tensors' dtype and memory format."""
    parser.add_argument("--dtype", choices=RUN_DTYPES, default="float32", help="default float32")
    parser.add_argument(
        "--channels-last", action="store_true", help="4-d tensors in channels-last format"
    )


def add_trace_on(parser: argparse.ArgumentParser) -> None:
    """Where the model is run, of commands that leave it to analyze to say what that means."""
    parser.add_argument(
        "--trace-on",
        choices=("auto", "meta", "cpu", "cuda-fake"),
        default="auto",
        help="as for analyze (default auto)",
    )


def call_shapes(args: argparse.Namespace, spec: Spec) -> list[tuple[int, ...]]:
    """Shapes of the call that `--input` asks for.

    Raises:
        InputError: one of them is no size, or too large for the dtype.
    """
    sizes = args.input or ["256x256"]
    batch = getattr(args, "batch", None)
    if batch is not None:
        sizes = [_batched(size, batch, spec.channels) for size in sizes]
    return [check_shape(parse_size(size, spec.channels), args.dtype) for size in sizes]


def _batched(size: str, batch: int, channels: int) -> str:
    if batch < 1:
        raise InputError(f"--batch {batch}: give a whole number of at least 1")
    if size.count("x") == 3:
        raise InputError(f"--input {size} has a batch of its own: leave --batch out, or write HxW")
    parse_size(size, channels)
    return f"{batch}x{channels}x{size}"


def check_counts(args: argparse.Namespace, **least: int) -> None:
    """Refuse a count that was given and is less than this.

    Raises:
        InputError: naming the option.
    """
    for option, lowest in least.items():
        value = getattr(args, option)
        if value is not None and value < lowest:
            raise InputError(f"--{option} {value}: give a whole number of at least {lowest}")
