"""Everything that only a GPU can say, in one call, within minutes.

    python benchmarks/gpu_session.py OUT [--device cuda] [--quick] [--only STAGE ...]

First the stages that measure memory, side by side; then those that take time, one after another.
Each writes into the folder OUT: what it printed as STAGE.log, and what it found. A stage that
fails or runs out of time does not stop the others. `--device cpu --quick` tries the script out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from table4_memory import LARGEST, PUBLISHED, SIZES

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TABLE_4 = tuple(sorted(PUBLISHED))
#: Networks that take seconds for a pass at 2040x2040.
HEAVY = ("drcn", "drrn", "memnet", "vdsr")
#: Seconds that each stage may take.
LIMITS = {
    "tests": 210,
    "heavy": 120,
    "lean": 150,
    "layouts": 120,
    "training": 90,
    "history": 90,
    "plain": 100,
    "commands": 100,
    "calibrate": 170,
    "records": 170,
    "kernels": 60,
    "lean_time": 80,
}
#: Key of a row: whether cuDNN may compute float32 as TF32.
TF32 = {"with_tf32": True, "without_tf32": False}
TIMED = ("records", "kernels", "calibrate", "lean_time")


def main() -> int:
    """Run the stages, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small images and few networks")
    parser.add_argument("--seconds", type=float, default=480, help="for all stages together")
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--stage", choices=LIMITS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.stage:
        warnings.simplefilter("ignore")
        STAGES[args.stage](args)
        return 0
    deadline = time.monotonic() + args.seconds
    together = [_started(stage, args) for stage in args.only if stage not in TIMED]
    for stage, process, began in together:
        _ended(stage, process, began, deadline)
    for stage in (stage for stage in TIMED if stage in args.only):
        _ended(*_started(stage, args), deadline)
    return 0


def _started(stage: str, args: argparse.Namespace) -> tuple[str, subprocess.Popen[bytes], float]:
    command = [sys.executable, __file__, str(args.out), "--stage", stage, "--device", args.device]
    command += ["--quick"] if args.quick else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    with open(args.out / f"{stage}.log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return stage, process, time.monotonic()


def _ended(stage: str, process: subprocess.Popen[bytes], began: float, deadline: float) -> None:
    limit = min(LIMITS[stage], deadline - began)
    for left, how in ((limit - (time.monotonic() - began), signal.SIGINT), (10, signal.SIGKILL)):
        try:
            process.wait(max(left, 0.1))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, how)
    seconds = time.monotonic() - began
    print(f"{stage:10} exit {process.wait()} after {seconds:.0f} s", flush=True)


# -- stages ---------------------------------------------------------------------------------------


def _srprof(*words: str) -> None:
    from srprof.cli import main as srprof

    print("srprof", *words, flush=True)
    print("exit code", srprof(list(words)), flush=True)


def _sizes(args: argparse.Namespace, *sizes: str) -> list[str]:
    return [word for size in (["32x32"] if args.quick else sizes) for word in ("--input", size)]


def _write(args: argparse.Namespace, name: str, data: Any) -> None:
    (args.out / name).write_text(json.dumps(data))


def _add(args: argparse.Namespace, name: str, found: list[Any], row: dict[str, Any]) -> None:
    """Write with one row more, at once: a stage that is ended keeps what it has found."""
    print(row, flush=True)
    found.append(row)
    _write(args, name, found)


def _tests(args: argparse.Namespace) -> None:
    import pytest

    files = [f for f in (ROOT / "tests").rglob("test_*.py") if "mark.cuda" in f.read_text()]
    workers = ["-n", "5", "--dist", "worksteal", "--durations", "8", "--tb", "short"]
    pytest.main(["-m", "cuda", "-q", "-p", "no:cacheprovider", *workers, *map(str, files)])


def _heavy(args: argparse.Namespace) -> None:
    types = ["--dtypes", "float32", "--dtypes", "float16"]
    names = HEAVY[:1] if args.quick else HEAVY
    sizes = _sizes(args, "256x256", "510x510")
    save = str(args.out / "memory")
    _srprof("validate", *names, "--device", args.device, *sizes, *types, "--save", save)


