"""Edits in words."""

from __future__ import annotations

from srprof.advising.rewrite import (
    BindCall,
    Construct,
    Delete,
    ExchangeStatements,
    MoveStatement,
    Overwrite,
    Rewrite,
)


def words(rewrite: Rewrite) -> str:
    """What to write, in one line."""
    if isinstance(rewrite, Delete):
        block = f"the block of lines {rewrite.after[0]} to {rewrite.after[2]}"
        return f"del {', '.join(rewrite.names)} after {block if rewrite.block else 'this line'}"
    if isinstance(rewrite, BindCall):
        return f"{rewrite.name} = {rewrite.text} on a line of its own before this one"
    if isinstance(rewrite, Overwrite):
        return f"{rewrite.new} for {rewrite.old}"
    if isinstance(rewrite, Construct):
        module = f"{rewrite.path} of {rewrite.owner}"
        return f"construct {module}, which runs in this line, with inplace=True"
    if isinstance(rewrite, ExchangeStatements):
        return f"exchange this line and line {rewrite.second[0]}"
    if isinstance(rewrite, MoveStatement):
        if rewrite.below:
            return f"move this line below line {rewrite.beside[2]}"
        return f"move this line above line {rewrite.beside[0]}"
    when = "each part as soon as it is made" if rewrite.early else "all parts here"
    return f"split this cat and the 1x1 convolution in line {rewrite.line}, {when}"
