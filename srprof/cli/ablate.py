"""`srprof ablate`: a study's variants trained alike, and one table of what they cost and give."""

from __future__ import annotations

import argparse

from srprof.options import add, add_output, progress_line, show

DESCRIPTION = """\
Train every variant of a study in the same way, and print one table: parameters, FLOPs, peak memory,
PSNR, with bicubic enlargement as the baseline. A study that was stopped goes on from there.

reports/ablation/ has those of the FMEN paper, each in two sizes: NAME_tiny.toml takes minutes on a
CPU, and NAME.toml is the paper's. A study is a TOML file:

  title = "RB and ERB"
  output = "runs/blocks"          a folder, in which each variant's run has one
  input = "256x256"               LR size at which FLOPs and memory are taken
  [training]                      the keys of srprof train, without model and output
  [[variants]]                    name, model (a SPEC), and training = { ... } that differs
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the TOML file")
    add(parser, "--timeout")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Run the study and print its table; 1 if merging changed a PSNR."""
    from srprof.training.study import read_study

    study = read_study(args.config)

    from srprof.training.ablation import ablate

    with progress_line() as progress:
        ablation = ablate(study, progress)
    show(args, ablation.document())
    merged = [outcome.result.merged for outcome in ablation.outcomes]
    return 0 if all(m is None or m.agrees for m in merged) else 1