def _records(args: argparse.Namespace) -> None:
    """The networks of Table 4 first, and at the size of the published runtimes too."""
    from srprof import registry

    rest = [n.name for n in registry.networks() if n.name not in (*TABLE_4, *HEAVY)]
    common = ["--device", args.device, "--repeat", "20"]
    names = TABLE_4[:2] if args.quick else (*TABLE_4, *rest)
    types = ["--dtypes", "float32", "--dtypes", "float16"]
    sizes = _sizes(args, "256x256", "510x510")
    save = str(args.out / "timed")
    _srprof("validate", *names, *common, *sizes, *types, "--save", save)
    if args.quick:
        return
    from fit_ntire2022 import NETWORKS, NOT_FITTED

    save = str(args.out / "published")
    names = (*NETWORKS, *NOT_FITTED, "fmen(block='rb')")
    _srprof("validate", *names, *common, "--inputs", "339x510", "--save", save)


def _plain(args: argparse.Namespace) -> None:
    """Without TF32, as GPUs before Ampere compute."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    save = str(args.out / "without_tf32")
    names = TABLE_4[:1] if args.quick else TABLE_4
    sizes = _sizes(args, "256x256", "510x510")
    _srprof("validate", *names, "--device", args.device, *sizes, "--save", save)
    torch.backends.cudnn.allow_tf32 = True
    save = str(args.out / "channels_last")
    types = ["--dtypes", "float32", "--dtypes", "float16", "--dtypes", "bfloat16"]
    sizes = _sizes(args, "256x256")
    more = [*sizes, *types, "--channels-last", "--save", save]
    _srprof("validate", *names, "--device", args.device, *more)


def _calibrate(args: argparse.Namespace) -> None:
    """A profile, with a table of operations; `records` has networks' times to hold it against."""
    quick = ["--quick"] if args.quick else []
    table = ["--table", "--time", "70s"] if args.device != "cpu" else []
    made = str(args.out / "calibrated.toml")
    _srprof("calibrate", "--device", args.device, "-o", made, "--format", "json", *quick, *table)
    if args.device != "cpu":
        host = ["--host", "--profile", made, "-o", str(args.out / "with_host.toml")]
        _srprof("calibrate", "--device", args.device, *host)


def _commands(args: argparse.Namespace) -> None:
    """Each command that runs on a device, as a user would."""
    import numpy as np
    from PIL import Image

    images = args.out / "scratch" / "hr"
    images.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    Image.fromarray(noise).resize((384, 384), Image.Resampling.BICUBIC).save(images / "a.png")
    _srprof("time", "fmen_s", "--device", args.device, *_sizes(args, "256x256"), "--repeat", "20")
    _srprof("measure", "e_rfdn", "--device", args.device, *_sizes(args, "256x256"), "--repeat", "5")
    for more in ([], ["--tile", "48"], ["--dtype", "float16"]):
        _srprof("evaluate", "e_rfdn", "--hr", str(images), "--device", args.device, *more)
    run = args.out / "scratch" / "run.toml"
    run.write_text(
        f'model = "fmen_s(scale=2)"\ndata = ["{images}"]\noutput = "{args.out}/scratch/run"\n'
        f'iterations = 20\nbatch = 2\npatch = 24\nlog_every = 5\ndevice = "{args.device}"\n'
    )
    _srprof("train", str(run))


def _lean(args: argparse.Namespace) -> None:
    """Whether lean networks give the same bits, and their peaks by the allocator."""
    import torch

    import srprof
    from srprof import models, registry
    from srprof.leaning.comparison import compare

    found = []
    sizes = ((32, 40), (36, 28)) if args.quick else ((256, 256), (200, 264))
    names = (*TABLE_4, "fmen")
    for name in names[:2] if args.quick else names:
        shapes = [(1, registry.find(name).channels, *size) for size in sizes]
        for level in ("exact", "equivalent"):
            torch.manual_seed(0)
            network = getattr(models, name)().eval().to(args.device)
            made = srprof.lean(network, shapes[0], level=level)
            row: dict[str, Any] = {"network": name, "level": level}
            for key, tf32 in TF32.items():
                torch.backends.cudnn.allow_tf32 = tf32
                with torch.no_grad():
                    images = [torch.rand(shape).to(args.device) for shape in shapes]
                    results = [compare("random", None, network(i), made(i)) for i in images]
                    row[key] = {
                        "identical": [result.identical for result in results],
                        "error": [result.error for result in results],
                        "eager": _peaks(args, network, images[0]),
                        "lean": _peaks(args, made, images[0]),
                    }
            _add(args, "lean.json", found, row)


