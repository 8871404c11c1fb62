"""The rows of a challenge's final table, as srprof has them, from what the challenge published.

    python benchmarks/challenge_rows.py ntire2026 RESULTS

RESULTS is the results.json of the year's repository, or a `.json.gz` of several years by their
number. Runtime is the mean over both sets of images, as in its results.txt; memory is that of the
validation images, to the byte. Ranked is a row whose PSNR, as printed, reaches both floors.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import srprof
from srprof.challenge.results import Results, read_results
from srprof.challenge.years import Year, find

DATA = Path(srprof.__file__).parent / "data"


def rows(results: Results, year: Year) -> list[dict[str, Any]]:
    """A row for each network, in the order of the file."""
    found = []
    for row in results.rows:
        psnr = {one.name: one.psnr for one in row.sets}
        found.append(
            {
                "name": row.name,
                "ranked": year.admits(psnr),
                "psnr_val": psnr["valid"],
                "psnr_test": psnr["test"],
                "runtime_ms": fmean(one.runtime for one in row.sets),
                "params": round(row.params),
                "flops": round(row.flops),
                "activations": round(row.activations),
                "memory_bytes": round(row.memory),
                "convs": row.convs,
            }
        )
    return found


def main() -> None:
    """Write the file of a year's rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("year", help="such as ntire2026")
    parser.add_argument("results", type=Path, help="what the challenge published")
    arguments = parser.parse_args()
    year = find(arguments.year)
    (results,) = read_results(str(arguments.results), year.name)
    table = {
        "source": f"{year.title} challenge on efficient super-resolution, results.json of its "
        f"repository ({year.source.partition(',')[0]})",
        "protocol": {
            "counts": f"LR 3x256x256, FLOPs by fvcore, {year.network} being the baseline",
            "runtime_ms": "mean of the means over validation and test images, first images in",
            "memory_bytes": f"torch.cuda.max_memory_allocated() over {year.script.images}",
            "gpu": year.gpu,
        },
        "rows": rows(results, year),
    }
    (DATA / year.table).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
