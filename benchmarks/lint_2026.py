"""What `srprof lint` finds in the entries of NTIRE 2026, one row for each.

    python benchmarks/lint_2026.py --repositories DIR

DIR has `ntire2026`, the tree of the challenge's repository; its code is run, in a process for each
entry, as its own script builds the networks. Packages that an entry needs and that are not
installed are named, and the source is looked at all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from h200_peaks import alone, repositories

import srprof
from srprof.linting.record import STATUSES

#: What the rows are told apart by.
ASKED = {
    "constructor": "warm-up in the constructor",
    "script": "warm-up in the script",
    "operators": "custom operator",
    "builds": "not built here",
}


def files(root: Path) -> dict[int, Path]:
    """Each entry's file by its number."""
    found = sorted((root / "ntire2026" / "models").glob("team*.py"))
    return {int(file.name[4:6]): file for file in found}


def linted(root: Path, number: int) -> dict[str, Any]:
    """The JSON object of one entry."""
    script = str(root / "ntire2026" / "test_demo.py")
    file = str(files(root)[number])
    return srprof.lint(file, script=script, team=number, edits=False).to_dict()


def main() -> None:
    """Print a row for each entry, and which entries have what."""
    root = repositories(__doc__, linted)
    if root is None:
        return
    having: dict[str, list[str]] = {name: [] for name in ASKED}
    for number, file in files(root).items():
        found = alone(__file__, root, number)
        if found is None:
            continue
        statuses = {check["name"]: check["status"] for check in found["checks"]}
        for name, listed in having.items():
            if statuses[name] in ("failed", "warned"):
                listed.append(f"{number:02}")
        score = "-" if found["score"] is None else f"{found['score']['score']:.3f}"
        wrong = [f"{statuses[name]} {name}" for name in statuses if statuses[name] in STATUSES[2:]]
        print(f"{file.stem:28}{score:>9}  {', '.join(wrong) or 'nothing to mend'}", flush=True)
        for check in found["checks"]:
            for each in check["findings"] if check["name"] in ASKED else ():
                if each["status"] in STATUSES[2:]:
                    where = f" ({Path(each['file']).name}:{each['line']})" if each["file"] else ""
                    print(f"    {each['what']}{where}", flush=True)
    for name, listed in having.items():
        print(f"{ASKED[name]}: {' '.join(listed) or 'none'}")


if __name__ == "__main__":
    main()
