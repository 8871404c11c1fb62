"""`srprof estimate`: closed forms beside traces at fresh sizes, on a tiny network of each kind."""

from __future__ import annotations

import json
import sys
from random import Random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srprof
import srprof_estimate as reader
from srprof.cli import main
from srprof.errors import InputError

KINDS = reader.KINDS


class Block(nn.Module):
    def __init__(self, nf=8):
        super().__init__()
        self.conv = nn.Conv2d(nf, nf, 3, padding=1)

    def forward(self, x):
        return F.leaky_relu_(self.conv(x)) + x


class Plain(nn.Module):
    """Blocks in a row, a pixel shuffle, a variable that holds on."""

    def __init__(self, blocks=6, channels=3):
        super().__init__()
        self.head = nn.Conv2d(channels, 8, 3, padding=1)
        self.body = nn.Sequential(*(Block() for _ in range(blocks)))
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        first = self.head(x)
        y = self.body(first)
        z = y.relu()
        return F.pixel_shuffle(self.tail(z), 2)


class Strided(nn.Module):
    """A stride, a transposed convolution, and a crop to the image's size."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)

    def forward(self, x):
        h, w = x.shape[2:]
        return self.up(self.down(x).relu_())[:, :, :h, :w]


class Windows(nn.Module):
    """Reflected to a multiple of 8, and attention in windows of 8x8."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 3, padding=1)
        self.qkv, self.out = nn.Linear(16, 48), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        b, _, h, w = x.shape
        x = F.pad(x, (0, -w % 8, 0, -h % 8), "reflect")
        y = self.embed(x).permute(0, 2, 3, 1)
        b, height, width, c = y.shape
        y = y.view(b, height // 8, 8, width // 8, 8, c).permute(0, 1, 3, 2, 4, 5)
        q, k, v = self.qkv(y.reshape(-1, 64, c)).chunk(3, -1)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        y = y.view(b, height // 8, width // 8, 8, 8, c).permute(0, 5, 1, 3, 2, 4)
        return self.out(y.reshape(b, c, height, width))[:, :, :h, :w]


class Pooled(nn.Module):
    """Attention of channels by all pixels, and of rows and columns."""

    def __init__(self):
        super().__init__()
        self.head, self.squeeze = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 1)

    def forward(self, x):
        y = self.head(x)
        rows, columns = y.mean(3, keepdim=True), y.mean(2, keepdim=True).permute(0, 1, 3, 2)
        both = self.squeeze(torch.cat([rows, columns], 2)).sigmoid()
        rows, columns = both.split([y.shape[2], y.shape[3]], 2)
        y = y * rows * columns.permute(0, 1, 3, 2)
        return (y * y.mean((2, 3), keepdim=True).sigmoid())[:, :3]


class Tokens(nn.Module):
    """Attention of all pixels."""

    def __init__(self):
        super().__init__()
        self.qk = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        q, k = self.qk(x).flatten(2).chunk(2, 1)
        a = (q.transpose(1, 2) @ k).softmax(-1)
        return (x.flatten(2) @ a).view_as(x)


class Scaled(nn.Module):
    """Half and more of the image's size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        small = F.interpolate(x, scale_factor=0.5, mode="bilinear")
        large = F.interpolate(self.conv(small), scale_factor=3, mode="nearest")
        return F.interpolate(large, size=x.shape[2:], mode="bilinear")


class Fused(nn.Module):
    """Makes the weights of its convolutions anew in each call, in the place of the old ones."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 400, 1), nn.Conv2d(400, 200, 3, bias=False)
        self.fused = nn.Conv2d(3, 200, 3, padding=1)

    def forward(self, x):
        weight = torch.einsum("oikl,ij->ojkl", self.narrow.weight, self.wide.weight[:, :, 0, 0])
        self.fused.weight.data = weight
        return self.fused(x).relu()


def sizes(estimate, count=5, least=40, most=500):
    random = Random(estimate.spec)
    sides = [estimate.at_least(random.randrange(least, most)) for _ in range(2 * count)]
    return list(zip(sides[::2], sides[1::2], strict=True))


@pytest.mark.parametrize("kind", [Plain, Strided, Windows, Pooled, Tokens, Scaled, Fused])
def test_every_peak_is_that_of_a_trace_at_fresh_sizes(kind):
    network = kind()
    estimate = srprof.estimate(network, (1, 3, 64, 64), dtype="float32")
    assert estimate.exact, estimate.checked
    few = sizes(estimate, most=120) if kind is Tokens else sizes(estimate)
    for batch, (h, w) in zip((1, 2, 1, 3, 1), few, strict=True):
        a = srprof.analyze(network, (batch, 3, h, w))
        for name in KINDS:
            assert estimate.peak_bytes(h, w, batch, "float32", name) == a.peaks[name].nbytes, name
        assert reader.result_size(estimate.to_dict(), h, w) == a.trace.result_shape[1:]


def test_dtypes_have_their_own_functions():
    class Mixed(Plain):
        def forward(self, x):
            return super().forward(x) * x.float().mean()

    network = Mixed()
    estimate = srprof.estimate(network, (1, 3, 64, 64))
    assert set(estimate.dtypes) == {"float32", "float16", "bfloat16"}
    for dtype in estimate.dtypes:
        a = srprof.analyze(network, (2, 3, 90, 70), dtype=dtype)
        for name in KINDS:
            assert estimate.peak_bytes(90, 70, 2, dtype, name) == a.peaks[name].nbytes


def test_sides_that_the_network_takes_are_said():
    class Fours(Plain):
        def forward(self, x):
            return super().forward(F.pixel_unshuffle(x, 4)[:, :3])

    estimate = srprof.estimate(Fours(), (1, 3, 64, 64), dtype="float32")
    assert estimate.sides["step"] == 4
    with pytest.raises(ValueError, match="nearest is 64x68"):
        estimate.peak_bytes(64, 65, 1, "float32")


def test_small_sizes_of_another_graph_are_outside():
    class Small(Plain):
        def forward(self, x):
            return super().forward(x) if min(x.shape[2:]) >= 24 else self.head(x).repeat(1, 1, 2, 2)

    estimate = srprof.estimate(Small(), (1, 3, 64, 64), dtype="float32")
    assert estimate.sides["least"] == 24
    assert estimate.exact


def test_sizes_that_decide_the_graph_are_said():
    class Odd(Plain):
        def forward(self, x):
            y = super().forward(x)
            for _ in range(x.shape[2] % 3):
                y = y + y.clone()
            return y

    estimate = srprof.estimate(Odd(), (1, 3, 64, 64), dtype="float32")
    assert not estimate.exact
    assert any("decide" in note for note in estimate.notes)


def test_a_network_of_one_image_has_no_batch():
    class One(Plain):
        def forward(self, x):
            return super().forward(x.view(1, 3, *x.shape[2:]))

    estimate = srprof.estimate(One(), (1, 3, 64, 64), dtype="float32")
    with pytest.raises(ValueError, match="up to 1"):
        estimate.peak_bytes(64, 64, 2, "float32")
    assert any("one image at a time" in note for note in estimate.notes)


def test_times_and_scratch_of_a_profile():
    estimate = srprof.estimate(Plain(), (1, 3, 64, 64), dtype="float16", profile="h200")
    assert estimate.time is not None
    a = srprof.analyze(Plain(), (1, 3, 300, 300), dtype="float16", profile="h200")
    said = reader.milliseconds(estimate.to_dict(), 300, 300)
    assert said == pytest.approx(1e3 * a.latency.seconds, rel=0.1)
    peak = estimate.peak_bytes(300, 300, 1, "float16")
    assert peak == pytest.approx(a.peaks["allocated"].nbytes, rel=0.01)


NETS = """
from torch import nn
import torch


class Net(nn.Module):
    def __init__(self, nf=8):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, nf, 3, padding=1), nn.Conv2d(nf, 12, 3, padding=1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.tail(self.head(x).relu()), 2)


class Undecided(Net):
    def forward(self, x):
        kept = [x + i for i in range(x.shape[-1] // 7 % 5)]
        return super().forward(x) + len(kept)


class NoHalf(Net):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return super().forward(x)


class Broken(Net):
    def forward(self, x):
        raise ValueError("never")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_file_that_the_reader_reads(folder, capsys):
    assert main(["estimate", "nets.py:Net", "-o", "net.json"]) == 0
    printed = capsys.readouterr()
    assert "float16" in printed.out
    assert "every trace is of one graph" in printed.out
    assert "wrote net.json" in printed.err
    estimate = reader.load(folder / "net.json")
    assert len((folder / "net.json").read_bytes()) < 20_000
    a = srprof.analyze("nets.py:Net", (1, 3, 123, 77), dtype="float16")
    assert reader.peak_bytes(estimate, 123, 77) == a.peaks["allocated"].nbytes


def test_fit_takes_the_file(folder, capsys):
    assert main(["estimate", "nets.py:Net", "--dtype", "float32", "-o", "net.json"]) == 0
    capsys.readouterr()
    answers = []
    for more in ([], ["--estimate", "net.json"]):
        for asked in (["--aspect", "16:9"], ["--batch"], ["--memory", "planned"]):
            argv = ["fit", "nets.py:Net", "--budget", "40MiB", *asked, *more, "--format", "json"]
            assert main(argv) == 0
            answer = json.loads(capsys.readouterr().out)
            if more:
                assert answer["traces"] == 1
                assert "estimate" in answer["notes"][0]
            answers.append({k: v for k, v in answer.items() if k not in ("traces", "notes")})
    assert answers[:3] == answers[3:]


def test_fit_makes_the_file_and_is_by_it_from_then_on(folder, capsys):
    def fit(*more):
        argv = ["fit", "nets.py:Net", "--budget", "40MiB", *more, "--format", "json"]
        assert main(argv) == 0
        return json.loads(capsys.readouterr().out)

    traced = fit()
    first = fit("--estimate", "net.json")
    assert first["notes"][0] == "net.json was made: the next fit is by it"
    again = fit("--estimate", "net.json", "--dtype", "float16")
    assert again["traces"] == 1
    assert fit("--dtype", "float16")["largest"] == again["largest"]
    assert first["largest"] == traced["largest"]


def test_an_estimate_of_the_network_as_it_was_is_found_out(folder, capsys):
    argv = ["fit", "nets.py:Net", "--budget", "40MiB", "--format", "json"]
    assert main([*argv, "--estimate", "net.json"]) == 0
    (folder / "nets.py").write_text(NETS.replace("nf=8", "nf=32"))
    sys.modules.pop("nets", None)
    capsys.readouterr()
    assert main([*argv, "--estimate", "net.json"]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert "another state" in by_file["notes"][0]
    assert main(argv) == 0
    assert by_file["largest"] == json.loads(capsys.readouterr().out)["largest"]


def test_fit_says_that_a_network_has_no_estimate(folder, capsys):
    argv = ["fit", "nets.py:Undecided", "--budget", "4MiB", "--estimate", "net.json"]
    assert main([*argv, "--format", "json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("each call was traced" in note for note in notes)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["estimate", "nets.py:Broken"], 3, "never"),
        (["estimate", "nets.py:Net", "--input", "5"], 0, ""),
        (["estimate", "nets.py:Net", "--input", "7:int64"], 2, "takes none"),
        (["estimate", "nets.py:Net", "-o", "net.txt"], 2, ".json"),
        (["fit", "nets.py:Net", "--budget", "1MiB", "--estimate", "none.txt"], 2, "none.txt"),
        (["fit", "nets.py:Net", "--budget", "1MiB", "--estimate", "other.json"], 2, "no estimate"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, argv, code, message):
    (folder / "other.json").write_text('{"schema": 1}')
    assert main(argv) == code
    assert message in capsys.readouterr().err


def test_the_estimate_of_another_network_is_refused(folder, capsys):
    assert main(["estimate", "nets.py:Net", "--dtype", "float32", "-o", "net.json"]) == 0
    argv = ["fit", "nets.py:Net(nf=4)", "--budget", "1MiB", "--estimate", "net.json"]
    assert main(argv) == 2
    assert "nets.py:Net(nf=4)" in capsys.readouterr().err


def test_the_file_names_no_folder_of_this_machine(folder, capsys, monkeypatch):
    monkeypatch.chdir("/")
    out = str(folder / "net.json")
    assert main(["estimate", f"{folder}/nets.py:NoHalf", "-o", out]) == 0
    text = (folder / "net.json").read_text()
    estimate = json.loads(text)
    assert "nets.py" in estimate["dtypes"]["float16"]
    assert str(folder) not in text.replace(estimate["model"]["spec"], "")


def test_a_network_whose_functions_hold_at_no_traced_size_has_no_estimate(monkeypatch):
    monkeypatch.setattr("srprof.estimating.run._within", lambda *_: False)
    with pytest.raises(InputError, match="other calls at each size that was traced"):
        srprof.estimate("fmen_s(up_blocks=(1,))", dtypes=("float32",))
