"""`srprof fit`: against looking at every size, and what it says of images and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import srprof
from srprof import models
from srprof.analysis import Analysis
from srprof.call import Call
from srprof.cli import main
from srprof.cost.gpus import find_gpu
from srprof.errors import (
    DeviceMemoryError,
    InputError,
    ModelError,
    NoFitError,
    OutOfDeviceMemoryError,
)
from srprof.figures import peak_names
from srprof.tiling.grid import grid
from srprof.tiling.tiled import Tiled
from srprof.tracing.run import trace_call
from tests.shown import check_shown

MIB = 2**20

#: FMEN-S with one of its six ERBs, which is searched four times as fast.
SHALLOW = "fmen_s(up_blocks=(1,))"

NETWORKS = """\
import torch
import torch.nn.functional as F
from torch import nn


class Windows(nn.Module):
    "Takes multiples of 8 from 16 pixels on."

    def __init__(self, side=8, least=16):
        super().__init__()
        self.side, self.least = side, least
        self.body = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x):
        n, c, h, w = x.shape
        if h % self.side or w % self.side or min(h, w) < self.least:
            raise ValueError("sides must be multiples of the window")
        return self.body(x)


class Cropping(nn.Module):
    "Runs at any size, but gives the image's size at even ones only."

    def forward(self, x):
        return F.pixel_shuffle(F.pixel_unshuffle(x[..., : x.shape[-2] // 2 * 2,
                                                   : x.shape[-1] // 2 * 2], 2), 2)


class Shrinking(nn.Module):
    "Pads nothing, so its result is in no proportion."

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 5)

    def forward(self, x):
        return self.body(x)


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 3, 48, 48))

    def forward(self, x):
        return x + self.position


class OneImage(nn.Module):
    def forward(self, x):
        assert x.shape[0] == 1, "one image at a time"
        return x * 2


class Holding(nn.Module):
    "Holds a map that nothing needs any more, and takes 7 pixels at least."

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 40, 3, padding=1)
        self.body = nn.Conv2d(40, 40, 3, padding=1)
        self.tail = nn.Conv2d(40, 48, 3, padding=1)

    def forward(self, x):
        early = self.head(x)
        y = self.body(early)
        small = F.max_pool2d(y, 7, 3)
        y = y * F.interpolate(small, x.shape[-2:], mode="bilinear")
        return F.pixel_shuffle(self.tail(torch.cat([y, y], 1)[:, :40]), 4)


