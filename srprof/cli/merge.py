"""`srprof merge`: a checkpoint's training form into its inference form."""

from __future__ import annotations

import argparse
from typing import Any

from srprof.errors import InputError
from srprof.options import add_format, show
from srprof.output import check_output
from srprof.spec import CHECKPOINTS

_DESCRIPTION = """\
Fold the branches and batch norms of a re-parameterisable network (FMEN, FMEN-S) into plain
convolutions. Both forms are run on a random image, and how far they differ is reported.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "merge",
        help="fold a training-form checkpoint into its inference form",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pth or .safetensors")
    parser.add_argument(
        "-o",
        "--output",
        dest="merged",
        metavar="OUT",
        required=True,
        help="the merged checkpoint to write",
    )
    parser.add_argument(
        "--model",
        metavar="SPEC",
        default="",
        help="the network in training form, where its keys do not tell: "
        "\"fmen_baseline(form='train')\"",
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merge and report."""
    check_output(args.merged)
    if not args.merged.endswith(CHECKPOINTS):
        raise InputError(f"-o {args.merged}: name a file that ends in {' or '.join(CHECKPOINTS)}")

    from srprof.quality.merge import merge_checkpoint
    from srprof.render.views.merge import document
    from srprof.weights import write_state_dict

    merged = merge_checkpoint(args.checkpoint, args.model)
    write_state_dict(merged.model.state_dict(), args.merged)
    show(args, document(merged, args.merged))
    return 0
