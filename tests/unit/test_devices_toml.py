"""Device profiles: what comes with srprof, a user's own file, and what is wrong with one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from srprof.cost.profiles import (
    COMPUTE_KEYS,
    RELATIVE_KEYS,
    SHARE_KEYS,
    SPREAD_KEYS,
    load_profile,
    needs_calibration,
    parse_profile,
    profile_names,
    profile_titles,
    to_toml,
)
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.ops import FAMILIES

WITH_FIGURES = [name for name in profile_names() if not needs_calibration(name)]
FIGURES = ("peak", "bandwidth", "cache", "memory", "sms", "launch", "compute", "bandwidth_share")

OWN = """
title = "My card"
bandwidth = 300
cache = 4
memory = 8
sms = 20

[peak]
float32 = 5.0
"""


def own(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_promised_devices_are_there():
    promised = "gtx1080ti titanxp rtx2080ti rtx3090 rtx4090 a100 h100 h200 jetson_orin cpu"
    assert set(promised.split()) <= set(profile_names())
    assert set(profile_titles()) == set(profile_names())


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_every_figure_has_its_source(name):
    device = load_profile(name)
    for figure in FIGURES:
        assert len(device.source[figure]) > 10, figure
    if device.cache_bandwidth is not None:
        assert device.source["cache_bandwidth"]


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_every_profile_is_complete_and_plausible(name):
    device = load_profile(name)
    assert set(device.compute) == set(COMPUTE_KEYS)
    assert set(device.relative) == set(RELATIVE_KEYS)
    assert set(device.bandwidth_share) == set(SHARE_KEYS) == {*FAMILIES, "strided"}
    assert set(device.spread) == set(SPREAD_KEYS)
    # FLOPs that a byte must bring to keep the arithmetic busy: no GPU is far outside this.
    assert 9 < device.peak["float32"] / device.bandwidth < 100
    assert max(device.peak.values()) == device.peak.get("float16", device.peak["float32"])
    assert device.memory >= 8 * 2**30 > device.cache > 2**20
    for kind in ("tile", "tensor"):
        shares = [device.compute[f"{kind}_{tile}"] for tile in (32, 64, 128)]
        assert shares == sorted(shares)


def test_figures_are_in_si_units():
    card = load_profile("gtx1080ti")
    assert card.peak == pytest.approx({"float32": 11.34e12})
    assert (card.bandwidth, card.launch) == pytest.approx((484e9, 5e-6))
    assert card.sms == 28
    assert (card.cache, card.memory) == (2.75 * 2**20, 11 * 2**30)


def test_the_fitted_profile_says_how_good_it_is():
    card = load_profile("ntire2022")
    assert 0 < card.held_out_error < 0.10
    assert card.command == "python benchmarks/fit_ntire2022.py"
    assert "conv" in card.fitted
    assert card.peak == load_profile("gtx1080ti").peak


def test_cpu_is_calibrated_on_the_spot():
    assert needs_calibration("cpu")
    with pytest.raises(InputError, match=r"srprof calibrate --device cpu -o cpu\.toml") as error:
        load_profile("cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, hint",
    [("gtx1080", "gtx1080ti"), ("rtx4080", "rtx4090"), ("H100", "h100"), ("orin", "jetson_orin")],
)
def test_an_unknown_device_names_the_nearest(name, hint):
    with pytest.raises(InputError, match=f"unknown profile '{name}'.*{hint}"):
        load_profile(name)


def test_an_unknown_device_like_none_lists_all():
    with pytest.raises(InputError, match="known: gtx1080ti"):
        load_profile("???")


def test_the_defaults_are_no_device():
    with pytest.raises(InputError, match="unknown profile 'default'"):
        load_profile("default")


def test_a_file_of_ones_own(tmp_path):
    card = load_profile(own(tmp_path, OWN))
    assert (card.name, card.title) == ("mine", "My card")
    assert card.peak == {"float32": 5e12}
    assert card.compute == load_profile("tesla_p4").compute  # the defaults


def test_a_file_may_start_from_a_known_device(tmp_path):
    card = load_profile(own(tmp_path, 'base = "rtx3090"\nlaunch = 3\n[peak]\nfloat32 = 30'))
    assert card.launch == pytest.approx(3e-6)
    assert card.bandwidth == load_profile("rtx3090").bandwidth
    assert card.peak["float32"] == 30e12
    assert card.peak["tf32"] == load_profile("rtx3090").peak["tf32"]


def test_a_fit_of_the_base_is_not_inherited(tmp_path):
    """What holds for the fitted figures need not hold when some are replaced."""
    card = load_profile(own(tmp_path, 'base = "ntire2022"\nbandwidth = 100'))
    assert (card.held_out_error, card.fitted, card.command) == (None, (), "")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            ("bandwidth = 300", ""),
            r"bandwidth is missing; give a positive number of GB/s, or a base",
        ),
        (("sms = 20", ""), r"sms is missing; give a whole number of at least 1, or a base"),
        (("[peak]\nfloat32 = 5.0", ""), r"peak is missing; give a table of TFLOP/s"),
        (("= 300", "= -3"), r"bandwidth is -3, not a positive number"),
        (("= 300", "= 0"), r"bandwidth is 0, not a positive number of GB/s"),
        (("= 300", "= nan"), r"bandwidth is nan, not a positive number"),
        (("= 300", "= inf"), r"bandwidth is inf, not a positive number"),
        (("= 300", "= true"), r"bandwidth is True, not a positive number"),
        (("= 300", '= "fast"'), r"bandwidth is 'fast', not a positive number"),
        (("sms = 20", "sms = 2.5"), r"sms is 2\.5, not a whole number"),
        (("= 5.0", "= -1"), r"peak\.float32 is -1, not a positive number of TFLOP/s"),
        (("float32", "float23"), r"unknown key peak\.float23; did you mean float32\?"),
        (("bandwidth =", "bandwith ="), r"unknown key bandwith; did you mean bandwidth\?"),
        (("sms = 20", "sms = 20\nzzz = 1"), r"unknown key zzz; known: title, bandwidth"),
        (
            ("[peak]", "[compute]\ntile_64 = 7\n[peak]"),
            r"compute\.tile_64 is 7, not a share of at most 1.5",
        ),
        (("[peak]\nfloat32 = 5.0", "peak = 3"), r"peak is 3, not a table"),
        (("sms = 20", "sms = 20\nbias_pass = 1"), r"bias_pass is 1, not true or"),
        (("sms = 20", "sms = 20\nfitted = 1"), r"fitted is 1, not a list"),
        (("sms = 20", 'sms = 20\nfitted = ["c"]'), r"fitted\[0\] is 'c', not one of"),
        (("sms = 20", "sms = 20\nsource = 1"), r"source is 1, not a table"),
        (
            ("sms = 20", 'sms = 20\nbase = "h10"'),
            r"base is 'h10', not a known device; did you mean h100\?",
        ),
        (("sms = 20", "sms = 20\nbase = 7"), r"base is 7, not a known device"),
        (("sms = 20", "sms = 20\nbase = []"), r"base is \[\], not a known device"),
        (("sms = 20", 'sms = 20\nbase = "cpu"'), r"base is 'cpu', not a known device"),
        (
            ("sms = 20", "sms = 20\ncache_bandwidth = 9"),
            r"cache_bandwidth is 9, not at least the bandwidth",
        ),
        (("sms = 20", "sms ="), r"is not valid TOML: Invalid value \(at line 6"),
    ],
)
def test_what_is_wrong_with_a_profile(tmp_path, change, message):
    path = own(tmp_path, OWN.replace(*change))
    with pytest.raises(InputError, match=message) as error:
        load_profile(path)
    assert "\n" not in str(error.value)
    assert "mine.toml" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"device profile .*no\.toml cannot be read: No such file"):
        load_profile(str(tmp_path / "no.toml"))


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no text in UTF-8"):
        load_profile(str(path))


def test_the_mode_of_arithmetic():
    old, new = load_profile("gtx1080ti"), load_profile("rtx3090")
    assert old.modes("float32", "conv") == ("float32",)
    assert new.modes("float32", "conv") == ("float32", "tf32")
    assert new.modes("float32", "matmul") == ("float32",)
    assert new.modes("bfloat16", "matmul") == ("bfloat16",)


def test_a_dtype_that_the_device_lacks():
    message = "profile gtx1080ti has no peak for bfloat16; it has float32: choose"
    with pytest.raises(InputError, match=message):
        load_profile("gtx1080ti").modes("bfloat16", "conv")


def test_values_replaced_by_key():
    card = load_profile("gtx1080ti")
    changed = card.with_values({"compute": 2.0, "compute.tile_32": 0.1, "launch": 1e-6})
    assert changed.compute["tile_32"] == pytest.approx(0.2)  # entries first, then factors
    assert changed.compute["tile_64"] == pytest.approx(2 * card.compute["tile_64"])
    assert changed.launch == 1e-6
    assert card.launch == pytest.approx(5e-6)


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_a_profile_survives_being_written(name):
    card = load_profile(name)
    again = parse_profile(name, parse_toml(to_toml(card)), "again")
    assert again.title == card.title
    assert again.source == card.source
    assert again.fitted == card.fitted
    for table in ("peak", "compute", "relative", "bandwidth_share", "spread"):
        assert getattr(again, table) == pytest.approx(getattr(card, table), rel=1e-3)
    for figure in ("bandwidth", "cache", "memory", "sms", "launch"):
        assert getattr(again, figure) == pytest.approx(getattr(card, figure), rel=1e-3)
    assert (again.held_out_error or 0) == pytest.approx(card.held_out_error or 0, rel=1e-3)


def test_only_what_differs_from_the_base_is_written():
    base = load_profile("h100")
    text = to_toml(base.with_values({"launch": 2e-6}), base, "mine")
    assert text.splitlines() == [
        "[mine]",
        f'title = "{base.title}"',
        'base = "h100"',
        "launch = 2",
    ]


def test_no_torch_is_needed():
    code = (
        "import sys; from srprof.cost.profiles import load_profile; load_profile('h100'); "
        "import srprof.cost.estimate; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
