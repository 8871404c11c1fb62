"""`srprof merge`: a checkpoint's training form into its inference form."""

from __future__ import annotations

import argparse

from srprof.options import add_format, add_path, show
from srprof.spec import CHECKPOINTS

DESCRIPTION = """\
Fold the branches and batch norms of a re-parameterisable network (FMEN, FMEN-S) into plain
convolutions. Both forms are run on a random image, and how far they differ is reported.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pth or .safetensors")
    # fmt: off
    add_path(parser, CHECKPOINTS, dest="written", required=True)
    parser.add_argument("--model", metavar="SPEC", default="",
        help="the network in training form, where its keys do not tell: "
             "\"fmen_baseline(form='train')\"")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Merge and report."""
    from srprof.quality.merge import merge_checkpoint
    from srprof.render.views.merge import document
    from srprof.weights import write_state_dict

    merged = merge_checkpoint(args.checkpoint, args.model)
    write_state_dict(merged.model.state_dict(), args.written)
    show(args, document(merged, args.written))
    return 0
