"""What entrants published of their networks, in their own copies of a challenge's repository.

    python benchmarks/entrants.py --repositories DIR    # make records/entrants.json again
    python benchmarks/entrants.py                       # print it

The challenge's script leaves results.json, results.txt and a log beside it, and some entrants
published these with their code. `reports/challenge/entries.toml` says which (`[[year.entrant]]`);
DIR/entrants has the repositories, each in a folder `OWNER+NAME`. The record has the form of a
results file by year, with figures alone: of each network those of the most exact of the three
files, how many images they are of, and the repository's name and commit.

The GPUs are the entrants' own and mostly not named, so that no runtime is predicted. A memory is
that of the validation images if the script was run as it is; where it was not, the definition
says so (`not_of`), and it is left out with the runtime.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from challenge_entries import ENTRANTS, Entrant, challenges
from latency_tables import table

from srprof.output import write

#: What is kept of a row of results.json.
KEPT = (
    "valid_memory", "valid_ave_runtime", "valid_ave_psnr", "activations", "num_conv", "flops",
    "num_parameters",
)  # fmt: skip
#: The columns of results.txt that are kept, by their titles, and the decimals that they have.
PRINTED: Mapping[str, tuple[str, int]] = {
    "Val PSNR": ("valid_ave_psnr", 2),
    "Val Time [ms]": ("valid_ave_runtime", 2),
    "Params [M]": ("num_parameters", 3),
    "FLOPs [G]": ("flops", 2),
    "Acts [M]": ("activations", 2),
    "Mem [M]": ("valid_memory", 2),
    "Conv": ("num_conv", 0),
}
#: What the log has, and the decimals of it.
LOGGED: Mapping[str, tuple[str, int]] = {
    r"Max Memory : ([\d.]+) \[M\]": ("valid_memory", 3),
    r"Average runtime of .* is : ([\d.]+) (?:milli)?seconds": ("valid_ave_runtime", 6),
    r"Average PSNR of .* is : ([\d.]+) dB": ("valid_ave_psnr", 6),
    r"#Activations : ([\d.]+) \[M\]": ("activations", 4),
    r"#Conv2d : (\d+)": ("num_conv", 0),
    r"FLOPs : ([\d.]+) \[G\]": ("flops", 4),
    r"#Params : ([\d.]+) \[M\]": ("num_parameters", 4),
}
#: A line of the log with which a network's run begins, and one of an image.
_BEGINS, _IMAGE = re.compile(r" : (-?\d+_\S.*)$"), re.compile(r"\.png - PSNR|-+\d+-+> ")


def rows_of(file: Path) -> dict[str, dict[str, Any]]:
    """The rows of one of the script's files, by the networks' names; a log's last run of each."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".json":
        return {name: _of_json(row) for name, row in json.loads(text).items()}
    return dict(_of_text(text) if file.suffix == ".txt" else _of_log(text))


def _of_json(row: Mapping[str, Any]) -> dict[str, Any]:
    images = len(row.get("valid_runtime", ()))
    return {**{key: row[key] for key in KEPT if key in row}, "images": images}


def _of_text(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    head, *lines = [re.split(r"\t", line) for line in text.splitlines() if line.strip()]
    titles = [title.strip() for title in head]
    for line in lines:
        cells = dict(zip(titles, (cell.strip() for cell in line), strict=False))
        yield (
            cells.pop("Model"),
            _numbers((PRINTED[t], v) for t, v in cells.items() if t in PRINTED),
        )


def _of_log(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    name, found, images = "", [], 0
    for line in [*text.splitlines(), " : 0_end"]:
        if begins := _BEGINS.search(line):
            if found:
                yield name, {**_numbers(found), "images": images}
            name, found, images = begins[1].strip(), [], 0
        images += bool(_IMAGE.search(line))
        for pattern, key in LOGGED.items():
            if (match := re.search(pattern, line)) and key not in (k for k, _ in found):
                unit = 1000 if "Average runtime" in line and " seconds" in line else 1
                found.append((key, str(float(match[1]) * unit) if unit > 1 else match[1]))


def _numbers(found: Any) -> dict[str, Any]:
    """Figures that were printed, and how many decimals they have."""
    found = list(found)
    row: dict[str, Any] = {key: float(text) for (key, _), text in found}
    if "num_conv" in row:
        row["num_conv"] = int(row["num_conv"])
    return {**row, "decimals": {key: decimals for (key, decimals), _ in found}}


def published(entrant: Entrant, root: Path) -> dict[str, Any]:
    """The row of the record."""
    folder = root / entrant.folder
    if not folder.is_dir():  # the organisers' own
        folder = root / entrant.code
    rows = rows_of(folder / entrant.file)
    row = dict(rows[entrant.row])
    if entrant.not_of:
        row = {key: value for key, value in row.items() if not key.startswith("valid_")}
        row["not_of"] = entrant.not_of
    if entrant.baseline:
        row["baseline_memory"] = rows[entrant.baseline]["valid_memory"]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {**row, "repository": entrant.repository, "commit": commit, "file": entrant.file}


def main() -> None:
    """Make the record, or print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the repositories' folder")
    arguments = parser.parse_args()
    if arguments.repositories is not None:
        root = arguments.repositories.resolve()
        found = {
            year.name: {entrant.name: published(entrant, root) for entrant in year.entrant}
            for year in challenges()
            if year.entrant
        }
        write(json.dumps(found, indent=1) + "\n", str(ENTRANTS))
    columns = ("valid_memory", "activations", "num_conv", "flops", "num_parameters", "images")
    known = json.loads(ENTRANTS.read_text())
    rows = [
        (year, name, *(str(row.get(key, "-")) for key in columns), row["repository"])
        for year, rows in known.items()
        for name, row in rows.items()
    ]
    print(table(("year", "network", *columns, "repository"), rows))


if __name__ == "__main__":
    main()
