"""What `srprof help TOPIC` says of things that several commands share.

No torch here, and nothing heavy: texts, and the figures' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from srprof.figures import FIGURES, peaks
from srprof.operators.known import rules

SPEC = """\
SPEC is one of:
  fmen_s                         a network of the zoo (srprof list)
  fmen_s(scale=2)                the same with hyper-parameters
  path/to/net.py:Net(nf=48)      a class or function in a file, with literal arguments
  package.module:Net             the same in an importable module
  weights.pth                    a checkpoint that spandrel recognises ('srprof[spandrel]')
"""

_SPEC_MORE = """
Arguments are Python literals and are never evaluated. The file's folder, its project's root and
the current folder are importable while it is loaded. Quote a SPEC with parentheses:

  srprof analyze 'net.py:Net(nf=48, scale=4)' --input 256x256

A factory without arguments may load weights itself. A checkpoint for a SPEC is --weights FILE.
"""

_SIZES = """\
--input is an LR image, or any other input of the network:
  256x256                        height x width; batch 1, and the channels of the network
  256                            256x256
  1x3x180x320, 1x5x3x64x64, 1    a whole shape of any rank
  mask=1x1x64x64:bool            a keyword argument, and a dtype
Again for each further input. --inputs of sweep and validate are several, one after the other:
  64..512:64                     from 64 to 512 in steps of 64, squares
  180x320,360x640                between commas

Memory is MiB of 2^20 bytes. A budget is written 4GiB, 512MiB or 800MB; a limit too, 1% or 22.3G.
"""

_PARTS = """\
At every node, bytes of storages (views share one):
  input      what the node reads or changes in place
  output     what the node creates; nothing for in-place calls and views
  kept       older, and needed by a later node or held by the caller
  held       older, needed by nothing, but a variable still references it
  net        parameters, buffers and constants of the network
  workspace  scratch that a library takes within the node

planned is the largest sum of net, input, output and kept; eager adds held; allocated and reserved
are what CUDA's caching allocator makes of eager and workspace.
"""

_EXIT_CODES = """\
  0    done
  1    a limit is not held, or what was asked for does not fit: check, fit, validate, a budget \
of advise, the proof of lean, a device that is too small; or a busy machine
  2    the input is wrong: the one line says what, and how to mend it
  3    the network raised, or ran out of time or of main memory: its error, file and line
  130  interrupted by Ctrl-C
Results go to stdout or -o, messages to stderr.
"""

_FORMATS = """\
Every command that prints tables takes --format text, rich, markdown, html, latex, csv or json.
Without it the ending of -o decides (.txt, .md, .html, .tex, .csv, .json); a terminal gets rich, a
pipe text.

JSON is one object, with sizes in bytes and times in milliseconds. docs/json.md names every field;
`schema` grows when a field changes its meaning, and never for a new one. analyze also exports to
other programs, check to CI servers, sweep to Parquet: their --help has the names.
"""

_DEVICES = """\
--device is hardware that runs: cuda, cuda:N or cpu. --profile is a device that is predicted, and
none has to be there: a name of `srprof devices`, or a file that `srprof calibrate` wrote.
Without --profile no time is predicted, and what libraries take within a node is unknown.
"""


_OPERATORS = """\
Where a network imports operators of a package that is not installed, rules say what they do, and
stand in: --ops FILE, again for more, in every command that runs networks; `ops` in srprof.toml.

  [[op]]
  function = "fused_ops.gate"              what the network imports, or torch.ops.fused.gate
  signature = "x, weight, bias=None"
  result = "x"                             a new tensor like x, or {shape = "x.shape[0], 3"}
  scratch = "4 * x.numel"                  bytes that it takes meanwhile
  macs = "x.numel * weight.shape[1]"       multiply-accumulates

docs/operators.md has the rest. Rules that hold now:
"""


def _operators() -> str:
    known = rules()
    found = {**known.ops, **known.stubs}
    lines = [f"  {name}  ({where})" for name, (_, where) in sorted(found.items())]
    return _OPERATORS + "\n".join(lines) + "\n"


def _words() -> str:
    width = max(len(figure.name) for figure in FIGURES)
    lines = [f"  {figure.name:{width}}  {figure.meaning}" for figure in FIGURES]
    count = len(peaks())
    title, more = "Peaks of memory, from the most ideal to the most real:", "What else is counted:"
    return "\n".join([title, *lines[:count], "", more, *lines[count:], "", _PARTS])


#: Topics with what is said of each.
TOPICS: Mapping[str, Callable[[], str]] = {
    "spec": lambda: SPEC + _SPEC_MORE,
    "sizes": lambda: _SIZES,
    "words": _words,
    "devices-and-profiles": lambda: _DEVICES,
    "formats": lambda: _FORMATS,
    "operators": _operators,
    "exit-codes": lambda: _EXIT_CODES,
}
