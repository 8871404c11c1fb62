"""Classes, bytes and matrix products of single ATen calls."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

import srprof
from srprof.cost.classes import node_cost, node_costs
from srprof.cost.complexity import macs
from srprof.ops import FAMILIES
from tests.made_up_costs import node, storages, tensor, trace_of


def convolution(image, weight, output, *, groups=1, bias=True, transposed=False, strides=()):
    inputs = [tensor(0, *image, strides=strides), tensor(1, *weight)]
    inputs += [tensor(2, output[1])] if bias else []
    rest = ((1, 1), (1, 1), (1, 1), transposed, (0, 0), groups)
    call = node("convolution", inputs, [tensor(9, *output)], None, None, None, *rest)
    return node_cost(call, storages(*call.inputs, *call.outputs))


def cost_of(op, inputs, outputs, *arguments, **other):
    call = node(op, inputs, outputs, *arguments, **other)
    return node_cost(call, storages(*inputs, *outputs))


@pytest.mark.parametrize(
    "image, weight, output, other, op_class, product",
    [
        ((1, 3, 8, 8), (50, 3, 3, 3), (1, 50, 8, 8), {}, "conv3x3/64", (1, 64, 50, 27)),
        ((2, 50, 8, 8), (16, 50, 3, 3), (2, 16, 8, 8), {}, "conv3x3/32", (1, 128, 16, 450)),
        ((1, 64, 8, 8), (256, 64, 5, 5), (1, 256, 4, 4), {}, "conv5x5/wide", (1, 16, 256, 1600)),
        ((1, 64, 8, 8), (96, 64, 1, 7), (1, 96, 8, 8), {}, "conv1x7/128", (1, 64, 96, 448)),
        ((1, 64, 8, 8), (12, 64, 1, 1), (1, 12, 8, 8), {}, "conv1x1", (1, 64, 12, 64)),
        ((1, 8, 8, 8), (8, 4, 3, 3), (1, 8, 8, 8), {"groups": 2}, "grouped", (2, 64, 4, 36)),
        ((1, 8, 8, 8), (16, 1, 3, 3), (1, 16, 8, 8), {"groups": 8}, "depthwise", None),
        (
            (1, 8, 8, 8),
            (8, 4, 2, 2),
            (1, 4, 16, 16),
            {"transposed": True},
            "conv2x2/32",
            (1, 64, 16, 8),
        ),
    ],
)
def test_convolutions(image, weight, output, other, op_class, product):
    found = convolution(image, weight, output, **other)
    assert found.op_class == op_class
    assert found.product == product
    assert found.family in FAMILIES
    assert found.read == 4 * (prod(image) + prod(weight) + output[1])
    assert found.written == 4 * prod(output)


def test_a_bias_is_another_pass_but_for_depthwise_convolutions():
    dense = ((1, 8, 4, 4), (8, 8, 3, 3), (1, 8, 4, 4))
    assert convolution(*dense).bias == 4 * 8 * 16
    assert convolution(*dense, bias=False).bias == 0
    assert convolution((1, 8, 4, 4), (8, 1, 3, 3), (1, 8, 4, 4), groups=8).bias == 0


def last(channels, height, width):
    """Strides of a map with its channels innermost."""
    return channels * height * width, 1, channels * width, channels


DEEP = ((1, 8, 4, 6), (8, 1, 3, 3), (1, 8, 4, 6))
DENSE = ((1, 8, 4, 6), (8, 8, 3, 3), (1, 8, 4, 6))


@pytest.mark.parametrize("shapes, groups", [(DEEP, 8), (DENSE, 1)])
def test_cudnn_takes_channels_last_maps_as_they_are(shapes, groups):
    """PyTorch gives it those of depthwise convolutions too, whose bias is then a pass."""
    inside = convolution(*shapes, groups=groups, strides=last(8, 4, 6))
    assert (inside.copied, inside.channels_last) == (0, True)
    assert inside.bias == inside.written
    plain = convolution(*shapes, groups=groups, strides=(192, 24, 6, 1))
    assert (plain.copied, plain.channels_last) == (0, False)


def test_some_channels_of_a_channels_last_map_are_copied():
    batch, *strides = last(16, 4, 6)
    inside = convolution(*DENSE, strides=(batch, *strides))
    assert (inside.copied, inside.across) == (4 * 192, False)
    assert convolution(*DENSE, strides=(2 * 192, 24, 6, 1)).copied == 0  # those of a plain one


def test_a_crop_is_copied_along_the_grain_and_a_turned_map_across():
    shapes = (1, 8, 4, 4), (8, 8, 3, 3), (1, 8, 4, 4)
    cropped = convolution(*shapes, strides=(800, 100, 10, 1))
    assert (cropped.copied, cropped.across) == (4 * 128, False)
    turned = convolution(*shapes, strides=(128, 16, 1, 4))
    assert (turned.copied, turned.across) == (4 * 128, True)


def test_what_is_taken_one_element_at_a_time():
    """Operands that are not all dense maps of one layout: PyTorch's vectors need such."""
    plain, inside = tensor(0, 1, 8, 4, 6, strides=(192, 24, 6, 1)), last(8, 4, 6)
    same = tensor(1, 1, 8, 4, 6, strides=(192, 24, 6, 1))
    by_channel = tensor(1, 1, 8, 1, 1, strides=(8, 1, 1, 1))
    number = tensor(1)
    other = tensor(1, 1, 8, 4, 6, strides=inside)
    wider = tensor(1, 2, 8, 4, 6, strides=(2 * 192, 24, 6, 1))
    result = tensor(9, 1, 8, 4, 6, strides=(192, 24, 6, 1))
    for operand, single in ((same, False), (number, False), (by_channel, True), (other, True)):
        assert cost_of("add", [plain, operand], [result]).single is single
    assert cost_of("clone", [plain], [result]).single is False
    halves = tensor(9, 2, 8, 4, 6, strides=(192, 24, 6, 1))
    assert cost_of("clone", [wider], [halves]).single is True
    assert cost_of("cat", [other], [result]).single is False  # which has a kernel of its own


