"""`srprof merge`: a checkpoint's training form into its inference form."""

from __future__ import annotations

import argparse
import json
from typing import Any

from srprof.errors import InputError
from srprof.output import check_output, write
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
        "-o", "--output", metavar="OUT", required=True, help="the merged checkpoint to write"
    )
    parser.add_argument(
        "--model",
        metavar="SPEC",
        default="",
        help="the network in training form, where its keys do not tell: "
        "\"fmen_baseline(form='train')\"",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merge and report."""
    check_output(args.output)
    if not args.output.endswith(CHECKPOINTS):
        raise InputError(f"-o {args.output}: name a file that ends in {' or '.join(CHECKPOINTS)}")

    from srprof.quality.merge import merge_checkpoint
    from srprof.weights import write_state_dict

    merged = merge_checkpoint(args.checkpoint, args.model)
    write_state_dict(merged.model.state_dict(), args.output)
    if args.format == "json":
        report = {
            "network": merged.name,
            "output": args.output,
            "numbers_before": merged.before,
            "numbers_after": merged.after,
            "difference_float64": merged.difference64,
            "difference_float32": merged.difference32,
        }
        write(json.dumps(report, indent=1) + "\n", None)
        return 0
    text = f"""\
{merged.name}: {merged.before:,} numbers in training form, {merged.after:,} merged
largest difference of outputs, relative to the largest output:
  float64  {merged.difference64:.1e}
  float32  {merged.difference32:.1e}
written to {args.output}
"""
    write(text, None)
    return 0
