"""What a graph's steps share, must wait for, and could write into: small networks, read off."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from srprof.leaning.capture import RefusedError, capture
from srprof.leaning.liveness import Liveness, liveness
from tests.one_function import Network


def read(code: Callable[..., object], shape: tuple[int, ...] = (2, 4, 6, 6)) -> Liveness:
    """Steps and storages of `code(network, x)`."""
    network = Network(code).eval()
    x = torch.rand(shape)
    captured = capture(network, (x,), {})

    def attribute(name: str) -> Tensor:
        constant = captured.constants.get(name)
        return operator.attrgetter(name)(network) if constant is None else constant

    return liveness(captured.graph, attribute, [x])


def named(found: Liveness, op: str) -> list[int]:
    """The steps that call this operator."""
    return [n for n, node in enumerate(found.nodes) if str(node.target).startswith(f"aten.{op}.")]


def last(found: Liveness, op: str) -> int:
    return named(found, op)[-1]


def overwritten(code: Callable[..., object], op: str, **kwargs: tuple[int, ...]) -> int | None:
    """The storage that the last call of this operator writes into, in the order of the code."""
    found = read(code, **kwargs)
    moves = list(found.program.replay(range(len(found.nodes))))
    return moves[last(found, op)].overwritten


def made_by(found: Liveness, op: str) -> int:
    """The storage that the first call of this operator makes."""
    (storage,) = found.program.steps[named(found, op)[0]].creates
    return storage


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y.permute(0, 1, 3, 2),
        lambda y: y[:, :2],
        lambda y: y.view(2, -1),
        lambda y: y.chunk(2, dim=1)[0],
        lambda y: torch.split(y, 1, dim=1)[3],
        lambda y: y.unbind(1)[2],
        lambda y: y.unsqueeze(0).expand(3, -1, -1, -1, -1),
    ],
)
def test_a_view_lies_in_the_storage_that_it_shows(view):
    found = read(lambda net, x: view(net.conv(x)) * 2)
    (product,) = named(found, "mul")
    assert made_by(found, "conv2d") in found.program.steps[product].touches
    made = [storage for step in found.program.steps for storage in step.creates]
    assert len(made) == 2  # of the convolution and the product


@pytest.mark.parametrize(
    "maybe",
    [
        lambda y: y.permute(0, 1, 3, 2).reshape(2, 4, 36),  # copies here, at 6x1 it would not
        lambda y: F.dropout(y, 0.5, training=False),
        lambda y: y.to(torch.float32),
        lambda y: y.contiguous(),
        lambda y: y.flatten(1),
        lambda y: y.type_as(y),
        lambda y: F.pad(y, (0, 0, 0, 0)),
    ],
)
def test_what_may_share_counts_as_sharing(maybe):
    found = read(lambda net, x: maybe(net.conv(x)) * 2)
    product = found.program.steps[last(found, "mul")]
    assert made_by(found, "conv2d") in product.touches | product.may_touch


def test_what_is_copied_in_this_call_may_die():
    found = read(lambda net, x: net.conv(x).permute(0, 1, 3, 2).reshape(2, 4, 36) * 2)
    product = found.program.steps[last(found, "mul")]
    assert made_by(found, "conv2d") in product.may_touch
    assert product.touches == {made_by(found, "reshape"), *product.creates}


def test_a_copy_that_may_be_a_view_is_not_overwritten_while_its_source_is_read():
    def code(net, x):
        y = net.conv(x)
        z = torch.sigmoid(y.permute(0, 1, 3, 2).reshape(2, -1))
        return z.sum() + y.sum()

    assert overwritten(code, "sigmoid") is None


def test_reads_come_before_a_write_and_what_reads_after_it():
    def code(net, x):
        y = net.conv(x)
        before = y * 2
        y.add_(1)
        return before + y * 3

    found = read(code)
    (write,) = named(found, "add_")
    early, late = named(found, "mul")
    assert early in found.program.steps[write].needs
    assert write in found.program.steps[late].needs


def test_a_write_through_a_view_waits_for_readers_of_the_whole():
    def code(net, x):
        y = net.conv(x)
        part = y[:, :2]
        before = y * 2
        part.add_(1)
        return before + y * 3

    found = read(code)
    (write,) = named(found, "add_")
    early, late = named(found, "mul")
    assert early in found.program.steps[write].needs
    assert write in found.program.steps[late].needs


@pytest.mark.parametrize("op", ["relu", "sigmoid", "tanh", "neg", "exp", "silu", "gelu"])
def test_an_elementwise_call_writes_into_an_argument_that_dies(op):
    code = {
        "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "neg": torch.neg,
        "exp": torch.exp, "silu": F.silu, "gelu": F.gelu,
    }[op]  # fmt: skip
    found = read(lambda net, x: code(net.conv(x)) @ x)
    assert overwritten(lambda net, x: code(net.conv(x)) @ x, op) == made_by(found, "conv2d")


@pytest.mark.parametrize(
    "code, op",
    [
        (lambda net, x: F.relu(x) @ x, "relu"),  # the caller's
        (lambda net, x: F.relu(x[:, :2]) @ x[:, 2:], "relu"),
        (lambda net, x: torch.sigmoid(net.weight) @ x, "sigmoid"),  # a parameter
        (lambda net, x: torch.sigmoid(net.weight.view(4, 36)).sum() + x, "sigmoid"),  # a view of it
        (lambda net, x: torch.sigmoid(net.table.detach()) @ x, "sigmoid"),
        (lambda net, x: torch.sigmoid(net.table.contiguous()) @ x, "sigmoid"),
        (lambda net, x: torch.sigmoid(net.conv(x).mean((2, 3), True).expand(-1, -1, 6, 6)) @ x,
         "sigmoid"),  # broadcast
        (lambda net, x: net.conv(x).mean((2, 3), True) + x, "add"),
        (lambda net, x: net.conv(x).to(torch.float64) @ (net.conv(x) > 0).double(), "gt"),
        (lambda net, x: net.conv(x).half() + x, "add"),  # other dtype
        (lambda net, x: F.relu(net.conv(x)[:, :2]) @ x[:, 2:], "relu"),  # part of a storage
        (lambda net, x: F.relu(net.conv(x).chunk(2, 1)[0]) @ x[:, 2:], "relu"),
    ],
)  # fmt: skip
def test_what_is_never_overwritten(code, op):
    assert overwritten(code, op) is None


def test_a_slice_of_a_table_that_is_whole_at_some_size_is_not_overwritten():
    """At 6x6 the slice is the buffer, `reshape` shows it, and a write would change it."""

    def code(net, x):
        table = net.table[:, :, : x.shape[2], : x.shape[3]].reshape(1, 4, -1)
        return torch.sigmoid(table).sum() + x

    assert overwritten(code, "sigmoid", shape=(2, 4, 5, 5)) is None


def test_other_strides_are_not_overwritten():
    def code(net, x):
        y = net.conv(x)
        return torch.add(torch.sigmoid(x.permute(0, 1, 3, 2)), y).sum()

    found = read(code)
    (total,) = named(found, "add")
    assert made_by(found, "sigmoid") in found.in_place[total]
    assert made_by(found, "conv2d") not in found.in_place[total]


@pytest.mark.parametrize(
    "code",
    [
        lambda y: y + y.permute(0, 1, 3, 2),
        lambda y: y * y[:, :1],
        lambda y: y[:, :1] * y,
        lambda y: y + y.flatten(2).view(2, 4, 6, 6).transpose(2, 3),
    ],
)
def test_an_argument_of_which_another_argument_is_a_view_is_not_overwritten(code):
    """Elements would be read after they were written."""
    found = read(lambda net, x: code(net.conv(x)))
    assert found.in_place[-1] == {}


def test_a_sum_of_a_value_with_itself_may_be_written_into_it():
    found = read(lambda net, x: (y := net.conv(x)) + y)
    assert list(found.in_place[-1]) == [made_by(found, "conv2d")]


@pytest.mark.parametrize("op", [torch.add, torch.mul])
def test_the_second_operand_is_overwritten_where_only_it_dies(op):
    name = op.__name__
    found = read(lambda net, x: op(x, net.conv(x)) @ x)
    assert overwritten(lambda net, x: op(x, net.conv(x)) @ x, name) == made_by(found, "conv2d")
    call = found.in_place[last(found, name)][made_by(found, "conv2d")]
    assert call.args[0].name == "conv2d"  # which now comes first


@pytest.mark.parametrize(
    "code, op",
    [
        (lambda net, x: torch.sub(x, net.conv(x)) @ x, "sub"),
        (lambda net, x: torch.div(x, net.conv(x)) @ x, "div"),
        (lambda net, x: torch.add(x, net.conv(x), alpha=2) @ x, "add"),
    ],
)
def test_the_second_operand_stays_where_order_matters(code, op):
    assert overwritten(code, op) is None


def test_a_list_of_chunks_holds_their_storage_until_its_last_use():
    def code(net, x):
        first, second = net.conv(x).chunk(2, dim=1)
        narrow = first * 2
        return torch.sigmoid(narrow) + second

    found = read(code)
    storage = made_by(found, "conv2d")
    users = found.program.users[storage]
    assert users >> last(found, "add") & 1
    (step,) = named(found, "chunk")
    assert found.program.steps[step].creates == ()


def test_results_are_pinned():
    def code(net, x):
        y = net.conv(x)
        return y, torch.sigmoid(y)

    found = read(code)
    assert made_by(found, "conv2d") in found.program.pinned
    assert overwritten(code, "sigmoid") is None


def test_a_view_as_a_result_pins_its_storage():
    def code(net, x):
        y = net.conv(x)
        return y[:, :1], torch.sigmoid(y)

    assert overwritten(code, "sigmoid") is None


def test_outputs_that_nobody_uses_die_at_once():
    def code(net, x):
        values, _ = torch.topk(net.conv(x), 3, dim=1)
        return values * 2

    found = read(code)
    moves = list(found.program.replay(range(len(found.nodes))))
    (topk,) = named(found, "topk")
    assert len(found.program.steps[topk].creates) == 2
    end = found.program.start + found.program.sizes[made_by(found, "mul")]
    assert moves[-1].live == end


def test_weights_and_their_views_take_nothing():
    found = read(lambda net, x: x * net.weight.view(4, 6, 6))
    image, result = 2 * 4 * 6 * 6 * 4, 2 * 4 * 6 * 6 * 4
    assert found.program.start == -(-image // 512) * 512
    assert found.program.peak() == found.program.start + -(-result // 512) * 512


def test_random_numbers_are_drawn_in_the_order_of_the_code():
    def code(net, x):
        a = torch.rand_like(x)
        b = torch.rand_like(x)
        return b - a

    found = read(code)
    first, second = named(found, "rand_like")
    assert first in found.program.steps[second].needs


def test_what_does_not_run_without_data_is_refused():
    graph = torch.fx.Graph()
    graph.output(graph.call_function(torch.ops.aten.nonzero.default, (graph.placeholder("x"),)))
    with pytest.raises(RefusedError, match=r"aten\.nonzero\.default does not run on meta tensors"):
        liveness(graph, lambda name: torch.empty(0), [torch.rand(3)])
