"""`srprof rank`: the challenge's table for models, records and tables of results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from srprof.errors import InputError
from srprof.figures import peak_names
from srprof.inputs import parse_size
from srprof.options import add_output, show
from srprof.output import check_output

if TYPE_CHECKING:
    from srprof.compare.entries import Sizes
    from srprof.compare.ranking import Entry
    from srprof.measuring.record import Measurement
    from srprof.quality.record import Evaluation

DEFAULT = ("fmen", "fmen_s", "e_rfdn", "imdn")

_DESCRIPTION = """\
Rank models as the NTIRE challenge on efficient super-resolution does. Without --input each figure
is taken where the challenge takes it: complexity at an LR image of 256x256, memory at 510x510,
its largest, runtime at 339x510, which stands for the mean over its images.

Every value says where it comes from: predicted, measured, published, or given by you.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "rank",
        help="rank networks as the NTIRE challenge does, among themselves or in its field",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "specs",
        metavar="SPEC",
        nargs="*",
        help=f"models, as for analyze (default {' '.join(DEFAULT)})",
    )
    parser.add_argument(
        "--input",
        metavar="SIZE",
        help="take every figure at this LR image, HxW or NxCxHxW; each model is then run once",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        default="ntire2022",
        help="profile that runtime is predicted for, or a .toml file (default ntire2022)",
    )
    parser.add_argument(
        "--memory",
        choices=peak_names(),
        default="allocated",
        help="what the memory column counts (default allocated, as the challenge)",
    )
    parser.add_argument(
        "--ranks", action="store_true", help="ranks in brackets, and the tracks of 2022"
    )
    parser.add_argument(
        "--scoring",
        "--track",
        metavar="NAME",
        default="main",
        help="order by main (runtime, default), sub1, sub2, ntire2024, ntire2025, ntire2026, or "
        "a scoring of another package",
    )
    parser.add_argument(
        "--with",
        dest="reference",
        metavar="TABLE",
        help="among the rows of a published table: ntire2022",
    )
    parser.add_argument(
        "--from",
        dest="results",
        metavar="FILE",
        action="append",
        default=[],
        help="rows of your own, .csv or .json: name, params_M, flops_G, runtime_ms, memory_MiB, "
        "activations_M, and convs and psnr_dB if you like",
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        action="append",
        default=[],
        help="measured runtime and memory of a model, or its PSNR: what `srprof measure` or "
        "`srprof evaluate` wrote with --format json",
    )
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Rank and print."""
    check_output(args.output)

    from srprof.compare import scoring
    from srprof.compare.entries import CHALLENGE, Sizes
    from srprof.compare.results import load_reference, load_results

    how = scoring.find(args.scoring)
    given = [entry for path in args.results for entry in load_results(path)]
    field = load_reference(args.reference) if args.reference else ()
    sizes = CHALLENGE if args.input is None else Sizes.all_at(_size(args.input))
    records = _records(args.record)
    specs = args.specs or list(dict.fromkeys(r.spec for r in records.values()))
    if not specs and not given:
        specs = DEFAULT
    own = _models(specs, records, sizes, args.device, args.memory)
    notes = _beside_published(args) if field else []
    standing = scoring.standing([*own, *given, *field], how, notes)

    from srprof.render.views.ranking import document

    show(args, document(standing, args.ranks))
    return 0


def _beside_published(args: argparse.Namespace) -> list[str]:
    """In what the user's rows are not counted as the published ones are."""
    notes = []
    if args.memory != "allocated":
        notes.append(
            f"Published memory is torch.cuda.max_memory_allocated(), predicted is {args.memory}"
        )
    if args.input is not None:
        notes.append(f"Published figures are of the challenge's images, predicted at {args.input}")
    if args.device != "ntire2022":
        notes.append(f"Published runtimes are of the challenge's card, predicted for {args.device}")
    return notes


def _size(text: str) -> tuple[int, ...]:
    """The size as it was given: HxW without channels, which are the model's."""
    shape = parse_size(text)
    return shape if text.count("x") == 3 else shape[-2:]


def _records(paths: Sequence[str]) -> dict[str, Measurement | Evaluation]:
    if not paths:
        return {}
    from srprof.measuring.record import load
    from srprof.quality.record import FILE

    return {path: FILE.load(path) if FILE.is_one(path) else load(path) for path in paths}


def _models(
    specs: Sequence[str],
    records: dict[str, Measurement | Evaluation],
    sizes: Sizes,
    device: str,
    memory: str,
) -> list[Entry]:
    """A row for each SPEC, with what the records of it measured.

    Raises:
        InputError: two SPECs are one model, or a record is of none of them.
    """
    from srprof.compare.entries import evaluated, measured, predicted, trace_model
    from srprof.cost.profiles import load_profile
    from srprof.quality.record import Evaluation

    profile = load_profile(device)
    entries: dict[str, Entry] = {}
    unused = dict(records)
    for text in specs:
        model = trace_model(text, sizes)
        if model.name in entries:
            raise InputError(f"two models are called {model.name!r}: leave one out")
        entry = predicted(model, profile, memory)
        for path, record in records.items():
            if record.spec in (text, model.name):
                entry = (
                    evaluated(entry, model, record, path)
                    if isinstance(record, Evaluation)
                    else measured(entry, model, record, path, memory)
                )
                unused.pop(path, None)
        entries[model.name] = entry
    for path, record in unused.items():
        raise InputError(
            f"--record {path} is of {record.spec}, which is not among the models: name it, or "
            "leave the record out"
        )
    return list(entries.values())
