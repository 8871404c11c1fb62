"""Device profiles as a table for programs, and as they show themselves in Python."""

from __future__ import annotations

import csv
import io
import re

from srprof.cli import main
from srprof.cost.profiles import load_profile, needs_calibration, profile_names


def test_devices_as_csv_are_in_si_units(capsys):
    assert main(["devices", "--format", "csv"]) == 0
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert all(re.fullmatch(r"\w+", key) for key in rows["a100"])
    assert set(rows) == set(profile_names())
    for name, row in rows.items():
        if needs_calibration(name):
            assert row["bytes_per_s"] == "" and "calibrate" in row["figures"]
            continue
        profile = load_profile(name)
        assert float(row["bytes_per_s"]) == profile.bandwidth
        assert float(row["float32_flops_per_s"]) == profile.peak["float32"]
        assert float(row["launch_s"]) == profile.launch
        assert float(row["cache_bytes"]) == profile.cache
    assert main(["devices", "a100", "--format", "csv"]) == 0
    rows = {row["figure"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert float(rows["bandwidth"]["value_si"]) == 2039e9


def test_a_profile_shows_itself():
    profile = load_profile("h100")
    assert repr(profile).startswith("<Profile of h100: NVIDIA H100")
    assert len(repr(profile)) < 250
    assert "NVIDIA H100 Tensor Core GPU Architecture whitepaper" in str(profile)
    assert "<td" in profile._repr_html_()
