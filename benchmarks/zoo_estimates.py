"""Estimates of the zoo's networks, as `srprof fit` has them: srprof/data/zoo_estimates.json.gz.

    python benchmarks/zoo_estimates.py

Each as `srprof estimate NAME` writes it. To be made again where a network of the zoo or the
recorder changes; tests/integration/test_estimate_fit.py compares them with fresh traces.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import srprof
from srprof import registry
from srprof.estimating.shipped import PATH


def main() -> None:
    """Make all of them."""
    made = {}
    for network in registry.networks():
        try:
            found = srprof.estimate(network.name)
        except srprof.SrprofError as error:
            print(network.name, error)
            continue
        print(network.name, found.exact, found.traces, len(found.to_json()), flush=True)
        if found.exact:
            made[network.name] = found.to_dict()
    text = json.dumps(made, separators=(",", ":"), sort_keys=True)
    Path(PATH).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
