"""`srprof validate`: predicted memory against measured."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from srprof import registry, spec
from srprof.call import Call
from srprof.errors import InputError, Interrupted
from srprof.inputs import RUN_DTYPES, call_inputs, parse_input
from srprof.options import add, add_older, add_output, progress_line, share, show
from srprof.output import say
from srprof.sweeping.grid import parse_inputs

DESCRIPTION = """\
Measure models on a device, or read records of measurements, and compare with what srprof predicts:
the peak of the whole run, and the bytes alive at the end of every node. The exit code is 1 if one
of them is beyond the tolerance.
"""

#: Images that are measured if none is named; the CPU takes seconds for the large ones.
_DEFAULT_INPUTS = {"cuda": ("256x256",), "cpu": ("64x64",)}


def add_options(parser: argparse.ArgumentParser) -> None:
    add(parser, "specs", "--all")
    # fmt: off
    add(parser, "--record", "--device", "--inputs")
    add_older(parser, "--input", "--inputs")
    parser.add_argument("--dtypes", choices=RUN_DTYPES, action="append",
        help="of parameters and inputs, one after the other; again for more (default: the "
             "network's own)")
    add_older(parser, "--dtype", "--dtypes")
    add(parser, "--channels-last")
    parser.add_argument("--tolerance", metavar="PART", type=share, default="1%",
        help="of the measured peak, for the peak and for each node (default 1%%)")
    add(parser, "--repeat", "--save", "--ops", "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Validate and print."""
    if bool(args.specs or args.all) == bool(args.record):
        raise InputError("give SPEC..., --all or --record FILE: one of them")
    folder = None if args.save is None else _folder(args.save)

    from srprof.measuring.settings import usual_device

    device = "" if args.record else usual_device(args.device)
    calls = [] if args.record else _calls(args, device)

    from srprof.compare.validating import measured, recorded, validate_all

    code = 0
    try:
        with progress_line() as progress:
            measurements = (
                recorded(args.record)
                if args.record
                else measured(calls, device, args.repeat or 0, folder, progress)
            )
            record = validate_all(measurements, args.tolerance, folder)
    except Interrupted as interrupt:
        record, code = interrupt.partial, 130
        say("srprof: interrupted; what was validated is written")
    show(args, record.document())
    return code or int(not record.holds)


def _folder(path: str) -> Path:
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--save {path}: {error.strerror}; name a folder") from error
    return folder


def _calls(args: argparse.Namespace, device: str) -> list[Call]:
    """Each model at each size in each dtype."""
    usual = _DEFAULT_INPUTS["cpu" if device == "cpu" else "cuda"]
    sizes = parse_inputs(args.inputs) if args.inputs else usual
    names = [network.name for network in registry.networks()] if args.all else args.specs
    calls = []
    for name, text, dtype in product(names, sizes, args.dtypes or [None]):
        call_inputs([parse_input(text, spec.parse(name).channels)], dtype)
        calls.append(Call(name, (text,), dtype=dtype, channels_last=args.channels_last))
    return calls
