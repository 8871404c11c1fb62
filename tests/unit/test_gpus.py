"""GPUs by name: what people write, what a program gets, and what is said of a name that is none."""

from __future__ import annotations

import pytest

from srprof.cost.gpus import _table, find_gpu
from srprof.cost.profiles import load_profile, profile_names
from srprof.errors import InputError
from srprof.measuring.record import load
from tests.golden_files import ROOT

GIB = 2**30


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("RTX 3060", 12), ("rtx3060", 12), ("NVIDIA GeForce RTX 3060", 12), ("RTX 3060 8GB", 8),
        ("rtx-4060 ti 16 GB", 16), ("A100 40GB", 40), ("a100", 80), ("Tesla T4", 16), ("t4", 16),
        ("tesla_p4", 8), ("jetson_orin", 64), ("Jetson AGX Orin", 64), ("H200", 141), ("l40s", 48),
    ],
)  # fmt: skip
def test_names_as_people_write_them(name, gib):
    gpu = find_gpu(name)
    assert gpu.total == gib * GIB
    assert gpu.usable < gpu.total and f"has {gib} GiB" in gpu.note()


def test_a_gpu_with_a_profile_has_its_memory_and_its_name():
    for name in profile_names():
        if name in ("cpu", "ntire2022"):
            continue
        gpu = find_gpu(name)
        assert gpu.profile == name
        assert gpu.total == pytest.approx(load_profile(name).memory, rel=0.01)
    assert find_gpu("A100 40GB").profile == "", "the profile is of the other variant"


def test_the_driver_s_share_is_what_an_h100_s_records_have():
    """80 GiB by its datasheet; in the record what cudaMemGetInfo says."""
    folder = ROOT / "benchmarks" / "records" / "nvidia-h100" / "timed"
    record = next(path for path in sorted(folder.glob("fmen_s*.json")))
    measured = load(record).device.memory
    gpu = find_gpu("h100")
    assert gpu.total - gpu.driver == pytest.approx(measured, rel=1e-3)


def test_a_variant_that_is_sold_too_is_named():
    assert find_gpu("RTX 3060").others == (8,)
    assert "--gpu 'RTX 3060 8GB'" in find_gpu("RTX 3060").note()
    assert find_gpu("RTX 3060 8GB").others == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RTX 3061", "did you mean NVIDIA GeForce RTX 3060"),
        ("toaster", "none is like it; or give --budget 12GiB"),
        ("RTX 3060 9GB", "has 12 GiB, 8 GiB, and not 9"),
        ("", "no GPU is known by the name ''"),
    ],
)
def test_what_is_no_name(name, words):
    with pytest.raises(InputError, match=words):
        find_gpu(name)


def test_no_two_rows_are_one_gpu():
    sizes = _table()["memory"]
    titles = {find_gpu(f"{name} {gib[0]}GB").title for name, gib in sizes.items()}
    assert len(titles) == len(sizes)
