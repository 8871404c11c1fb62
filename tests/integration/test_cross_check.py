"""`analyze --cross-check`: fvcore's count beside ours, what it needed and what it leaves out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srprof
from srprof.call import Call
from srprof.cli import main
from srprof.compare import cross_check as subject
from srprof.compare.cross_check import CrossCheck, Pair, is_affine
from srprof.render.views.cross_check import document
from srprof.render.writers import render
from srprof.workload import resolve

pytest.importorskip("fvcore", reason="fvcore is not installed")


def checked(model, *inputs, **options) -> CrossCheck:
    workload = resolve(Call(model, tuple(inputs), **options))
    record = subject.cross_check(workload, srprof.trace(model, *inputs, **options))
    assert all(f.difference == 0 for name, f in record.figures.items() if name == "fvcore_flops")
    return record


def text_of(record: CrossCheck) -> str:
    return render(document(record))


def both(pair: Pair) -> tuple[int, int]:
    return pair.ours, pair.fvcore


class Hand(nn.Module):
    """Counted by hand, per pixel: 3x3 3->4, ReLU, transposed 2x2 4->2 with stride 2."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

    def forward(self, x):
        return self.up(self.act(self.conv(x)))


CONV, UP = 27 * 4, 4 * 2 * 4  # multiplications per pixel of the input


@pytest.mark.parametrize(
    ("size", "how", "ran_at"),
    [
        ((128, 96), "scaled", ((32, 32), (32, 64), (64, 64))),
        ((24, 40), "full", ((24, 40),)),
    ],
)
def test_counts_by_hand(size, how, ran_at):
    record = checked(Hand(), (1, 3, *size))
    pixels = size[0] * size[1]
    assert (record.how, record.ran_at, record.batch) == (how, ran_at, 1)
    params, flops, macs, activations, ours = record.figures.values()
    assert both(ours) == ((CONV + UP) * pixels,) * 2
    assert (params.ours, params.fvcore) == (CONV + 4 + 32 + 2,) * 2
    assert (macs.ours, macs.fvcore) == ((CONV + UP) * pixels,) * 2
    assert (activations.ours, activations.fvcore) == ((4 + 8) * pixels,) * 2
    # The challenge of 2022 counts the transposed convolution at its output: four times the pixels.
    assert flops.by_operator == {
        "convolution": Pair((CONV + 4 * UP) * pixels, (CONV + UP) * pixels),
        "activation function": Pair(4 * pixels, 0),
    }
    assert record.unsupported == {}


def test_a_batch_is_counted_whole():
    one, two = checked(Hand(), (1, 3, 16, 16)), checked(Hand(), (2, 3, 16, 16))
    assert two.batch == 2
    for name in ("flops", "macs", "activations"):
        assert two.figures[name].ours == 2 * one.figures[name].ours
        assert two.figures[name].fvcore == 2 * one.figures[name].fvcore
    assert "Counts are of all 2 images." in text_of(two)


def test_a_network_of_the_zoo_has_the_convolutions_that_public_code_has():
    record = checked("fmen_s", (1, 3, 256, 256))
    assert record.how == "scaled"
    convolutions = record.figures["macs"].by_operator["convolution"]
    assert both(convolutions) == (22280011776, 22280011776)


def test_a_network_that_shrinks_its_map_by_stride_and_pooling():
    record = checked("e_rfdn", (1, 3, 96, 64))
    assert record.how == "full"
    kinds = record.figures["macs"].by_operator
    assert kinds["convolution"].difference == 0
    assert kinds["interpolation"].ours == 0
    assert record.figures["macs"].fvcore > record.figures["macs"].ours


class Unknown(nn.Module):
    """A product for which fvcore has no rule, beside one that it has."""

    def forward(self, x):
        rows = x.flatten(2)
        return torch.baddbmm(torch.zeros(1, 3, 3), rows, rows.mT) + rows @ rows.mT


def test_what_fvcore_leaves_out_is_listed():
    record = checked(Unknown(), (1, 3, 16, 16))
    macs = record.figures["macs"]
    assert macs.by_operator == {"matrix product": Pair(2 * 9 * 256, 9 * 256)}
    assert record.unsupported["aten::baddbmm"] == 1
    text = text_of(record)
    assert "aten::baddbmm (1x)" in text
    assert "matrix product -2,304" in text


