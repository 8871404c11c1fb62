"""What programs do around a network, traced and estimated: autocast, layouts, results that stay."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import srprof
import srprof_estimate
from srprof.call import Call
from srprof.errors import InputError
from srprof.memory.model import memory_model, rounded
from srprof.presets import applied, find
from srprof.tracing.run import trace_call

SHAPE = (1, 3, 24, 32)
#: Of a result of three channels, twice as large as the image.
RESULT = 4 * 3 * 48 * 64


class Net(nn.Module):
    """A convolution, a few more of one module, and a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        return self.shuffle(self.tail(torch.relu(self.head(x))))


def traced(**form):
    return trace_call(Call(Net(), (SHAPE,), **form))


def levels(trace):
    return [node.live for node in trace.nodes]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_autocast_is_as_a_region_in_the_network(dtype):
    """The network's own region and the call's make the same calls."""

    class Region(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            with torch.autocast("cuda", dtype=getattr(torch, dtype)):
                return self.net(x)

    own, asked = trace_call(Call(Region(), (SHAPE,))), traced(autocast=True, dtype=dtype)
    assert [(n.op, n.shape) for n in own.nodes] == [(n.op, n.shape) for n in asked.nodes]
    assert levels(own) == levels(asked)
    inputs = [n.inputs[1].dtype for n in asked.nodes if n.op == "convolution"]
    assert inputs == [dtype, dtype]
    assert {e.info.dtype for e in asked.externals} == {"float32"}


def test_a_previous_result_is_there_throughout():
    alone, behind = traced(), traced(previous_result=True)
    assert levels(behind) == [live + RESULT for live in levels(alone)]
    model, more = memory_model(alone, 1), memory_model(behind, 1)
    assert more.planned.nbytes == model.planned.nbytes + RESULT
    assert [p.eager for p in more.parts] == [p.eager + RESULT for p in model.parts]


def test_a_result_that_is_the_image_is_there_once():
    net = nn.Identity()
    alone, behind = (trace_call(Call(net, (SHAPE,), previous_result=p)) for p in (False, True))
    assert levels(behind) == levels(alone)
    assert behind.storages == alone.storages


def test_a_copied_result_is_one_node_more():
    alone, copied = traced(), traced(copied_result=True)
    *nodes, last = copied.nodes
    assert [n.op for n in nodes] == [n.op for n in alone.nodes]
    assert (last.op, last.shape) == ("clone", alone.result_shape)
    image = alone.inputs[0].info.nbytes
    assert last.live == image + 2 * RESULT
    assert copied.result_shape == alone.result_shape
    assert memory_model(copied, 1).parts[-1].eager == memory_model(copied, 1).net + last.live
    assert copied.graph  # it is a call as any other


def test_images_alone_have_their_channels_innermost():
    image, weight = next(
        n.inputs[:2] for n in traced(images_channels_last=True).nodes if n.op == "convolution"
    )
    assert image.strides == (3 * 24 * 32, 1, 3 * 32, 3)
    assert weight.strides == (27, 9, 3, 1)


def test_what_libraries_keep_is_there_before_their_first_call():
    cold, warm = (srprof.analyze(traced(warm=warm)).peaks["allocated"].nbytes for warm in (0, 1))
    kept = 8519680 + 2**20  # cuBLAS's and cuBLASLt's, which this network never calls
    assert warm == cold + kept


@pytest.mark.parametrize(("run_as", "dtypes"), [
    ("chainner", ["float16", "float32"]),
    ("comfyui", ["float32"]),
    ("trainner", ["float16", "bfloat16"]),
])  # fmt: skip
def test_an_estimate_is_of_the_program(run_as, dtypes):
    found = srprof.estimate(Net(), SHAPE, run_as=run_as)
    file = json.loads(found.to_json())
    assert file["as"]["name"] == run_as
    assert file["as"]["sources"]
    assert [*file["dtypes"]] == dtypes
    assert found.exact
    call = applied(Call(Net(), ((1, 3, 61, 83),)), find(run_as))
    for dtype in dtypes:
        form = Call(**{**vars(call), "dtype": dtype})
        peaks = srprof.analyze(trace_call(form)).peaks
        for kind in srprof_estimate.KINDS:
            said = srprof_estimate.peak_bytes(file, 61, 83, 1, dtype, kind)
            assert said == peaks[kind].nbytes, (dtype, kind)


def test_nearest_of_few_innermost_channels_is_computed_in_the_other_layout():
    """PyTorch's kernel for that layout takes four channels at once."""

    def peak(channels: int, channels_last: bool) -> int:
        call = Call(nn.Upsample(scale_factor=2), ((1, channels, 256, 256),))
        call = Call(**{**vars(call), "channels_last": channels_last})
        return srprof.analyze(trace_call(call)).peaks["allocated"].nbytes

    image = 4 * 3 * 256 * 256
    assert peak(3, True) == peak(3, False) + rounded(image + 4 * image)
    assert peak(4, True) == peak(4, False)


def test_a_pointwise_convolution_copies_an_image_of_the_other_layout():
    """Weights with their channels innermost have cuDNN compute so; those of one channel do not."""

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(32, 3, 1)

        def forward(self, x):
            return self.conv(x.contiguous())

    def peak(channels_last: bool) -> int:
        call = Call(Turned(), ((1, 32, 256, 256),), dtype="float16", channels_last=channels_last)
        return srprof.analyze(trace_call(call), workspace="tensor-cores").peaks["allocated"].nbytes

    image = 2 * 32 * 256 * 256
    # beside the image itself: the one that was made contiguous, and the copy of that
    assert peak(True) == peak(False) + 2 * image


def test_fit_is_of_the_program():
    found = srprof.fit(Net(), "1MiB", SHAPE, run_as="chainner")
    assert found.dtype == "float16"
    call = applied(Call(Net(), (found.largest.shape,), dtype="float16"), find("chainner"))
    assert found.largest.peaks["allocated"] == (
        srprof.analyze(trace_call(call)).peaks["allocated"].nbytes
    )
    with pytest.raises(InputError, match="chainner trains no network"):
        srprof.fit(Net(), "1MiB", SHAPE, run_as="chainner", train=True)


def test_copies_of_layouts_are_functions_of_sizes_too():
    found = srprof.estimate(nn.Upsample(scale_factor=2), SHAPE, run_as="comfyui")
    call = applied(Call(nn.Upsample(scale_factor=2), ((1, 3, 501, 333),)), find("comfyui"))
    peaks = srprof.analyze(trace_call(call)).peaks
    assert found.peak_bytes(501, 333, dtype="float32") == peaks["allocated"].nbytes
    assert peaks["allocated"].nbytes > peaks["eager"].nbytes