def _peaks(args: argparse.Namespace, module: Any, image: Any) -> dict[str, int]:
    """Of a cold and of a warm call, above what was there before; requested and allocated."""
    import torch

    if args.device == "cpu":
        return {}
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    peaks = {}
    for run in ("cold", "warm"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_stats()
        module(image)
        after = torch.cuda.memory_stats()
        for kind in ("requested", "allocated"):
            start = before[f"{kind}_bytes.all.current"]
            peaks[f"{run}_{kind}"] = after[f"{kind}_bytes.all.peak"] - start
    return peaks


def _lean_time(args: argparse.Namespace) -> None:
    """Time of lean networks over that of the networks, in pairs, by CUDA events."""
    import torch

    import srprof
    from srprof import models

    found: list[Any] = []
    shape = (1, 3, 32, 32) if args.quick else (1, 3, 510, 510)
    for name in TABLE_4[:2] if args.quick else TABLE_4:
        torch.manual_seed(0)
        network = getattr(models, name)().eval().to(args.device)
        image = torch.rand(shape).to(args.device)
        for level in ("exact", "equivalent"):
            made = srprof.lean(network, shape, level=level)
            with torch.no_grad():
                for module in (network, made) * 3:
                    _milliseconds(args, module, image)
                pairs = []
                for turn in range(15):
                    order = (network, made) if turn % 2 else (made, network)
                    times = {m is made: _milliseconds(args, m, image) for m in order}
                    pairs.append((times[False], times[True]))
            row = {"network": name, "level": level, "pairs": pairs}
            _add(args, "lean_time.json", found, row)


def _milliseconds(args: argparse.Namespace, module: Any, image: Any) -> float:
    import torch

    if args.device == "cpu":
        start = time.perf_counter()
        module(image)
        return 1e3 * (time.perf_counter() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    module(image)
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def _layouts(args: argparse.Namespace) -> None:
    """Strides of every node in channels-last, as the GPU has them and as the trace does."""
    import torch

    import srprof
    from srprof import registry
    from srprof.call import Call
    from srprof.measuring.metering import new_instance, recorder_for, run_recorded
    from srprof.workload import resolve

    found = []
    names = [n.name for n in registry.networks() if n.name not in HEAVY]
    cases: list[tuple[str, Any, tuple[int, ...]]] = [
        (name, name, (1, registry.find(name).channels, 64, 64))
        for name in (names[:2] if args.quick else names)
    ]
    cases += [(repr(options), model, shape) for options, model, shape in _convolutions()]
    for label, model, shape in cases:
        call = resolve(Call(model, (shape,), channels_last=True))
        instance = new_instance(call, args.device, run=1)
        recorder = recorder_for(instance, torch.device(args.device).type)
        real = _strides(run_recorded(call, instance, recorder))
        on = "cpu" if args.device == "cpu" else "auto"
        traced = _strides(srprof.trace(model, shape, channels_last=True, trace_on=on).nodes)
        print(label, "equal" if real == traced else "DIFFERS", flush=True)
        found.append({"network": label, "calls": real})
    _write(args, "layouts.json", found)


def _strides(nodes: Sequence[Any]) -> list[Any]:
    return [[n.op, [[list(o.shape), list(o.strides)] for o in n.outputs]] for n in nodes]


def _convolutions() -> Iterator[tuple[dict[str, Any], Any, tuple[int, ...]]]:
    """Single convolutions, dense and not, in front of an operation that keeps their layout."""
    from torch import nn

    for options in (
        {"in_channels": 1, "out_channels": 16, "kernel_size": 3},
        {"in_channels": 16, "out_channels": 1, "kernel_size": 3},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 1},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "stride": 2},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "groups": 16},
        {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "groups": 16},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "groups": 4},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "dilation": 2},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 4, "stride": 2, "transposed": 1},
        {"in_channels": 16, "out_channels": 16, "kernel_size": 4, "groups": 16, "transposed": 1},
    ):
        rest: dict[str, Any] = {k: v for k, v in options.items() if k != "transposed"}
        kind = nn.ConvTranspose2d if "transposed" in options else nn.Conv2d
        model = nn.Sequential(kind(**rest), nn.ReLU()).eval()
        yield options, model, (1, options["in_channels"], 32, 32)


def _training(args: argparse.Namespace) -> None:
    """What the allocator has in a training step, at most and between its phases."""
    import torch

    from srprof.call import Call
    from srprof.training.analysis import training_spec
    from srprof.workload import resolve

    found: list[Any] = []
    batch = (2, 3, 24, 24) if args.quick else (16, 3, 64, 64)
    for name in ("fmen_s", "e_rfdn", "imdn", "fmen", "rlfn", "edsr_baseline", "rfdn", "carn"):
        row: dict[str, Any] = {"network": name, "shape": batch}
        for key, tf32 in TF32.items():
            torch.backends.cudnn.allow_tf32 = tf32
            workload = resolve(Call(training_spec(name), (batch,)))
            model = workload.build("cpu").train().to(args.device)
            row[key] = _third_step(args, model, torch.rand(batch, device=args.device))
        _add(args, "training.json", found, row)


