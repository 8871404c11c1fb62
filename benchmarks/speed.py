"""How fast srprof is: against what torch alone needs, with size, and with the image.

    python benchmarks/speed.py

Prints ratios, which hold on any machine; absolute times are this one's.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from processes import paired, python, run, spread

FLOOR = (
    "import torch; torch.nn.functional.conv2d("
    "torch.empty(1, 3, 8, 8, device='meta'), torch.empty(3, 3, 3, 3, device='meta'))"
)

SECOND = """
import time, srprof
srprof.analyze("fmen_s", (1, 3, 256, 256)).to_dict()
times = []
for _ in range(11):
    start = time.perf_counter()
    srprof.analyze("fmen_s", (1, 3, 256, 256)).to_dict()
    times.append(1e3 * (time.perf_counter() - start))
print(*times)
"""

DEVICE = """
import statistics, time, srprof
def seconds(profile):
    start = time.perf_counter()
    srprof.analyze("e_rfdn", (1, 3, 256, 256), profile=profile).to_dict()
    return time.perf_counter() - start
for _ in range(3):
    seconds(None), seconds("gtx1080ti")
pairs = [(seconds("gtx1080ti"), seconds(None)) for _ in range(25)]
print(statistics.median(a / b for a, b in pairs))
"""

CHAIN = """
import gc, time, torch, srprof
from torch import nn
with torch.device("meta"):
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range({count})))
srprof.trace(nn.Conv2d(4, 4, 3, padding=1), (1, 4, 64, 64))
gc.collect()  # what building the network left is not the trace's
start = time.perf_counter()
trace = srprof.trace(net, (1, 4, 64, 64))
seconds = time.perf_counter() - start
assert len(trace.nodes) == {count}
print(seconds)
"""


def srprof(*arguments: str) -> list[str]:
    """The command line, in this interpreter."""
    return [sys.executable, "-m", "srprof", *arguments]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each command")
    runs = parser.parse_args().runs

    pairs = paired(srprof("analyze", "fmen_s", "--input", "256x256"), python(FLOOR), runs)
    print("srprof analyze fmen_s --input 256x256 against `import torch; one meta convolution`")
    print(f"  srprof s  {spread([a.seconds for a, _ in pairs])}")
    print(f"  floor s   {spread([b.seconds for _, b in pairs])}")
    print(f"  ratio     {spread([a.seconds / b.seconds for a, b in pairs])}   goal at most 1.15")

    times = [float(t) for t in run(python(SECOND)).output.split()]
    print(f"second analysis in one process, ms: {spread(times)}   goal under 60")

    ratios = [float(run(python(DEVICE)).output) for _ in range(3)]
    print(f"analysis with predicted latency against without: {spread(ratios)}   goal at most 1.10")

    times = [run(srprof("--help")).seconds for _ in range(runs)]
    print(f"srprof --help, s: {spread(times)}   goal under 0.3")

    times = [run(srprof("rank")).seconds for _ in range(runs)]
    print(f"srprof rank (four models, three sizes each), s: {spread(times)}   goal under 6")

    small, large = (
        [run(srprof("analyze", "fmen_s", "--input", size)).peak_mib for _ in range(3)]
        for size in ("256x256", "4096x4096")
    )
    print(f"peak RSS at 256x256, MiB: {spread(small)}; at 4096x4096: {spread(large)}")
    more = statistics.median(large) - statistics.median(small)
    print(f"  difference {more:.1f} MiB   goal within 30")

    short, long = (
        [float(run(python(CHAIN.format(count=count))).output) for _ in range(3)]
        for count in (1_000, 10_000)
    )
    print(f"trace of 1,000 convolutions, s: {spread(short)}; of 10,000: {spread(long)}")
    print(f"  ratio {statistics.median(long) / statistics.median(short):.2f}   goal at most 12")


if __name__ == "__main__":
    main()
