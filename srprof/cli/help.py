"""`srprof help`: of a command, or of what several commands share."""

from __future__ import annotations

import argparse

from srprof.errors import InputError
from srprof.output import width, write
from srprof.topics import TOPICS
from srprof.words import filled, hint

DESCRIPTION = f"""\
Show the help of a command, or of a topic: {", ".join(TOPICS)}.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="a command or a topic")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from srprof.cli import COMMANDS, build_parser, parser_of

    if args.topic is None:
        text = build_parser().format_help()
    elif args.topic in COMMANDS:
        text = parser_of(args.topic).format_help()
    elif args.topic in TOPICS:
        text = filled(TOPICS[args.topic](), width()) + "\n"
    else:
        known = hint(args.topic, (*TOPICS, *COMMANDS))
        raise InputError(f"there is no topic {args.topic!r}: {known}")
    write(text, None)
    return 0
