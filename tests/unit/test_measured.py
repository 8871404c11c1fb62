"""Measured operations: how a node is looked up among rows, and carried to another device."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from srprof.cost.classes import bias_cost
from srprof.cost.correction import measured
from srprof.cost.estimate import estimate_costs
from srprof.cost.measured import NEAR, REPEATED, Row, Table, doubts, held_out
from srprof.cost.node import estimate_node
from srprof.cost.profiles import load_profile
from srprof.cost.roofline import modelled
from srprof.cost.tables import (
    TABLE_FILE,
    Convolutions,
    Operations,
    TableRecord,
    convolution,
    figures_of,
    load_record,
    rows_of,
    table_bytes,
)
from srprof.errors import InputError
from tests.made_up_costs import cost

H200 = load_profile("h200")


def dense(inner: int, outer: int, mode: str = "tf32", pixels: int = 2**16, **other):
    plain = {"channels_last": False, "transposed": False, "groups": 1, "stride": 1, "dilation": 1}
    return convolution(
        **{"mode": mode, "inner": inner, "outer": outer, "taps": 9, "pixels": pixels, **plain}
        | other
    )


def bytes_moved(node, mode):
    """A model: a byte takes a nanosecond."""
    return 1e-9 * (node.read + node.written)


def row(node, ratio: float, mode: str = "tf32", kernels: int = 5) -> Row:
    return Row(node, mode, kernels, ratio * bytes_moved(node, mode))


# -- looking up ------------------------------------------------------------------------------------


def test_a_row_is_found_as_it_was_measured():
    table = Table([row(dense(48, 48), 2.0), row(dense(64, 64), 3.0, kernels=4)], bytes_moved)
    found = table.match(dense(64, 64), "tf32")
    assert (found.ratio, found.kernels, found.distance) == (pytest.approx(3.0), 4, 0.0)
    assert found.spread == REPEATED


def test_between_rows_it_is_between_them_and_less_certain():
    table = Table([row(dense(n, n), 2.0) for n in (32, 64, 128)], bytes_moved)
    table = Table([*table.rows, row(dense(256, 256), 4.0)], bytes_moved)
    near, far = table.match(dense(96, 96), "tf32"), table.match(dense(192, 192), "tf32")
    assert 1.5 < near.ratio < far.ratio < 4.0
    assert 0 < near.distance < NEAR
    assert far.spread > REPEATED


def test_far_from_few_rows_the_model_is_believed():
    table = Table([row(dense(16, 16), 8.0)], bytes_moved)
    distant = table.match(dense(256, 256, pixels=2**24), "tf32")
    assert abs(log(distant.ratio)) < 0.2 * log(8.0)
    assert distant.spread > 0.5 * log(8.0)


def test_of_two_rows_the_one_of_like_alignment_tells_more():
    """36 channels of 4 bytes are whole vectors of 16 bytes and not of 32, as 44 are."""
    table = Table([row(dense(44, 44), 2.0), row(dense(40, 40), 1.0)] * 20, bytes_moved)
    alike, other = (table.match(dense(n, n), "tf32").ratio for n in (36, 48))
    assert alike > 1.4 > other


def test_channels_count_as_what_they_are_filled_up_to():
    table = Table([row(dense(48, 48), 2.0)], bytes_moved)
    assert table.match(dense(46, 46), "tf32").distance < table.match(dense(44, 44), "tf32").distance


def test_a_width_is_told_from_another_that_is_filled_up_to_the_same():
    """50 and 52 halves are both filled up to 56, and cuDNN takes another kernel for each."""
    rows = [row(dense(n, n, "float16"), ratio, "float16") for n, ratio in ((50, 3.0), (52, 1.0))]
    table = Table(rows, bytes_moved)
    found = [table.match(dense(n, n, "float16"), "float16") for n in (50, 52)]
    assert [match.ratio for match in found] == pytest.approx([3.0, 1.0])
    assert table.match(dense(51, 51, "float16"), "float16").distance < 0.02


def test_grouped_convolutions_are_alike_by_the_channels_of_a_group():
    """64 channels in 8 groups are as 32 in 4, more than as 64 in 4."""
    rows = [row(dense(n, n, groups=4), ratio) for n, ratio in ((32, 1.0), (64, 3.0))]
    found = Table(rows, bytes_moved).match(dense(64, 64, groups=8), "tf32")
    assert found.ratio < 1.7


def test_what_has_no_row_of_its_own_is_told_by_what_is_like_it():
    half = dense(64, 64, "float16")
    relu = cost("elementwise", 4096, 4096, op="relu")
    table = Table([row(half, 2.0, "float16"), row(relu, 3.0, "float32")], bytes_moved)
    bfloat = replace(half, dtype="bfloat16")
    assert table.match(bfloat, "bfloat16").ratio == pytest.approx(2.0)
    inside = replace(half, channels_last=True)
    assert table.match(inside, "float16").ratio == pytest.approx(2.0)
    assert table.match(replace(relu, op="elu_"), "float32").ratio == pytest.approx(3.0)
    assert table.match(replace(relu, op="mean", family="reduction"), "float32") is None
    assert table.match(dense(64, 64, "float32"), "float32") is None


def test_in_place_and_out_of_place_are_the_same_operation():
    table = Table([row(cost("elementwise", 4096, 4096, op="relu"), 3.0, "float32")], bytes_moved)
    assert table.match(cost("elementwise", 4096, 4096, op="relu_"), "float32").distance == 0


def inside(*channels, **other):
    return dense(*channels, channels_last=True, **other)


def hint(node, ratio: float, mode: str = "tf32") -> Row:
    """A row of plain maps whose copies take as long again."""
    one = row(node, 2 * ratio, mode)
    return replace(one, uncopied=one.seconds / 2)


def test_plain_maps_without_their_copies_tell_of_channels_last_ones():
    """The more, the better they do where both were measured; a row itself tells more."""
    widths = range(16, 96, 8)
    ratio_of = {n: 1.0 + n / 16 % 2 for n in widths}
    plain = [hint(dense(n, n), ratio_of[n]) for n in widths]
    rows = [row(inside(n, n), 1.05 * ratio_of[n]) for n in widths if n != 48]
    alike = Table([*plain, *rows], bytes_moved).match(inside(48, 48), "tf32")
    assert alike.ratio == pytest.approx(1.05 * ratio_of[48], rel=0.15)
    others = [row(inside(n, n), 3.0 - ratio_of[n]) for n in widths if n != 48]
    unlike = Table([*plain, *others], bytes_moved).match(inside(48, 48), "tf32")
    assert abs(log(unlike.ratio / ratio_of[48])) > 2 * abs(log(alike.ratio / ratio_of[48]))
    assert unlike.distance > alike.distance
    assert Table([*plain, *rows], bytes_moved).match(inside(64, 64), "tf32").distance == 0


def test_plain_maps_alone_tell_of_channels_last_ones_from_afar():
    found = Table([hint(dense(48, 48), 2.0)], bytes_moved).match(inside(48, 48), "tf32")
    assert 1.0 < found.ratio < 2.0
    assert found.distance > 0
    unknown = Table([row(dense(48, 48), 2.0)], bytes_moved).match(inside(48, 48), "tf32")
    assert unknown.ratio == pytest.approx(2.0)  # as if they were plain


def test_what_is_taken_one_element_at_a_time_is_told_by_its_like():
    node = cost("elementwise", 4096, 4096, op="mul")
    apart = replace(node, single=True)
    rows = [row(node, 1.0, "float32"), row(apart, 3.0, "float32")]
    table = Table(rows, bytes_moved)
    assert [table.match(n, "float32").ratio for n in (node, apart)] == pytest.approx([1.0, 3.0])


def test_the_errors_of_a_table_that_follows_its_model_are_nothing():
    sizes = [(n, p) for n in (16, 32, 64) for p in (2**14, 2**16)]
    rows = [row(dense(n, n, pixels=p), 1.0) for n, p in sizes]
    for by in ("width", "size"):
        every = held_out(Table(rows, bytes_moved), by)[-1]
        assert (every.name, every.rows) == ("all", 6)
        assert every.median == pytest.approx(0, abs=1e-9)


def test_a_row_that_is_off_shows_when_it_is_held_out():
    rows = [row(dense(n, n), 5.0 if n == 64 else 1.0) for n in (16, 32, 64, 128)]
    errors = held_out(Table(rows, bytes_moved), "width")[0]
    assert errors.ninth_decile > 0.5


def test_outside_tensor_cores_maps_of_odd_rows_take_no_longer():
    """The model counts them where the kernels load whole vectors."""
    at_510, at_339 = (dense(64, 64, taps=1, pixels=n) for n in (510 * 510, 339 * 510))
    plain = replace(H200, peak={k: v for k, v in H200.peak.items() if k != "tf32"})
    for profile, more in ((H200, 1.3), (plain, 1.0)):
        small, large = (max(modelled(node, profile)[:2]) for node in (at_339, at_510))
        assert small * at_510.pixels / (large * at_339.pixels) == pytest.approx(more, rel=0.12)


def test_depthwise_convolutions_whose_maps_the_cache_holds_are_alike():
    small, large = (dense(64, 64, groups=64, pixels=n) for n in (2**14, 2**18))
    rows = [row(small, 1.0), row(large, 3.0)]
    between = dense(64, 64, groups=64, pixels=2**16 + 2**14)
    cached, not_cached = (
        Table(rows, bytes_moved, cache).match(between, "tf32").ratio for cache in (5e7, 1e6)
    )
    assert cached < not_cached


def test_intervals_are_wider_in_a_class_whose_rows_are_off_their_neighbours():
    """Rows that are as far off as their neighbours say have a factor of 1 or less."""
    widths = range(16, 256, 4)
    for noise, least, most in ((0.0, 0.0, 0.5), (1.0, 1.5, 20.0)):
        ratios = [1.0 + noise * (n % 28 == 0) for n in widths]
        rows = [row(dense(n, n), ratio) for n, ratio in zip(widths, ratios, strict=True)]
        table = Table(rows, bytes_moved)
        (found,) = doubts(table).values()
        assert least <= found <= most
        doubted = Table(rows, bytes_moved, doubts={"conv tf32": found})
        unseen, seen = dense(62, 62), dense(64, 64)
        before = table.match(unseen, "tf32").spread
        assert doubted.match(unseen, "tf32").spread == pytest.approx(found * before)
        assert doubted.match(seen, "tf32").spread == REPEATED


def test_few_rows_have_no_doubts():
    assert doubts(Table([row(dense(n, n), 2.0) for n in (16, 32)], bytes_moved)) == {}


# -- the packaged table ----------------------------------------------------------------------------


def test_an_estimate_gives_a_measured_row_back():
    """The 3x3 convolution of 64 channels at 510x510 that took 223 us on an H200, its bias in it."""
    node = dense(64, 64, pixels=510 * 510)
    biased = replace(node, bias=node.written)
    without, found = estimate_node(node, H200), estimate_node(biased, H200)
    assert without.distance == 0
    work = found.seconds - found.overhead
    assert work == pytest.approx(223e-6, rel=0.02)
    assert 45e-6 < found.bias < 55e-6
    assert found.overhead == pytest.approx(6 * H200.gap)  # five kernels, and the bias's


def test_depthwise_convolutions_of_other_shapes_have_a_kernel_of_their_own():
    square = dense(64, 64, groups=64, pixels=510 * 510)
    oblong = replace(square, variant="any shape", taps=3)
    assert estimate_node(oblong, H200).distance > 0


def test_a_node_that_no_row_is_like_says_so():
    unknown = cost("other", 1000, 1000, op="made_up")
    assert estimate_node(unknown, H200).distance is None


def test_another_device_moves_bytes_no_faster_than_its_memory():
    node = cost("elementwise", 2**28, 2**28, op="add")
    slow = replace(H200, bandwidth=H200.bandwidth / 10)
    here, there = (estimate_node(node, device).memory for device in (H200, slow))
    attainable = slow.bandwidth * slow.bandwidth_share["elementwise"]
    assert there == pytest.approx(2**29 / attainable, rel=0.01)
    assert there > 5 * here


def test_another_device_computes_as_much_slower_as_its_peak_says():
    node = dense(64, 64, pixels=510 * 510)
    peak = {mode: flops / 2 for mode, flops in H200.peak.items()}
    here, there = (estimate_node(node, d).compute for d in (H200, replace(H200, peak=peak)))
    assert there == pytest.approx(2 * here, rel=0.1)


def test_nodes_of_one_place_are_off_together():
    """So a hundred of the same are as uncertain as one, and a hundred different ones less."""
    device = replace(H200, spread={**H200.spread, "common": 0.0, "launch": 1e-9})
    same = estimate_costs([dense(44, 56, pixels=300_000)] * 100, device)
    widths = [(n, m) for n in range(33, 43) for m in range(33, 43)]
    others = estimate_costs([dense(n, m, pixels=300_000) for n, m in widths], device)
    assert same.uncertainty / same.seconds > 2 * others.uncertainty / others.seconds
    assert "measured operations (NVIDIA H200" in same.uncertainty_from


def test_a_bias_is_a_row_of_its_own():
    found = measured("h200").table.match(bias_cost("float32", 48 * 260100 * 4), "float32")
    assert found is not None and found.distance == 0


# -- files -----------------------------------------------------------------------------------------


def record(**changes) -> TableRecord:
    columns = Convolutions(
        **{"mode": ("tf32",), "channels_last": (False,), "transposed": (False,), "inner": (8,)},
        **{"outer": (8,), "groups": (1,), "taps": (9,), "stride": (1,), "dilation": (1,)},
        **{"pixels": (4096,), "kernels": (2,), "us": (7.5,)},
    )
    about = {"device": "GPU", "torch": "2", "cudnn": "9", "driver": "1", "command": "here"}
    return replace(
        TableRecord(
            **about, profile=figures_of(H200), convolutions=columns, operations=Operations()
        ),
        **changes,
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_read_as_it_was_written(tmp_path, packed):
    path = tmp_path / f"table.json{'.gz' * packed}"
    path.write_bytes(table_bytes(record(), packed))
    assert load_record(path) == record()


def test_a_table_of_before_it_had_all_columns(tmp_path):
    """Transposing copies and biases were taken one element at a time even then."""
    rows = Operations(
        **{"op": ("clone", "bias", "relu"), "variant": ("",) * 3, "mode": ("float32",) * 3},
        **{"family": ("movement", "elementwise", "elementwise"), "strided": (64, 0, 0)},
        **dict.fromkeys(("batch", "rows", "columns", "depth", "gathered", "serial"), (0,) * 3),
        **{"read": (64,) * 3, "written": (64,) * 3, "row": (0,) * 3, "kernels": (1,) * 3},
        us=(1.0, 2.0, 3.0),
    )
    path = tmp_path / "table.json"
    path.write_bytes(table_bytes(record(operations=rows), packed=False))
    of_convolution, *others = rows_of(load_record(path))
    assert of_convolution.uncopied == 0
    assert [one.cost.single for one in others] == [True, True, False]


def test_a_cut_table(tmp_path):
    path = tmp_path / "table.json.gz"
    path.write_bytes(table_bytes(record(), packed=True)[:-20])
    with pytest.raises(InputError, match=r"table.json.gz is no whole gzip file .*measure again"):
        load_record(path)


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("us", (0.0,), "convolutions.us is .*positive numbers"),
        ("inner", (-3,), "convolutions.inner is .*at least 1"),
        ("us", (7.5, 8.0), "another length than the others"),
    ],
)
def test_an_edited_table(tmp_path, column, value, words):
    path = tmp_path / "table.json"
    columns = replace(record().convolutions, **{column: value})
    path.write_bytes(table_bytes(record(convolutions=columns), packed=False))
    with pytest.raises(InputError, match=words):
        load_record(path)


def test_a_later_srprofs_table(tmp_path):
    path = tmp_path / "table.json"
    path.write_text('{"kind": "srprof operations", "schema": 99}')
    with pytest.raises(InputError, match="has schema 99"):
        load_record(path)
    assert TABLE_FILE.schema == 1