class Data(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("never works")


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class Reference(nn.Module):
    def forward(self, x, reference):
        return x + nn.functional.avg_pool2d(reference, 2)


class Mask(nn.Module):
    def forward(self, x, small):
        return x * nn.functional.interpolate(small, x.shape[-2:])
"""


def analyzed(spec: str, *shape: int) -> Analysis:
    """An analysis without the run that finds variables, which no peak needs."""
    return srprof.analyze(trace_call(Call(spec, (shape,)), holders=False))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", params=[SHALLOW, "nets.py:Holding"])
def every_size(request, tmp_path_factory):
    """A network's four peaks at each side, one by one; below them the smallest it takes."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(NETWORKS)
    spec = request.param.replace("nets.py", f"{folder}/nets.py")
    peaks = {}
    for side in range(1, 61):
        try:
            analysis = analyzed(spec, 1, 3, side, side)
        except ModelError:
            continue
        peaks[side] = {name: peak.nbytes for name, peak in analysis.peaks.items()}
    return spec, peaks


@pytest.mark.parametrize("memory", peak_names())
def test_equals_a_brute_force_search(every_size, memory):
    name, peaks = every_size
    top, tried = min(peaks[max(peaks)][kind] for kind in peak_names()), 0
    for budget in (top - 1, top // 2, top // 3, 2 * MIB + 4321):
        fitting = [side for side in peaks if peaks[side][memory] <= budget]
        if not fitting or max(fitting) == max(peaks):
            continue
        largest, tried = max(fitting), tried + 1
        found = srprof.fit(name, budget, memory=memory)

        assert found.shape == (1, 3, largest, largest)
        assert found.largest.peaks == peaks[largest]
        assert found.following.peaks == peaks[largest + 1]
        assert found.rule.least == min(peaks)
    assert tried


def test_exactly_at_the_boundary():
    need = analyzed(SHALLOW, 1, 3, 90, 90).memory.eager.nbytes

    assert srprof.fit(SHALLOW, need, memory="eager").shape == (1, 3, 90, 90)
    assert srprof.fit(SHALLOW, need - 1, memory="eager").shape == (1, 3, 89, 89)


def test_of_an_aspect():
    found = srprof.fit(SHALLOW, "12 MiB", memory="eager", aspect="16:9")
    near = range(found.shape[3] - 8, found.shape[3] + 9)
    fitting = [
        (round(w * 9 / 16), w)
        for w in near
        if analyzed(SHALLOW, 1, 3, round(w * 9 / 16), w).memory.eager.nbytes <= 12 * MIB
    ]

    assert found.shape[2:] == fitting[-1]
    assert len(fitting) == 9
    assert (
        srprof.fit(SHALLOW, "12MiB", memory="eager", aspect="9:16").shape[2:] == (fitting[-1][::-1])
    )


def test_the_largest_batch():
    found = srprof.fit(SHALLOW, "16MiB", "40x48", batch=True)
    batches = [
        n
        for n in range(1, 20)
        if analyzed(SHALLOW, n, 3, 40, 48).peaks["allocated"].nbytes <= 16 * MIB
    ]

    assert found.shape == (max(batches), 3, 40, 48)
    assert found.following.peaks["allocated"] > 16 * MIB


def test_half_precision_takes_more_pixels():
    single, half = (srprof.fit(SHALLOW, "64MiB", dtype=d) for d in ("float32", "float16"))

    assert half.shape[2] / single.shape[2] == pytest.approx(2**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("spec", "least", "step"),
    [
        ("nets.py:Windows", 16, 8),
        ("nets.py:Windows(side=7, least=1)", 7, 7),
        ("nets.py:Cropping", 2, 2),
        ("nets.py:Shrinking", 5, 1),
        ("e_rfdn", 15, 1),
    ],
)
def test_a_networks_sizes_are_respected(folder, spec, least, step):
    found = srprof.fit(spec, "20MiB", memory="eager")

    assert (found.rule.least, found.rule.step) == (least, step)
    assert found.shape[2] % step == least % step
    assert found.following.shape[2] == found.shape[2] + step
    assert found.following.peaks["eager"] > 20 * MIB >= found.largest.peaks["eager"]


def test_both_sides_of_an_aspect_are_sizes_that_it_takes(folder):
    high, wide = srprof.fit("nets.py:Windows", "20MiB", aspect="3:2").shape[2:]

    assert high % 8 == wide % 8 == 0
    assert abs(high - wide * 2 / 3) <= 4


def test_a_network_of_one_size(folder, capsys):
    found = srprof.fit("nets.py:Fixed", "20MiB")

    assert found.shape == (1, 3, 48, 48)
    assert found.following is None
    assert main(["fit", "nets.py:Fixed", "--budget", "20MiB"]) == 0
    assert "takes images of 48x48 only" in capsys.readouterr().out


def test_a_network_of_one_image(folder):
    found = srprof.fit("nets.py:OneImage", "20MiB", (1, 3, 64, 64), batch=True)

    assert (found.shape, found.following) == ((1, 3, 64, 64), None)
    assert "one image at a time" in found.notes[0]


def test_a_module_and_its_other_input(folder):
    network = models.fmen_s(up_blocks=(1,))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = srprof.fit(network, 10**7, memory="planned")

    assert found.shape == srprof.fit(SHALLOW, 10**7, memory="planned").shape
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    "inputs", [("64x64", "128x128"), ({"x": "64x64", "reference": "128x128"},)]
)
def test_further_images_keep_their_proportion_to_the_first(inputs, folder):
    """By hand: image, reference, its pooled copy and the result: 3 + 12 + 3 + 3 numbers a pixel."""
    found = srprof.fit("nets.py:Reference", 84 * 96**2, *inputs, memory="eager")
    assert found.shape == (1, 3, 96, 96)
    batch = srprof.fit("nets.py:Reference", 84 * 64**2 * 5, *inputs, memory="eager", batch=True)
    assert batch.shape == (5, 3, 64, 64)
    image = srprof.fit("nets.py:Reference", "1MiB", *inputs, image=(300, 300)).image
    assert image.reason == "a call of several images is not cut into tiles"


def test_sizes_at_which_another_image_would_have_half_a_pixel(folder):
    found = srprof.fit("nets.py:Mask", "1MiB", "64x64", "1x1x32x32", memory="eager")
    assert found.shape[-1] % 2 == 0 and found.following.shape[-1] == found.shape[-1] + 2
    with pytest.raises(InputError, match="does not take 33 pixels, but 2, 4, 6"):
        srprof.fit("nets.py:Mask", "1MiB", "64x64", "1x1x32x32", image=(33, 33))
    with pytest.raises(InputError, match="this call takes none"):
        srprof.fit("nets.py:Two", "1MiB", (64,), (64,))


# -- one image -------------------------------------------------------------------------------


def test_tiles_take_what_an_analysis_of_them_takes():
    found = srprof.fit(SHALLOW, "24MiB", image=(300, 210), memory="reserved").image
    tiled = found.tiled
    network = models.fmen_s(up_blocks=(1,))
    rerun = srprof.analyze(Tiled(network, tiled.tile, tiled.halo), (1, 3, 300, 210))

    assert not found.whole_fits
    assert tiled.call.peaks == rerun.to_dict()["memory"]["peak"]
    assert tiled.call.peaks["reserved"] <= 24 * MIB
    assert tiled.count > 4
    read = sum(t.shape[0] * t.shape[1] for t in grid(300, 210, tiled.tile, tiled.halo))
    assert tiled.recomputed == pytest.approx(read / (300 * 210) - 1)


def test_few_pixels_are_computed_twice():
    """No grid of square tiles within the budget reads fewer."""
    budget = 40 * MIB
    found = srprof.fit(SHALLOW, budget, image=(400, 300), memory="eager").image.tiled
    network = models.fmen_s(up_blocks=(1,))
    for side in (100, 130, 160):
        tiled = Tiled(network, side, found.halo)
        if srprof.analyze(tiled, (1, 3, 400, 300)).memory.eager.nbytes <= budget:
            read = sum(t.shape[0] * t.shape[1] for t in tiled.tiles(400, 300))
            assert found.recomputed <= read / (400 * 300) - 1


def test_an_image_that_fits_and_one_that_cannot():
    assert srprof.fit(SHALLOW, "1GiB", image=(300, 200)).image.whole_fits
    fit = srprof.fit(SHALLOW, "12MiB", image=(300, 200))
    tight = fit.image
    check_shown(fit, "12.00 MiB of allocated memory", "fits", "next", "whole: does not fit")
    assert [row[0] for row in fit.document().table.rows] == ["fits", "next", "whole: does not fit"]
    least = float(re.search(r"need about ([\d.]+) MiB", tight.reason)[1])

    assert tight.tiled is None
    assert srprof.fit(SHALLOW, f"{least + 0.5} MiB", image=(300, 200)).image.tiled is not None


def test_a_network_that_is_not_local(capsys):
    assert main(["fit", "neesr", "--budget", "20MiB", "--image", "300x200"]) == 1
    printed = capsys.readouterr().out

    assert "whole: does not fit" in printed
    assert "cannot run in tiles: upsample_bilinear2d in B1.esa resizes" in printed


def test_predicted_time_of_whole_and_tiles(capsys):
    argv = ["fit", SHALLOW, "--budget", "24MiB", "--image", "300x210", "--profile", "gtx1080ti"]
    assert main([*argv, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    whole, tiled = found["image"]["whole"], found["image"]["tiled"]

    assert found["schema"] == 1
    assert found["largest"]["peak"]["allocated"] <= found["budget"] == 24 * MIB
    assert found["next"]["peak"]["allocated"] > 24 * MIB
    assert found["aspect"] == [7, 10]
    assert not whole["fits"]
    assert whole["predicted_ms"] < tiled["predicted_ms"]
    assert tiled["tiles"] == tiled["rows"] * tiled["columns"]
    assert main(argv) == 0
    assert f"in {tiled['tiles']} tiles: fits" in capsys.readouterr().out


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nets.py:Fixed", "--budget", "1MiB", "--aspect", "16:9"], "48x48 only: leave the aspect"),
        (["nets.py:Fixed", "--budget", "1MiB", "--image", "64x64"], "does not take 64 pixels"),
        (["nets.py:Windows", "--budget", "1GiB", "--image", "64x60"], "16, 24, 32, ...; pad"),
        (["nets.py:Data", "--budget", "1GiB"], "needs the values of its image"),
        (["nets.py:Data", "--budget", "1GiB", "--batch"], "needs the values of its image"),
        (["fmen_s", "--budget", "4"], "the unit is missing"),
        (["fmen_s", "--budget", "4gib"], "did you mean GiB?"),
        (["fmen_s", "--budget", "much"], "write a number with its unit"),
        (["fmen_s", "--budget", "0MiB"], "at least one byte"),
        (["fmen_s", "--budget", "1GiB", "--aspect", "16x9"], "write width:height, as 16:9"),
        (["fmen_s", "--budget", "1GiB", "--aspect", "0:9"], "write width:height, as 16:9"),
        (["fmen_s", "--budget", "1GiB", "--image", "4k"], "--image: '4k' is not a size: write HxW"),
        (["fmen_s", "--budget", "1GiB", "--image", "0x7"], "every side must be a whole number"),
        (["fmen_s", "--budget", "1GiB", "--batch", "--image", "64x64"], "ask one at a time"),
        (["fmen_s", "--budget", "1GiB", "--memory", "most"], "invalid choice"),
        (["fmen_s"], "--budget"),
        (["fmen_s", "--budget", "1GiB", "-o", "no/such/file"], "there is no folder"),
        (["fmen_s", "--budget", "1GiB", "--profile", "toaster"], "toaster"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, argv, words):
    assert main(["fit", *argv]) == 2
    message = capsys.readouterr().err.strip()

    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fmen_s", "--budget", "1MiB"], "below fmen_s's weights alone, 1.32 MiB"),
        (["e_rfdn", "--budget", "1.8MiB"], "too small for e_rfdn: the least that is possible is"),
        (["nets.py:Fixed", "--budget", "40KiB"], "for an input of 1x3x48x48"),
        (["nets.py:Fixed", "--budget", "40KiB", "--batch", "--input", "48x48"], "of 1x3x48x48"),
    ],
)
def test_what_does_not_fit_ends_with_1(folder, capsys, argv, words):
    """As a limit of the gate that is not held, and a budget of advise that no edit reaches."""
    assert main(["fit", *argv]) == 1
    message = capsys.readouterr().err.strip()
    assert words in message and "\n" not in message


def test_what_does_not_fit_has_one_exit_code():
    """Whoever says it: the search, the device that runs it, the simulated allocator."""
    assert {NoFitError.exit_code, DeviceMemoryError.exit_code} == {1}
    assert OutOfDeviceMemoryError.exit_code == 1
    assert issubclass(NoFitError, InputError)  # of Python's callers too


def test_an_image_by_its_file(tmp_path, capsys):
    """The size is the file's."""
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "lr.png"
    pillow.new("RGB", (40, 24)).save(path)
    assert main(["fit", SHALLOW, "--budget", "24MiB", "--image", str(path)]) == 0
    assert "An image of 24x40 (24 high, 40 wide)" in capsys.readouterr().out


def test_the_largest_size_of_a_batch(capsys):
    assert main(["fit", SHALLOW, "--budget", "24MiB", "--batch", "3", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["largest"]["shape"][0] == 3


def test_the_least_that_is_said_is_enough(folder, capsys):
    for spec in ("fmen_s", "e_rfdn", "nets.py:Fixed"):
        assert main(["fit", spec, "--budget", "1KiB"]) == 1
        least = re.search(r"possible is ([\d.]+ MiB)", capsys.readouterr().err)[1]
        assert main(["fit", spec, "--budget", least]) == 0


def test_a_network_that_never_runs(folder, capsys):
    assert main(["fit", "nets.py:Broken", "--budget", "1GiB"]) == 3
    message = capsys.readouterr().err

    assert "never works" in message
    assert "nets.py" in message


def test_a_budget_without_end_is_no_endless_search(folder):
    found = srprof.fit("nets.py:Windows", "1000000GiB")

    assert found.largest.peaks["allocated"] <= 10**6 * 2**30


# -- a GPU by name, video, training ---------------------------------------------------------------


def fit_json(capsys, *argv: str) -> dict:
    assert main(["fit", *argv, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_memory_of_a_gpu_by_its_name(capsys):
    """Less what the driver and CUDA take, which the notes name."""
    gpu = find_gpu("RTX 3060")
    found = fit_json(capsys, SHALLOW, "--gpu", "RTX 3060", "--memory", "eager")
    assert found["budget"] == gpu.usable < 12 * 2**30
    assert found["largest"]["peak"]["eager"] <= gpu.usable < found["next"]["peak"]["eager"]
    assert found["notes"] == [gpu.note()]
    assert found["device"] is None
    found = fit_json(capsys, SHALLOW, "--gpu", "rtx2080ti", "--memory", "eager")
    assert "RTX 2080 Ti" in found["device"], "it has a profile, which predicts latency"
    assert found["largest"]["predicted_ms"] > 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "give --budget 4GiB, or --gpu"),
        (["--gpu", "t4", "--budget", "1GiB"], "one of them"),
        (["--gpu", "RTX 3061"], "did you mean"),
        (["--gpu", "t4", "--frames"], "does not take"),
        (["--gpu", "t4", "--frames", "--batch"], "ask one at a time"),
        (["--gpu", "t4", "--frames", "2", "--input", "1x3x8x8"], "has frames of its own"),
        (["--gpu", "t4", "--train", "--image", "8x8"], "of inference"),
        (["--gpu", "t4", "--train", "--profile", "t4"], "t4"),
    ],
)
def test_questions_that_are_none(capsys, argv, words):
    assert main(["fit", "fsrcnn", *argv]) in (2, 3)
    message = capsys.readouterr().err
    assert words in message or "--frames" in argv, message
    assert message.count("\n") == 1


VIDEO = """
import torch
from torch import nn


class Video(nn.Module):
    "Odd numbers of frames, 3 and more; all frames' features are kept to the end."

    scale = 2

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        n, t, c, h, w = x.shape
        if t % 2 == 0 or t < 3:
            raise ValueError("an odd number of frames from 3 on")
        features = [self.conv(x[:, i]) for i in range(t)]
        frames = [nn.functional.pixel_shuffle(self.tail(f), 2) for f in features]
        return torch.stack(frames, 1)
"""


def test_the_most_frames_of_a_video(tmp_path, monkeypatch, capsys):
    """Against trying each number, of a network that takes odd ones only."""
    monkeypatch.chdir(tmp_path)
    Path("vsr.py").write_text(VIDEO)
    budget = 3 * MIB
    found = fit_json(
        capsys, "vsr.py:Video", "--budget", "3MiB", "--frames", "--input", "32x48",
        "--memory", "eager",
    )  # fmt: skip
    peaks = {
        count: srprof.analyze("vsr.py:Video", f"1x{count}x3x32x48").memory.eager.nbytes
        for count in range(3, 31, 2)
    }
    most = max(count for count, nbytes in peaks.items() if nbytes <= budget)
    assert 5 < most < 29
    assert found["grows"] == "frames"
    assert found["largest"]["shape"] == [1, most, 3, 32, 48]
    assert found["next"]["shape"] == [1, most + 2, 3, 32, 48]
    assert found["largest"]["peak"]["eager"] == peaks[most]


def test_the_largest_size_of_a_video(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("vsr.py").write_text(VIDEO)
    argv = ["vsr.py:Video", "--budget", "8MiB", "--frames", "7", "--memory", "eager"]
    found = fit_json(capsys, *argv)
    assert found["largest"]["shape"][:3] == [1, 7, 3]
    assert found["largest"]["peak"]["eager"] <= 8 * MIB < found["next"]["peak"]["eager"]


def test_the_largest_batch_of_a_training_step(capsys):
    """Its peak is what `analyze --train` says of it, and one image more does not fit."""
    argv = ["fsrcnn", "--budget", "8MiB", "--train", "--batch", "--input", "24x24"]
    found = fit_json(capsys, *argv)
    batch = found["largest"]["shape"][0]
    assert found["memory"] == "step"
    for images, fits in ((batch, True), (batch + 1, False)):
        step = srprof.analyze_training("fsrcnn", (images, 1, 24, 24))
        assert (step.peak <= 8 * MIB) == fits
        if fits:
            assert found["largest"]["peak"] == {"step": step.peak}
    assert main(["fit", *argv]) == 0
    printed = capsys.readouterr().out
    assert "the largest batch within 8.00 MiB of a training step" in printed
    assert "step MiB" in printed and "reserved" not in printed


def test_the_largest_patch_of_a_training_step(capsys):
    found = fit_json(capsys, "fsrcnn", "--budget", "8MiB", "--train", "--batch", "4")
    shape = found["largest"]["shape"]
    assert shape[:2] == [4, 1]
    assert srprof.analyze_training("fsrcnn", tuple(shape)).peak <= 8 * MIB
    assert found["next"]["peak"]["step"] > 8 * MIB