@pytest.mark.parametrize(
    "op, shapes, output, product",
    [
        ("mm", [(6, 4), (4, 5)], (6, 5), (1, 6, 5, 4)),
        ("bmm", [(3, 6, 4), (3, 4, 5)], (3, 6, 5), (3, 6, 5, 4)),
        ("addmm", [(5,), (6, 4), (4, 5)], (6, 5), (1, 6, 5, 4)),
        ("baddbmm", [(3, 6, 5), (3, 6, 4), (3, 4, 5)], (3, 6, 5), (3, 6, 5, 4)),
        ("addbmm", [(6, 5), (3, 6, 4), (3, 4, 5)], (6, 5), (3, 6, 5, 4)),
        ("mv", [(6, 4), (4,)], (6,), (1, 6, 1, 4)),
        ("dot", [(4,), (4,)], (), (1, 1, 1, 4)),
        ("linear", [(2, 6, 4), (5, 4)], (2, 6, 5), (1, 12, 5, 4)),
        (
            "_scaled_dot_product_efficient_attention",
            [(2, 3, 6, 4), (2, 3, 7, 4), (2, 3, 7, 5)],
            (2, 3, 6, 5),
            (6, 6, 7, 9),
        ),
    ],
)
def test_matrix_products_agree_with_the_macs(op, shapes, output, product):
    call = node(op, [tensor(i, *s) for i, s in enumerate(shapes)], [tensor(9, *output)])
    found = node_cost(call, storages(*call.inputs, *call.outputs))
    assert (found.op_class, found.product) == ("matmul", product)
    assert found.flops == 2 * macs(call)