def _third_step(args: argparse.Namespace, model: Any, image: Any) -> dict[str, int]:
    """By the recipe of `srprof train`: bytes requested after each phase, and at most."""
    import torch

    def requested(when: str = "current") -> int:
        if args.device == "cpu":
            return 0
        return int(torch.cuda.memory_stats()[f"requested_bytes.all.{when}"])

    with torch.no_grad():
        outputs = model(image)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    targets = [torch.zeros_like(o) for o in outputs]
    del outputs
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    for _ in range(3):
        if args.device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        row = {"before": requested()}
        optimizer.zero_grad()
        row["cleared"] = requested()
        given = model(image)
        given = given if isinstance(given, (list, tuple)) else [given]
        row["forward"] = requested()
        row["forward peak"] = requested("peak")
        loss = sum(torch.nn.functional.l1_loss(o, t) for o, t in zip(given, targets, strict=True))
        del given
        row["loss"] = requested()
        loss.backward()
        row["backward"] = requested()
        optimizer.step()
        row["step"] = requested()
        row["peak"] = requested("peak")
        del loss
    return row


def _history(args: argparse.Namespace) -> None:
    """`max_memory_allocated` after DIV2K's 100 test images and the largest one, in that order."""
    import torch

    from srprof import models

    if args.device == "cpu":
        return
    sizes = [tuple(size) for size in json.loads(SIZES.read_text())["hw"]]
    found = []
    for tf32 in (True, False):
        torch.backends.cudnn.allow_tf32 = tf32
        for name in TABLE_4:
            for history in (sizes, []):
                torch.cuda.empty_cache()
                network = getattr(models, name)().eval().to(args.device)
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                with torch.no_grad():
                    for size in [*history, LARGEST]:
                        network(torch.rand(1, 3, *size, device=args.device))
                row = {
                    "network": name,
                    "tf32": tf32,
                    "images": len(history) + 1,
                    "before": before,
                    "allocated": torch.cuda.max_memory_allocated(),
                    "reserved": torch.cuda.max_memory_reserved(),
                    "requested": torch.cuda.memory_stats()["requested_bytes.all.peak"],
                }
                print(row, flush=True)
                found.append(row)
                del network
    _write(args, "history.json", found)


def _kernels(args: argparse.Namespace) -> None:
    """Every kernel of one warm pass with its ATen call and its time, for the latency model."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from srprof import models

    found = []
    size = (32, 32) if args.quick else (339, 510)
    for name in (*TABLE_4, "fmen", "edsr_baseline", "latticenet"):
        for dtype in (torch.float32, torch.float16):
            network = getattr(models, name)().eval().to(args.device, dtype)
            image = torch.rand(1, 3, *size).to(args.device, dtype)
            kinds = [ProfilerActivity.CPU]
            kinds += [ProfilerActivity.CUDA] if args.device != "cpu" else []
            with torch.no_grad():
                for _ in range(3):
                    network(image)
                with profile(activities=kinds, record_shapes=True) as prof:
                    network(image)
            calls = []
            for event in prof.events():
                if not event.name.startswith("aten::") or not event.kernels:
                    continue
                outer = event
                while outer.cpu_parent is not None and outer.cpu_parent.name.startswith("aten::"):
                    outer = outer.cpu_parent
                kernels = [[k.name[:120], k.duration] for k in event.kernels]
                calls.append([event.time_range.start, outer.name, event.name, kernels])
            calls.sort(key=lambda call: call[0])
            found.append({"network": name, "dtype": str(dtype), "size": size, "calls": calls})
            total = sum(k[1] for call in calls for k in call[3])
            print(name, dtype, len(calls), "calls with kernels", total, "us", flush=True)
    _write(args, "kernels.json", found)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "tests": _tests,
    "heavy": _heavy,
    "lean": _lean,
    "layouts": _layouts,
    "training": _training,
    "history": _history,
    "plain": _plain,
    "commands": _commands,
    "calibrate": _calibrate,
    "records": _records,
    "kernels": _kernels,
    "lean_time": _lean_time,
}


if __name__ == "__main__":
    sys.exit(main())