class FusedAttention(nn.Module):
    def forward(self, x):
        x = x.flatten(2)[:, None]
        return F.scaled_dot_product_attention(x, x, x)


def test_fused_attention_is_what_differs():
    record = checked(FusedAttention(), (1, 3, 8, 8))
    assert record.figures["macs"].by_operator == {"attention": Pair(2 * 9 * 64, 0)}
    assert "attention: fvcore leaves out fused attention." in text_of(record)


class PixelAttention(nn.Module):
    """Every pixel against every other: quadratic in the pixels."""

    def forward(self, x):
        rows = x.flatten(2)
        return rows @ (rows.mT @ rows)


def test_attention_over_pixels_is_run_at_its_own_size():
    record = checked(PixelAttention(), (1, 3, 66, 66))
    assert (record.how, record.ran_at) == ("full", ((66, 66),))
    expected = 2 * 3 * (66 * 66) ** 2
    assert both(record.figures["macs"].by_operator["matrix product"]) == (expected, expected)
    assert "do not grow with the pixels at a fixed rate" in text_of(record)


def test_where_its_own_size_is_too_large_a_small_one_is_compared(monkeypatch):
    monkeypatch.setattr(subject, "_MOST_BYTES", 1)
    record = checked(PixelAttention(), (1, 3, 66, 66))
    assert (record.how, record.ran_at) == ("small", ((64, 64),))
    expected = 2 * 3 * (64 * 64) ** 2
    assert both(record.figures["macs"].by_operator["matrix product"]) == (expected, expected)
    assert "both counts are of that size" in text_of(record)


class ChannelAttention(nn.Module):
    """A part that grows with the pixels, and one that does not."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(3, 3, 1)
        self.body = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.body(x) * self.squeeze(F.adaptive_avg_pool2d(x, 1))


def test_a_constant_part_is_not_scaled():
    record = checked(ChannelAttention(), (1, 3, 100, 70))
    assert record.how == "scaled"
    macs = record.figures["macs"].by_operator
    assert both(macs["convolution"]) == (9 * 7000 + 9,) * 2
    assert both(macs["pooling"]) == (0, 3 * 7000)


class Padded(nn.Module):
    """Windows of 32: what is between two multiples costs as much as the larger."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        height, width = x.shape[2:]
        return self.body(F.pad(x, (0, -width % 32, 0, -height % 32)))


def test_small_sizes_that_agree_do_not_prove_the_large_one():
    record = checked(Padded(), (1, 3, 96, 100))
    assert record.how == "full"
    assert both(record.figures["macs"].by_operator["convolution"]) == (6 * 96 * 128,) * 2


class Multiples(nn.Module):
    """Takes multiples of 64 only."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        if x.shape[2] % 64 or x.shape[3] % 64:
            raise ValueError("multiples of 64")
        return self.body(x)


def test_a_network_that_does_not_take_every_size():
    record = checked(Multiples(), (1, 3, 192, 128))
    assert (record.how, record.ran_at) == ("scaled", ((64, 64), (64, 128), (128, 128)))
    assert both(record.figures["macs"].by_operator["convolution"]) == (6 * 192 * 128,) * 2


class Several(nn.Module):
    """Two images, one of them by keyword, a flag, and a result with something else in it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 2, 1)

    def forward(self, frames, *, mask, twice):
        result = self.body(torch.cat(frames, 1)) * mask
        return {"image": result + result if twice else result, "scale": 2}


def test_a_call_of_several_images_and_other_values():
    size = (96, 128)
    frames = [(1, 3, *size), (1, 3, *size)]
    record = checked(Several(), frames, {"mask": (1, 1, *size), "twice": True})
    assert record.how == "scaled"
    assert record.figures["macs"].fvcore == 12 * 96 * 128
    assert record.unsupported == {"aten::mul": 1, "aten::add": 1}


