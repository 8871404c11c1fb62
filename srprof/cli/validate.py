"""`srprof validate`: predicted memory against measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError, SrprofError
from srprof.inputs import RUN_DTYPES, check_shape, parse_size, parse_tolerance
from srprof.options import add_output, show
from srprof.output import check_output, write

if TYPE_CHECKING:
    from srprof.compare.validate import Validation
    from srprof.measuring.record import Measurement

_DESCRIPTION = """\
Measure models on a device, or read records of measurements, and compare with what srprof predicts:
the peak of the whole run, and the bytes alive at the end of every node. The exit code is 1 if one
of them is beyond the tolerance.
"""

#: Images that are measured if none is named; the CPU takes seconds for the large ones.
_DEFAULT_INPUT = {"cuda": "256x256", "cpu": "64x64"}

#: The table of scratch beside the records that are kept.
_SCRATCH = "workspace.json"


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "validate",
        help="compare predicted memory with measured, by node",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("specs", metavar="SPEC", nargs="*", help="models, as for analyze")
    parser.add_argument("--all", action="store_true", help="every network of the zoo")
    parser.add_argument(
        "--record",
        metavar="FILE",
        action="append",
        default=[],
        help="a record that `srprof measure --format json` wrote, or a folder that --save filled; "
        "the device is not needed",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument(
        "--input",
        metavar="SIZE",
        action="append",
        help="LR image, HxW or NxCxHxW; again for more (default 256x256 on cuda, 64x64 on cpu)",
    )
    parser.add_argument(
        "--dtype", choices=RUN_DTYPES, action="append", help="again for more (default float32)"
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="4-d tensors in channels-last format"
    )
    parser.add_argument(
        "--tolerance",
        metavar="PART",
        default="1%",
        help="of the measured peak, for the peak and for each node (default 1%%)",
    )
    parser.add_argument(
        "--repeat", metavar="N", type=int, default=0, help="also time N passes for the records"
    )
    parser.add_argument(
        "--save", metavar="DIR", help="keep the records there, and a table of the scratch found"
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Validate and print."""
    check_output(args.output)
    tolerance = parse_tolerance(args.tolerance)
    folder = _folder(args.save)
    if bool(args.specs or args.all) == bool(args.record):
        raise InputError("give SPEC..., --all or --record FILE: one of them")

    from srprof.compare.validate import Validations

    validations: list[Validation] = []
    errors: list[str] = []
    code = 0
    try:
        for measurement in _measurements(args, errors, folder):
            try:
                validations.append(_validate(measurement, tolerance))
            except SrprofError as error:
                errors.append(f"{measurement.spec}: {error}")
    except KeyboardInterrupt:
        print("srprof: interrupted; what was validated is written", file=sys.stderr)
        code = 130
    if folder is not None and validations:
        _save_workspaces(validations, folder)
    record = Validations(tuple(validations), tuple(errors))
    show(args, record.document())
    return code or int(not record.holds)


def _folder(path: str | None) -> Path | None:
    if path is None:
        return None
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--save {path}: {error.strerror}; name a folder") from error
    return folder


def _measurements(
    args: argparse.Namespace, errors: list[str], folder: Path | None
) -> Iterator[Measurement]:
    """The records, or new measurements; what fails goes into `errors`, and the rest goes on."""
    if args.record:
        from srprof.measuring.record import load

        for path in _records(args.record):
            yield load(path)
        return
    from srprof import registry, spec
    from srprof.measuring.run import measure
    from srprof.progress import TerminalProgress

    specs = [n.name for n in registry.networks()] if args.all else args.specs
    sizes = args.input or [_DEFAULT_INPUT["cpu" if args.device == "cpu" else "cuda"]]
    for text in specs:
        parsed = spec.parse(text)
        channels = parsed.channels
        for size in sizes:
            for dtype in args.dtype or ["float32"]:
                shape = check_shape(parse_size(size, channels), dtype)
                try:
                    with TerminalProgress(sys.stderr) as progress:
                        measurement = measure(
                            text,
                            shape,
                            device=args.device,
                            dtype=dtype,
                            channels_last=args.channels_last,
                            repeat=args.repeat,
                            progress=progress,
                        )
                except InputError:
                    raise
                except SrprofError as error:
                    errors.append(f"{text} at {size}, {dtype}: {error}")
                    continue
                if folder is not None:
                    name = "".join(c if c.isalnum() or c in "_-." else "_" for c in text)
                    write(measurement.to_json(), str(folder / f"{name}_{size}_{dtype}.json"))
                yield measurement


def _records(paths: Sequence[str]) -> Iterator[str]:
    """These files, and those of these folders but for the table of scratch."""
    for path in paths:
        if not Path(path).is_dir():
            yield path
            continue
        files = [file for file in sorted(Path(path).glob("*.json")) if file.name != _SCRATCH]
        if not files:
            raise InputError(f"--record {path}: there is no record in it; `--save` writes some")
        yield from map(str, files)


def _validate(measurement: Measurement, tolerance: float) -> Validation:
    from srprof.compare.validate import trace_of, validate

    return validate(measurement, trace_of(measurement), tolerance)


def _save_workspaces(validations: list[Validation], folder: Path) -> None:
    """One table of the scratch that all of them found, beside the records."""
    from srprof.memory.workspace import WorkspaceTable

    table = WorkspaceTable()
    for validation in validations:
        table = table.joined(validation.workspaces)
    write(table.to_json(), str(folder / _SCRATCH))