@pytest.mark.parametrize(
    "op, family",
    [
        ("cat", "movement"),
        ("pixel_shuffle", "movement"),
        ("constant_pad_nd", "movement"),
        ("clone", "movement"),
        ("mean", "reduction"),
        ("linalg_vector_norm", "reduction"),
        ("upsample_bilinear2d", "resample"),
        ("max_pool2d_with_indices", "resample"),
        ("native_batch_norm", "norm"),
        ("_softmax", "norm"),
        ("leaky_relu", "elementwise"),
        ("a_pointwise_op_of_next_year", "elementwise"),
    ],
)
def test_classes_without_a_product(op, family):
    x, y = tensor(0, 1, 4, 8, 8), tensor(1, 1, 4, 8, 8)
    found = cost_of(op, [x], [y])
    assert (found.op_class, found.family, found.flops) == (family, family, 0)
    assert (found.read, found.written) == (x.nbytes, y.nbytes)


def test_an_unknown_op_that_changes_the_shape_is_other():
    assert cost_of("_fft_r2c", [tensor(0, 8, 8)], [tensor(1, 8, 5)]).family == "other"
    assert cost_of("made_of_nothing", [], [tensor(1, 8)]).family == "other"


def test_arithmetic_with_broadcasting_is_elementwise():
    image, gate = tensor(0, 1, 4, 8, 8), tensor(1, 4, 1, 1)
    assert cost_of("mul", [image, gate], [tensor(2, 1, 4, 8, 8)]).family == "elementwise"
    assert cost_of("odd", [tensor(0, 3, 4), tensor(1, 2, 4)], [tensor(2, 3, 4)]).family == "other"


def test_views_and_allocations_are_free():
    x = tensor(0, 4, 4)
    view = cost_of("permute", [x], [tensor(0, 4, 4)], view=True)
    empty = cost_of("empty", [], [tensor(1, 4, 4)])
    for found in (view, empty):
        assert (found.family, found.read, found.written) == ("view", 0, 0)


def test_modules_that_were_called_since_the_node_before():
    """Going back to a caller calls none."""
    paths = ("head", "head", "body.0.conv", "body.0", "body.1.conv", "body", "", "tail")
    relu = [tensor(0, 4)], [tensor(1, 4)]
    trace = trace_of([node("relu", *relu, module=path) for path in paths], [16, 16])
    assert [c.entered for c in node_costs(trace)] == [1, 0, 3, 0, 2, 0, 0, 1]


def test_in_place_reads_once_and_writes_once():
    x = tensor(0, 4, 4)
    relu = cost_of("relu_", [x], [x], written=(0,))
    assert (relu.read, relu.written) == (64, 64)
    gate = tensor(1, 4, 4)
    product = cost_of("mul_", [x, gate], [x], written=(0,))
    assert (product.read, product.written) == (128, 64)


def test_what_is_overwritten_is_not_read():
    x, y = tensor(0, 4, 4), tensor(1, 4, 4)
    copy = cost_of("copy_", [x, y], [x], written=(0,))
    assert (copy.reads, copy.written) == (((1, 64),), 64)
    assert cost_of("zero_", [x], [x], written=(0,)).read == 0


def test_an_operand_given_twice_is_read_once():
    x = tensor(0, 4, 4)
    assert cost_of("mul", [x, x], [tensor(1, 4, 4)]).read == 64


def test_no_more_is_read_than_there_is():
    """An expanded tensor has more elements than its storage."""
    expanded, y = tensor(0, 4, 4, strides=(0, 1)), tensor(1, 4, 4)
    call = node("add", [expanded, y], [tensor(2, 4, 4)])
    held = storages(tensor(0, 4), y, *call.outputs)
    assert node_cost(call, held).reads == ((0, 16), (1, 64))


def test_reading_across_the_grain():
    plain, last = (128, 16, 4, 1), (128, 1, 32, 8)
    x = tensor(0, 1, 8, 4, 4, strides=plain)
    y = tensor(1, 1, 8, 4, 4, strides=last)
    out = tensor(2, 1, 8, 4, 4, strides=plain)
    assert cost_of("clone", [y], [out]).strided == y.nbytes
    assert cost_of("add", [x, y], [out]).strided == y.nbytes
    assert cost_of("add", [x, x], [out]).strided == 0
    gate = tensor(3, 1, 8, 1, 1, strides=(8, 1, 1, 1))  # nothing to stride over
    assert cost_of("mul", [x, gate], [out]).strided == 0


