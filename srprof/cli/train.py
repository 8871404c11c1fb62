"""`srprof train`: the paper's recipe on a network, resumable, with its memory said first."""

from __future__ import annotations

import argparse
from dataclasses import replace

from srprof.options import add, add_output, format_of, progress_line, show
from srprof.render.document import Document

DESCRIPTION = """\
Train a network by the recipe of the FMEN paper: L1, Adam, patches of HR images and their bicubic
downsampling, mirrored and turned. A run is a TOML file:

  model = "fmen_s(scale=2)"       a SPEC; FMEN in its training form, merged at the end
  data = ["DIV2K_train_HR"]       folders of HR images, or "skimage": photographs it ships
  output = "runs/fmen_s"          the run's folder; the same command goes on from there

and, with the paper's values unless given: iterations, batch, patch, lr, halve_every, betas, eps,
init, init_gain, seed, value_range (255 for networks that take 0..255, EDSR), device, validation,
held_out, crop, cache, log ("tensorboard"), log_every, validate_every, checkpoint_every.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the TOML file")
    add(parser, "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Train and report; 1 if merging changed the PSNR."""
    from srprof.training.config import read_training

    config = read_training(args.config)

    from srprof.render.views.training_run import beginning
    from srprof.training.plan import prepare
    from srprof.training.run import run as run_plan

    with progress_line() as progress:
        plan = prepare(config, progress)
    early = args.output is None and format_of(args) in ("text", "rich")
    if early:
        show(args, Document((beginning(plan),)))
    with progress_line() as progress:
        result = run_plan(plan, progress)
    document = result.document()
    show(args, replace(document, sections=document.sections[early:]))
    return 0 if result.merged is None or result.merged.agrees else 1
