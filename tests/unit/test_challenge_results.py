"""Results files of the challenge's form: what is read, and what is said of what cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from srprof.challenge.results import parse_results, read_results
from srprof.errors import InputError

ROW: dict[str, Any] = {
    "valid_runtime": [9.0, 3.0],
    "valid_psnr": [26.0, 28.0],
    "valid_memory": 1.5,
    "valid_ave_runtime": 6.0,
    "valid_ave_psnr": 27.0,
    "test_ave_runtime": 4.0,
    "activations": 0.25,
    "num_conv": 7,
    "flops": 9.833807872,
    "num_parameters": 0.150688,
}


def test_a_row_is_in_units(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"         18_Net ": ROW, "baseline": ROW}))
    (table,) = read_results(str(path))
    row, unnumbered = table.rows
    assert (row.name, row.number, unnumbered.number, table.year) == ("18_Net", 18, None, "")
    assert (row.params, row.flops, row.activations, row.convs) == (150688, 9833807872, 250000, 7)
    valid, test = row.sets
    assert (valid.times, valid.psnrs, valid.memory) == ((9.0, 3.0), (26.0, 28.0), 1.5 * 2**20)
    assert (test.times, test.runtime, test.memory) == ((), 4.0, None)
    assert row.memory == valid.memory


def test_figures_that_were_printed_are_known_to_their_digits():
    decimals = {"flops": 2, "num_conv": 0, "valid_memory": 2, "valid_ave_psnr": 2}
    (table,) = parse_results({"1_A": {**ROW, "decimals": decimals}, "2_B": {"flops": 1.5}}, "f")
    printed, counted = table.rows
    assert printed.digits == pytest.approx({"flops": 1e7, "convs": 1, "memory": 0.01 * 2**20})
    assert (counted.sets, counted.flops, counted.digits) == ((), 1.5e9, {})


@pytest.mark.parametrize("year", ["2026", "ntire2026", "NTIRE2026"])
def test_a_file_by_year(tmp_path: Path, year: str):
    path = tmp_path / "results.json.gz"
    content = {"2024": {"00_RLFN": ROW}, "2026": {"00_SPAN": ROW}}
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    assert [table.year for table in read_results(str(path))] == ["ntire2024", "ntire2026"]
    (table,) = read_results(str(path), year)
    assert (table.year, table.rows[0].name) == ("ntire2026", "00_SPAN")
    with pytest.raises(InputError, match="no results of 2025: it has ntire2024, ntire2026"):
        read_results(str(path), "2025")


def test_a_file_without_years_is_of_the_year_that_is_said():
    assert parse_results({"00_SPAN": ROW}, "f", "2026")[0].year == "ntire2026"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "no object for each entry"),
        ({}, "no object for each entry"),
        ({"1_A": 3}, "f, 1_A: the entry is 3, not an object"),
        ({"1_A": {}}, "f, 1_A: there is no valid_runtime"),
        ({"1_A": ROW | {"valid_runtime": [1, 0]}}, r"valid_runtime\[1\] is 0.*not a positive"),
        ({"1_A": ROW | {"valid_runtime": 4}}, "valid_runtime is 4, not a list"),
        ({"1_A": ROW | {"test_psnr": [True]}}, r"test_psnr\[0\] is True, not a number"),
        ({"1_A": ROW | {"flops": -1}}, "flops is -1.*at least 0"),
        ({"1_A": ROW | {"num_conv": 1.5}}, "num_conv is 1.5, not a whole number"),
        ({"1_A": ROW, " 1_A": ROW}, "two entries of f are called '1_A'"),
        ({"  ": ROW}, "an entry has no name"),
    ],
)
def test_bad_files_are_refused_in_a_line(data: Any, said: str):
    with pytest.raises(InputError, match=said) as caught:
        parse_results(data, "f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"1_A": {"flops": NaN}}', "\x1f\x8b"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"results\.json.*name a results\.json"):
        read_results(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        read_results(str(tmp_path / "none.json"))
