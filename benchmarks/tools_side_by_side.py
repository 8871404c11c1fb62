"""Peaks that tools say before a network is run, side by side, beside those that are traced.

    python benchmarks/tools_side_by_side.py --run     rows that the record has not
    python benchmarks/tools_side_by_side.py --docs    write the record's table into docs/estimate.md

Of one float32 image of 128x128, without gradients: `allocated` of a trace by srprof, which
docs/validation.md holds against GPUs, and beside it

- srprof's estimate, read by srprof_estimate.py: the zoo's, and the pack's of spandrel's networks;
- chaiNNer's formula, weights / (1024 * 52) times the image
  (backend/src/nodes/impl/upscale/auto_split_tiles.py#L14-L22 of chaiNNer 874b8783);
- what ComfyUI reserves beside the weights, 384 times a tile of 512x512 times the scale
  (comfy_extras/nodes_upscale_model.py#L79-L80 of ComfyUI 30a74432);
- torch-kitsune's `predict_memory(..., training=False)`, if it is installed
  (pip install --no-deps torch-kitsune).

The record is benchmarks/records/tools.json.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
from pathlib import Path
from typing import Any

import srprof_estimate
from srprof.errors import SrprofError

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "tools.json"
PAGE = ROOT / "docs" / "estimate.md"
PACK = ROOT / "packs" / "spandrel.pack.json"
BEGIN, END = "<!-- tools -->\n", "<!-- /tools -->\n"
SIDE = 128
TOOLS = ("srprof", "chaiNNer", "ComfyUI", "torch-kitsune")
#: Spandrel's, by their names in the pack.
SPANDREL = (
    *("Compact", "DnCNN", "DRUNet-colour", "ESRGAN", "ESRGAN-unshuffle", "FBCNN", "DCTLSA"),
    *("DITN", "MMRealSR", "MoESR", "MoSR", "NAFNet-width32", "OmniSR", "PLKSR", "RCAN"),
    *("PLKSR.RealPLKSR", "RealCUGAN.UpCunet4x", "SAFMN", "SwiftSRGAN", "SwinIR-light"),
)
#: Seconds for a network.
_LIMIT = 240


def names() -> list[str]:
    """The zoo's networks and twenty of spandrel's."""
    from srprof import registry

    return [*(network.name for network in registry.networks()), *SPANDREL]


def row(name: str) -> dict[str, Any]:
    """What is traced of a network, and what the tools say."""
    import srprof
    from srprof import registry
    from srprof.adapters.spandrel_networks import ENTRIES
    from srprof.call import Call
    from srprof.estimating.shipped import shipped
    from srprof.tracing.run import trace_call
    from srprof.workload import resolve

    entry = next((e.published for e in ENTRIES if e.published.name == name), None)
    if entry is None:
        channels = registry.find(name).channels  # some take luma alone
        call = Call(name, ((1, channels, SIDE, SIDE),))
        trace = trace_call(call, holders=False)
        model, scale = resolve(call).build("cpu"), trace.scale or 1
        known = shipped(name, trace.torch_version)
    else:
        model, scale = entry.build(), entry.scale
        image = (*entry.inputs[0][:2], SIDE, SIDE)
        trace = trace_call(Call(model, (image,)), holders=False)
        try:
            known = srprof_estimate.load(PACK, name)
        except (OSError, ValueError):
            known = None
    found: dict[str, Any] = {"traced": srprof.analyze(trace).peaks["allocated"].nbytes}
    channels = trace.inputs[0].info.shape[1]
    if known is not None:
        found["srprof"] = srprof_estimate.peak_bytes(known, SIDE, SIDE, dtype="float32")
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    found["chaiNNer"] = round(weights / (1024 * 52) * 4 * channels * SIDE**2)
    found["ComfyUI"] = 512 * 512 * 3 * 4 * max(scale, 1) * 384 + 4 * channels * SIDE**2 + weights
    try:
        from kitsune.predict import predict_memory  # type: ignore[import-not-found]
    except ImportError:
        return found
    said = predict_memory(model.eval(), (channels, SIDE, SIDE), training=False)
    found["torch-kitsune"] = said.total_bytes
    return found


def run(rows: dict[str, Any]) -> None:
    """Rows that are not there yet."""
    from srprof.adapters.importing import import_spandrel

    def late(*_: object) -> None:
        raise TimeoutError("its time is over")

    import_spandrel()
    signal.signal(signal.SIGALRM, late)
    for name in names():
        if name in rows:
            continue
        signal.alarm(_LIMIT)
        try:
            rows[name] = row(name)
        except (SrprofError, TimeoutError) as error:
            print(name, "is left out:", error, flush=True)
            continue
        finally:
            signal.alarm(0)
        RECORD.write_text(json.dumps(rows, indent=1) + "\n")
        print(name, rows[name], flush=True)


def table(rows: dict[str, Any]) -> str:
    """The record as Markdown: each tool's figure over the traced one, and how near it is."""
    lines = [
        f"| network | traced MiB | {' | '.join(TOOLS)} |",
        "|---|---" + "|---" * len(TOOLS) + "|",
    ]
    ratios: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    for name, found in rows.items():
        cells = []
        for tool in TOOLS:
            if tool in found:
                ratios[tool].append(found[tool] / found["traced"])
                cells.append(_times(ratios[tool][-1]))
            else:
                cells.append("")
        lines.append(f"| {name} | {found['traced'] / 2**20:.2f} | {' | '.join(cells)} |")
    cells = [_range(values) for values in ratios.values()]
    lines.append(f"| least, median, most | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if 0.9 < ratio < 1.1 else f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def _range(values: list[float]) -> str:
    if not values:
        return ""
    return ", ".join(_times(v) for v in (min(values), statistics.median(values), max(values)))


def main() -> None:
    """Run, print or write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="make rows that are not there")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {PAGE.name}")
    arguments = parser.parse_args()
    rows = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if arguments.run:
        run(rows)
    if arguments.docs:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(before + BEGIN + "\n" + table(rows) + "\n" + END + after, encoding="utf-8")
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
