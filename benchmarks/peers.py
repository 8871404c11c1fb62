"""srprof beside the profilers that people use today, on FMEN-S at 1080x1920.

    pip install fvcore torchinfo ptflops thop
    python benchmarks/peers.py                # prints the table
    python benchmarks/peers.py -o docs/peers.md

Each runs in a process of its own, as its README says it should be called. Seconds are those of the
call, without imports and without building the network; the peak is that of the process.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from processes import python, run

SIZE = (1080, 1920)

_FRAME = """
import json, time, warnings
warnings.simplefilter("ignore")
import torch
from srprof.models import fmen_s
{imports}
shape = (1, 3, {height}, {width})
def call():
{body}
start = time.perf_counter()
answer = call()
print("ANSWER " + json.dumps([time.perf_counter() - start, answer]))
"""


@dataclass(frozen=True)
class Peer:
    """A profiler: how to call it, and what it answers beside the figures."""

    name: str
    imports: str
    body: str
    answers: str


PEERS = (
    Peer(
        "srprof",
        "import srprof",
        """
a = srprof.analyze("fmen_s", shape)
c = a.complexity
return {"params": c.parameters, "MACs": c.macs, "peak MiB": a.memory.eager.nbytes / 2**20}
""",
        "params, MACs, the challenge's FLOPs; peak planned and eager; who holds it, with lines",
    ),
    Peer(
        "fvcore",
        "from fvcore.nn import FlopCountAnalysis",
        """
with torch.no_grad():
    flops = FlopCountAnalysis(fmen_s().eval(), torch.rand(shape))
    flops.unsupported_ops_warnings(False)
    return {"MACs": flops.total()}
""",
        "MACs by module and op; activations",
    ),
    Peer(
        "torchinfo",
        "from torchinfo import summary",
        """
s = summary(fmen_s(), input_size=shape, verbose=0)
both = (s.total_output_bytes + s.total_param_bytes) / 2**20
return {"params": s.total_params, "MACs": s.total_mult_adds, "sum of outputs MiB": both}
""",
        "params, MACs; the sum of all outputs (not a peak)",
    ),
    Peer(
        "ptflops",
        "from ptflops import get_model_complexity_info",
        """
macs, params = get_model_complexity_info(
    fmen_s().eval(), shape[1:], as_strings=False, print_per_layer_stat=False, backend="pytorch"
)
return {"params": params, "MACs": macs}
""",
        "params, MACs (biases and some element-wise ops in)",
    ),
    Peer(
        "thop",
        "from thop import profile",
        """
with torch.no_grad():
    macs, params = profile(fmen_s().eval(), inputs=(torch.rand(shape),), verbose=False)
return {"params": int(params), "MACs": int(macs)}
""",
        "params, MACs",
    ),
    Peer(
        "FlopCounterMode",
        "from torch.utils.flop_counter import FlopCounterMode",
        """
with torch.no_grad(), FlopCounterMode(display=False) as mode:
    fmen_s().eval()(torch.rand(shape))
return {"MACs": mode.get_total_flops() // 2}
""",
        "FLOPs (2 per MAC) by module and op",
    ),
    Peer(
        "FlopCounterMode on meta",
        "from torch.utils.flop_counter import FlopCounterMode",
        """
with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as mode:
    fmen_s().eval()(torch.rand(shape))
return {"MACs": mode.get_total_flops() // 2}
""",
        "the same without running the network, for those who know to ask",
    ),
    Peer(
        "MemTracker",
        "from torch.distributed._tools.mem_tracker import MemTracker",
        """
model = fmen_s().eval()
tracker = MemTracker()
tracker.track_external(model)
with torch.no_grad(), tracker:
    model(torch.rand(shape))
(peak,) = tracker.get_tracker_snapshot("peak").values()
return {"peak MiB": peak["Total"] / 2**20}
""",
        "peak by kind (parameters, activations, temporaries); not who holds it",
    ),
)


def measure(peer: Peer) -> dict[str, object]:
    """Run one peer in its own process."""
    body = "\n".join(f"    {line}" for line in peer.body.strip().splitlines())
    code = _FRAME.format(imports=peer.imports, body=body, height=SIZE[0], width=SIZE[1])
    finished = run(python(code))
    lines = [line for line in finished.output.splitlines() if line.startswith("ANSWER ")]
    if finished.code != 0 or not lines:
        return {"error": f"exit code {finished.code}", "peak": finished.peak_mib}
    seconds, answer = json.loads(lines[-1].removeprefix("ANSWER "))
    return {"seconds": seconds, "process": finished.seconds, "peak": finished.peak_mib, **answer}


def table(results: dict[str, dict[str, object]]) -> str:
    """The results as Markdown."""
    from tabulate import tabulate

    rows = []
    for peer in PEERS:
        found = results[peer.name]
        memory = found.get("peak MiB") or found.get("sum of outputs MiB")
        rows.append(
            (
                peer.name,
                found.get("error") or f"{found['seconds']:.3f}",
                "" if "error" in found else f"{found['process']:.1f}",
                f"{found['peak']:,.0f}",
                f"{found['params']:,}" if "params" in found else "",
                f"{found['MACs'] / 1e9:.2f}" if "MACs" in found else "",
                f"{memory:,.2f}" if memory else "",
                peer.answers,
            )
        )
    headers = (
        "",
        "call s",
        "process s",
        "peak RSS MiB",
        "params",
        "GMACs",
        "memory MiB",
        "answers",
    )
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    """Measure all and print, or write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", help="write a Markdown page here")
    parser.add_argument("--only", nargs="*", help="names of the peers to run")
    args = parser.parse_args()
    results = {}
    for peer in PEERS:
        if args.only and peer.name not in args.only:
            results[peer.name] = {"error": "not run", "peak": 0}
            continue
        print(f"{peer.name} ...", file=sys.stderr)
        results[peer.name] = measure(peer)
    from importlib.metadata import version

    import torch

    versions = ", ".join(
        f"{name} {version(name)}" for name in ("fvcore", "torchinfo", "ptflops", "thop")
    )
    text = (
        "# srprof beside other profilers\n\n"
        f"FMEN-S (x4), one image of {SIZE[0]}x{SIZE[1]} (LR), one run each in a process of its "
        f"own.\n`python benchmarks/peers.py -o docs/peers.md`, torch {torch.__version__}, "
        f"{versions}, Python {platform.python_version()}, {torch.get_num_threads()} threads, no "
        "GPU.\n\n" + table(results) + "\n\n"
        "`call s` is the call alone; `process s` has imports and building the network too. "
        "torchinfo's memory is the sum of all outputs and weights, which no run ever holds at "
        "once; MemTracker's and srprof's are peaks.\n"
    )
    if args.output:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