def test_images_of_two_sizes_are_counted_as_they_are():
    class Two(nn.Module):
        def forward(self, small, large):
            return F.conv2d(small, torch.ones(1, 3, 1, 1)), large * 2

    record = checked(Two(), (1, 3, 8, 8), (1, 3, 16, 16))
    assert (record.how, record.ran_at) == ("full", ())
    assert record.figures["macs"].fvcore == 3 * 64
    assert "images of several sizes" in text_of(record)


def test_the_callers_model_is_left_alone():
    model = Hand().train()
    before = {name: id(p) for name, p in model.named_parameters()}, dict(vars(model.conv))
    checked(model, (1, 3, 16, 16))
    assert model.training
    after = {name: id(p) for name, p in model.named_parameters()}, dict(vars(model.conv))
    assert before == after
    assert not model.conv._forward_hooks and not model._forward_pre_hooks


def test_what_fvcore_itself_cannot_count():
    class Vectors(nn.Module):
        def forward(self, x):
            return torch.matmul(x[0, 0, 0], x[0, 0, 0])

    record = checked(Vectors(), (1, 3, 8, 8))
    assert (record.how, record.figures) == ("none", {})
    assert "fvcore cannot count it: " in text_of(record)


@pytest.mark.parametrize(
    ("values", "holds"),
    [((5, 5, 5), True), ((11, 21, 31), True), ((10, 20, 31), False), ((0, 0, 1), False)],
)
def test_affine(values, holds):
    assert is_affine((1, 2, 3), values) is holds


# -- the command ---------------------------------------------------------------------------------

NETWORK = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, broken=False):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.unused = nn.Conv2d(3, 4, 3)
        self.broken = broken

    def forward(self, x):
        if self.broken and x.device.type == "cpu":
            raise ValueError("only on meta")
        return torch.sigmoid(self.body(x))
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NETWORK)
    return str(tmp_path / "net.py")


def test_the_command_in_its_formats(net, capfd):
    for name in ("text", "markdown", "html", "latex", "rich"):
        command = ["analyze", f"{net}:Net", "--input", "96x96", "--cross-check", "--format", name]
        assert main(command) == 0
        captured = capfd.readouterr()
        assert "Cross-check with fvcore" in captured.out
        assert "aten::sigmoid (1x)" in captured.out
        assert captured.err == ""


def test_csv_is_its_table(net, capfd):
    assert main(["analyze", f"{net}:Net", "--cross-check", "--format", "csv"]) == 0
    rows = capfd.readouterr().out.splitlines()
    assert rows[0] == "figure,ours,fvcore,difference,by_operators"
    assert rows[3] == f"MACs,{108 * 65536},{108 * 65536},0,"


def test_json_has_a_key_more(net, capfd):
    command = ["analyze", f"{net}:Net", "--input", "96x96", "--format", "json"]
    assert main(command) == 0
    without = json.loads(capfd.readouterr().out)
    assert main([*command, "--cross-check"]) == 0
    captured = capfd.readouterr()
    record = json.loads(captured.out)
    assert captured.err == ""
    figures = record.pop("cross_check")["figures"]
    assert figures["macs"] == {
        "ours": 108 * 96 * 96,
        "fvcore": 108 * 96 * 96,
        "by_operator": {"convolution": {"ours": 108 * 96 * 96, "fvcore": 108 * 96 * 96}},
    }
    assert record == without


def test_a_network_that_raises_in_its_real_run(net, capfd):
    command = ["analyze", f"{net}:Net(broken=True)", "--input", "16x16"]
    assert main(command) == 0
    capfd.readouterr()
    assert main([*command, "--cross-check"]) == 3
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "net.py:14 in Net.forward: only on meta" in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "perfetto"], "--format perfetto has no place for --cross-check"),
        (["--train"], "--cross-check is of a forward pass: leave it out with --train"),
    ],
)
def test_where_there_is_no_cross_check(net, capfd, options, message):
    assert main(["analyze", f"{net}:Net", "--input", "8x8", "--cross-check", *options]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_without_fvcore_there_is_one_line(net, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "fvcore", None)
    assert main(["analyze", f"{net}:Net", "--input", "8x8", "--cross-check"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "pip install fvcore" in captured.err
