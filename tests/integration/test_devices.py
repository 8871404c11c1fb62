"""Where the CPU runs other calls than meta, and who says so."""

from __future__ import annotations

import torch
from torch import nn

import srprof
from tests.cpu_truth import live_bytes


class BlueprintConv(nn.Module):
    """A Linear over channels, then a depthwise convolution: the pattern of BSRN."""

    def __init__(self, channels: int):
        super().__init__()
        self.pointwise = nn.Linear(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x):
        x = self.pointwise(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.depthwise(x)


class Blueprint(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, padding=1), *(BlueprintConv(16) for _ in range(3)))


class Moved(nn.Module):
    """A tensor made in main memory and moved to the image's device, where a CPU's is already."""

    def forward(self, x):
        return x + torch.arange(3.0).view(1, 3, 1, 1).to(x.device)


def test_the_cpu_trace_names_the_calls_that_differ():
    cpu = srprof.trace(Moved(), (1, 3, 32, 32), trace_on="cpu")
    meta = srprof.trace(Moved(), (1, 3, 32, 32))
    ours = [{node.op for node in trace.nodes} for trace in (cpu, meta)]
    assert ours[0] ^ ours[1] == {"_to_copy"}
    (note,) = cpu.notes
    assert "_to_copy x1 only on meta" in note
    assert "eager peak on meta" in note


def test_depthwise_convolutions_keep_channels_last_on_every_device():
    """So a linear layer behind one is taken apart alike."""
    cpu = srprof.trace(Blueprint(), (1, 3, 32, 32), trace_on="cpu")
    meta = srprof.trace(Blueprint(), (1, 3, 32, 32))
    assert [node.op for node in cpu.nodes] == [node.op for node in meta.nodes]
    assert not cpu.notes and not meta.notes


def test_like_is_compared_with_like():
    """The trace on the CPU agrees with the CPU's allocator, whatever meta says."""
    model, image = Blueprint(), torch.rand(1, 3, 32, 32)
    ops, live = live_bytes(model, image)
    trace = srprof.trace(model, tuple(image.shape), trace_on="cpu")
    assert [node.op for node in trace.nodes] == ops
    assert [node.live - image.nbytes for node in trace.nodes] == live


def test_no_note_where_nothing_differs():
    assert srprof.trace("imdn", (1, 3, 32, 32), trace_on="cpu").notes == ()