def test_a_single_number_has_no_grain():
    found = cost_of("mul", [tensor(0), tensor(1)], [tensor(2)])
    assert (found.family, found.strided, found.read) == ("elementwise", 0, 8)


def test_the_row_of_a_layer_norm():
    x, outputs = tensor(0, 64, 40), [tensor(1, 64, 40), tensor(2, 64, 1), tensor(3, 64, 1)]
    found = cost_of("native_layer_norm", [x], outputs, None, (40,))
    assert (found.family, found.row) == ("norm", 40)


@pytest.mark.parametrize(
    "op, image, output, arguments, values",
    [
        ("upsample_nearest2d", (1, 3, 4, 4), (1, 3, 8, 8), (), 192),
        ("upsample_bilinear2d", (1, 3, 4, 4), (1, 3, 8, 8), (), 4 * 192),
        ("upsample_bicubic2d", (1, 3, 4, 4), (1, 3, 8, 8), (), 16 * 192),
        ("max_pool2d_with_indices", (1, 3, 9, 9), (1, 3, 3, 3), (None, (7, 7), (1, 1)), 49 * 27),
        ("avg_pool2d", (1, 3, 9, 9), (1, 3, 3, 3), (None, (3,)), 9 * 27),
        ("_adaptive_avg_pool2d", (1, 3, 9, 9), (1, 3, 1, 1), (), 243),
    ],
)
def test_what_a_resampling_gathers(op, image, output, arguments, values):
    found = cost_of(op, [tensor(0, *image)], [tensor(1, *output)], *arguments)
    assert (found.family, found.gathered) == ("resample", values)


def test_arithmetic_gathers_nothing():
    assert cost_of("add", [tensor(0, 4), tensor(1, 4)], [tensor(2, 4)]).gathered == 0


def test_a_convolution_tells_its_channels_and_whether_they_are_innermost():
    plain = convolution((1, 6, 8, 8), (9, 6, 3, 3), (1, 9, 8, 8))
    last = convolution((1, 6, 8, 8), (9, 6, 3, 3), (1, 9, 8, 8), strides=(384, 1, 48, 6))
    assert (plain.channels, last.channels) == ((6, 9), (6, 9))
    assert (plain.channels_last, last.channels_last) == (False, True)
    up = convolution((1, 6, 8, 8), (6, 2, 4, 4), (1, 2, 32, 32), transposed=True)
    assert up.channels == (6, 2)


def test_foreach_ops_that_return_nothing_move_their_operands():
    x, y = tensor(0, 4, 4), tensor(1, 4, 4)
    found = cost_of("_foreach_add_", [x, y], [], written=(0,))
    assert found.read > 0
    assert found.written > 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=6))
def test_reads_are_bounded_by_the_storages(reads):
    inputs = [tensor(storage, size) for storage, size in reads]
    call = node("cat", inputs, [tensor(9, sum(size for _, size in reads))])
    held = storages(*inputs, *call.outputs)
    found = node_cost(call, held)
    assert found.read <= sum(i.nbytes for i in inputs)
    assert found.read <= sum(held[s].nbytes for s in {i.storage for i in inputs})


def test_a_trace_has_one_cost_for_each_node():
    x = tensor(0, 4)
    trace = trace_of([node("relu", [x], [tensor(1, 4)])] * 3, [16, 16])
    assert len(node_costs(trace)) == 3


@pytest.mark.parametrize("name", ["fmen_s", "e_rfdn", "imdn"])
def test_the_zoo_has_no_unknown_class_and_the_macs_agree(name):
    trace = srprof.trace(name, (1, 3, 48, 64))
    for call, found in zip(trace.nodes, node_costs(trace), strict=True):
        assert found.family != "other", call.op
        assert found.flops == 2 * macs(call)
        assert found.family == "view" or found.written > 0
