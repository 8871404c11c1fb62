"""What `lean --profile` is predicted to do: time and allocated peak, as shares of eager's.

    python benchmarks/lean_device.py [--profile h200] [--input 510x510] [NETWORK ...] [-o FILE]
    python benchmarks/lean_device.py --all --dtype float32 -o FILE [--prove]

Without names the eight networks of Table 4, in float16 and float32; with `--all` the zoo and
spandrel's, each of the latter at its own size. Nothing is run on a GPU. With `-o` the figures are
written as JSON after each network; those that are there already are not asked again. `--prove`
compares the lean network's outputs with its own, on the CPU in float32. `--page NAME` writes the
table into docs/lean_device.md, where it says so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import warnings
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from srprof import models
from srprof.call import call_of
from srprof.cost.profiles import load_profile
from srprof.errors import SrprofError
from srprof.leaning.proof import prove
from srprof.leaning.run import savings
from srprof.workload import resolve

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lean_device.md"
TABLE4 = "fmen_s e_rfdn imdn rlfn neesr megsr repafdn rainbow".split()


def predicted(
    name: str,
    spec: str,
    inputs: Any,
    dtype: str,
    profile: str,
    objective: Any,
    compare: bool = False,
) -> dict[str, Any]:
    """Shares of time and peak, and what was done."""
    began = time.process_time()
    workload = resolve(call_of(spec, inputs, dtype=dtype))
    found = savings(workload, "equivalent", profile=load_profile(profile), objective=objective)
    first, last = found.stages[0], found.stages[-1]
    assert first.seconds and last.seconds
    form = found.lean.form
    return {
        "network": name,
        "dtype": dtype,
        "input": [list(shape) for shape in inputs],
        "ms": first.seconds * 1e3,
        "lean_ms": last.seconds * 1e3,
        "time": last.seconds / first.seconds,
        "mib": first.peaks["allocated"] / 2**20,
        "lean_mib": last.peaks["allocated"] / 2**20,
        "peak": last.peaks["allocated"] / first.peaks["allocated"],
        "widths": {str(n): up for n, up in form.widths.items() if up > n} if form else {},
        "passes": list(found.lean.passes),
        "ended": [_in_package(text) for text in found.ended],
        "cpu_s": time.process_time() - began,
        **({"error": prove(workload, found.lean).error} if compare else {}),
    }


def _in_package(text: str) -> str:
    """Without the folders of this machine before the zoo's or spandrel's own."""
    return re.sub(r" at \S*?/(?=(models|spandrel)/)", " at ", text)


def everything(size: str) -> list[tuple[str, str, Any]]:
    """Name, SPEC and inputs of the zoo's networks and spandrel's."""
    from tests.spandrel_zoo import ENTRIES, import_spandrel

    import_spandrel()
    sides = tuple(map(int, size.split("x")))
    zoo = [(n.name, n.name, ((1, n.channels, *sides),)) for n in models.ZOO]
    return [*zoo, *((f"spandrel/{e.name}", e.spec, e.inputs) for e in ENTRIES)]


def write_page(rows: list[dict[str, Any]], name: str) -> None:
    """Put a table, and what it comes to, between the marks of the page."""
    lines = ["| network | input, dtype | ms | lean | share | MiB | lean | share | filled | error |"]
    lines.append("|---" * 10 + "|")
    for row in rows:
        if "refused" in row:
            continue
        size = " and ".join("x".join(map(str, shape)) for shape in row["input"])
        wider = ", ".join(f"{n} as {up}" for n, up in row["widths"].items())
        error = f"{row['error']:.0e}" if "error" in row else ""
        times = f"{row['ms']:.2f} | {row['lean_ms']:.2f} | {row['time']:.2f}"
        peaks = f"{row['mib']:.2f} | {row['lean_mib']:.2f} | {row['peak']:.2f}"
        cells = f"{row['network']} | {size} {row['dtype']} | {times} | {peaks} | {wider} | {error}"
        lines.append(f"| {cells} |")
    lines.append("")
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        those = [row for row in rows if row["dtype"] == dtype and "time" in row]
        means = [geometric_mean([row[key] for row in those]) for key in ("time", "peak")]
        lines.append(
            f"{dtype}: {means[0]:.3f} of the time and {means[1]:.3f} of the peak, geometric means "
            f"of {len(those)} networks."
        )
    lines += ["", *(f"- {r['network']}: {r['refused']}" for r in rows if "refused" in r)]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    body = "\n".join(lines).rstrip()
    PAGE.write_text(f"{before}<!-- {name} -->\n{body}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Predict, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=TABLE4)
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--input", default="510x510")
    parser.add_argument("--dtype", nargs="*", default=["float16", "float32"])
    parser.add_argument("--objective", default="both")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--prove", action="store_true")
    parser.add_argument("--page", metavar="NAME")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    file = arguments.output
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file and file.exists() else []
    shape = ((1, 3, *map(int, arguments.input.split("x"))),)
    asked = [(name, name, shape) for name in arguments.networks]
    for dtype in arguments.dtype:
        for name, spec, inputs in everything(arguments.input) if arguments.all else asked:
            if any(row["network"] == name and row["dtype"] == dtype for row in rows):
                continue
            how = dtype, arguments.profile, arguments.objective, arguments.prove
            try:
                rows.append(predicted(name, spec, inputs, *how))
            except SrprofError as error:
                rows.append({"network": name, "dtype": dtype, "refused": _in_package(str(error))})
            if file is not None:
                file.write_text(json.dumps(rows, indent=1) + "\n")
            print(" ".join(f"{value:.3f}" if isinstance(value, float) else str(value)
                           for value in rows[-1].values()), flush=True)  # fmt: skip
    if arguments.page is not None:
        write_page(rows, arguments.page)
    rows = [row for row in rows if "time" in row]
    shown = [
        [r[k] for k in "network dtype ms lean_ms time mib lean_mib peak".split()] for r in rows
    ]
    print(
        tabulate(shown, "network dtype ms lean_ms time mib lean_mib peak".split(), floatfmt=".3f")
    )
    for dtype in arguments.dtype:
        those = [row for row in rows if row["dtype"] == dtype]
        if those:
            means = [geometric_mean([row[key] for row in those]) for key in ("time", "peak")]
            print(
                f"{dtype}: geometric means {means[0]:.3f} of the time, {means[1]:.3f} of the peak"
            )


if __name__ == "__main__":
    main()
