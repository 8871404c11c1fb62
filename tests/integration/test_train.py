"""`srprof train`: it learns, goes on where it was killed, and says what is wrong."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srprof
from srprof.cli import main
from srprof.errors import InputError
from srprof.training import checkpoint, run
from srprof.training.config import TrainingConfig, read_training
from srprof.training.plan import prepare
from tests.shown import check_shown
from tests.terminals import check_terminals

TINY = """\
model = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))"
data = "skimage"
output = "{output}"
crop = 96
held_out = 32
iterations = {iterations}
batch = 2
patch = 8
log_every = 3
validate_every = 4
checkpoint_every = 4
"""


def write_config(folder: Path, name: str = "run", iterations: int = 10, more: str = "") -> str:
    file = folder / f"{name}.toml"
    file.write_text(TINY.format(output=folder / name, iterations=iterations) + more)
    return str(file)


def same(first: Path, second: Path) -> None:
    """Two checkpoints are equal, bit for bit."""
    one, other = (torch.load(f / checkpoint.NAME, weights_only=True) for f in (first, second))
    assert one.keys() == other.keys()
    compare(one, other)


def compare(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            compare(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for pair in zip(one, other, strict=True):
            compare(*pair)
    else:
        assert one == other


# -- it learns ------------------------------------------------------------------------------------


def test_two_hundred_iterations_of_fmen_s(tmp_path, golden):
    """The loss falls by at least half, and merging leaves the PSNR as it is."""
    result = srprof.train(
        TrainingConfig(
            model="fmen_s(scale=2)", output=str(tmp_path), data=("skimage",),
            crop=96, held_out=32, iterations=200, batch=2, patch=12, log_every=20,
        )
    )  # fmt: skip
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 2
    assert result.loss == losses[-1]
    assert result.score.psnr > 25
    assert result.merged.agrees and abs(result.merged.difference) <= 1e-4
    score = result.score
    check_shown(result, "last loss", "bicubic", f"{score.psnr:.4f}", f"{score.l1:.5f}")
    check_terminals("train", result.document(), golden)


def test_merged_weights_are_the_trained_network(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config]) == 0
    spec = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,){})"
    folder = tmp_path / "run"
    shape = "1x3x16x16"
    for form, name in ((", form='train'", "checkpoint.pth"), ("", "merged.pth")):
        arguments = ["--weights", str(folder / name), "--input", shape, "--format", "json"]
        capsys.readouterr()
        assert main(["analyze", spec.format(form), *arguments]) == 0
    again = tmp_path / "again.pth"
    model = spec.format(", form='train'")
    arguments = [str(folder / "checkpoint.pth"), "-o", str(again), "--model", model]
    assert main(["merge", *arguments]) == 0
    ours, theirs = (torch.load(f, weights_only=True) for f in (again, folder / "merged.pth"))
    compare(dict(ours), dict(theirs))


def test_the_step_s_memory_is_said_before_it_begins(tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "training_step", stop)
    assert main(["train", config]) == 130
    captured = capsys.readouterr()
    predicted = srprof.analyze_training(
        "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))", (2, 3, 8, 8), granularity=1
    )
    assert f"predicted peak of a step: {predicted.peak / 2**20:.2f} MiB" in captured.out
    assert "stopped; the same command goes on from" in captured.err


# -- it is stopped --------------------------------------------------------------------------------


def interrupted(config: str, monkeypatch: pytest.MonkeyPatch, what: str, at: int, raises: bool):
    """Train until a function of the run is called for the nth time: then Ctrl-C, or its error."""
    real, calls = getattr(run, what), itertools.count(1)

    def call(*args: object) -> object:
        if next(calls) == at:
            if raises:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(run, what, call)
        assert main(["train", config]) == 130


@pytest.mark.parametrize(
    "what, raises",
    [("batch_of", False), ("training_step", True), ("_score", True), ("_score", False)],
)
def test_a_run_that_is_stopped_before_its_first_checkpoint(
    what, raises, tmp_path, monkeypatch, capsys
):
    """It writes one, from which it goes on bit for bit."""
    more = "checkpoint_every = 100\nvalidate_every = 2\n"
    short = "\n".join(TINY.splitlines()[:-2]) + "\n"
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for folder in (stopped, whole):
        text = short.format(output=folder, iterations=5) + more
        folder.with_suffix(".toml").write_text(text)
    at = 1 if what == "_score" else 3
    interrupted(f"{stopped}.toml", monkeypatch, what, at, raises)
    error = capsys.readouterr().err
    there = stopped / checkpoint.NAME
    assert error.count("\n") == (1 if raises else 2)
    if raises and what == "_score":  # what was interrupted is not made, and cannot be undone
        assert not there.exists()
        return
    assert f"goes on from {there}" in error
    assert torch.load(there, weights_only=True)["iteration"] == (2 if raises or at == 1 else 3)
    for folder in (stopped, whole):
        assert main(["train", f"{folder}.toml"]) == 0
    same(stopped, whole)
    assert (stopped / "log.csv").read_text() == (whole / "log.csv").read_text()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_second_run_in_the_folder_is_refused(tmp_path, monkeypatch, capsys):
    """Before any work, and without harm to the first."""
    config, real, refused_by = write_config(tmp_path), run.training_step, []

    def step(*args: object) -> object:
        if not refused_by:
            refused_by.append(None)
            plan = prepared[0]
            for second in (lambda: prepare(plan.config), lambda: run.run(plan)):
                with pytest.raises(InputError, match=r"another training runs there; wait for it"):
                    second()
        return real(*args)

    prepared = [prepare(read_training(config))]
    monkeypatch.setattr(run, "training_step", step)
    assert main(["train", config]) == 0
    assert refused_by and main(["train", config]) == 0


def test_json(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["scale"] == 2 and found["iterations"] == 10
    assert found["predicted_peak"] > 0 and found["loss"] > 0
    assert found["merged"]["agrees"] is True
    keys = {"psnr_dB", "psnr_unrounded_dB", "l1"}
    assert set(found["validation"]) == set(found["bicubic"]) == keys


def test_text_has_the_plan_once_and_then_the_scores(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config]) == 0
    text = capsys.readouterr().out
    assert text.count("predicted peak of a step") == 1
    heads = ["validation", "bicubic", "merged", "merging changed", "written to"]
    assert [h for h in heads if f"\n{h}" not in text] == []
    assert text.index("predicted peak") < text.index("iterations 0 to 10") < text.index("bicubic")
    file = tmp_path / "result.md"  # the run is done, and only validated again
    assert main(["train", config, "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    page = file.read_text()
    assert page.startswith("# fmen") and "| validation" in page and "iterations 10 to 10" in page


def test_a_network_without_a_training_form(tmp_path, capsys):
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))\n"
    )
    config = Path(write_config(tmp_path))
    lines = config.read_text().splitlines()
    config.write_text("\n".join([f'model = "{net}:Net"', *lines[1:]]))
    assert main(["train", str(config), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["merged"] is None
    assert not (tmp_path / "run" / "merged.pth").exists()


# -- it goes on -----------------------------------------------------------------------------------


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    """SIGKILL at whatever moment; the checkpoint and log are those of a run that was left alone.

    Runs are in processes of their own: on another number of threads, sums are in another order, and
    what earlier tests did to this process's is not what this test is about.
    """
    more = 'init = "network"\n'
    whole, killed = (write_config(tmp_path, n, 60, more) for n in ("whole", "killed"))
    command = [sys.executable, "-m", "srprof", "train", killed]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    reached = tmp_path / "killed" / checkpoint.NAME
    deadline = time.monotonic() + 60
    while not reached.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    there = torch.load(reached, weights_only=True)["iteration"]
    assert 0 < there < 60
    both = f"from srprof.cli import main\nfor c in {[killed, whole]}: assert not main(['train', c])"
    subprocess.run([sys.executable, "-c", both], stdout=subprocess.DEVNULL, check=True)
    same(tmp_path / "whole", tmp_path / "killed")
    logs = [(tmp_path / n / "log.csv").read_text() for n in ("whole", "killed")]
    assert logs[0] == logs[1] and logs[0].count("\n") > 17


def test_a_run_that_was_killed_while_it_wrote(tmp_path, monkeypatch):
    """Neither the checkpoint before nor the log suffers, and nothing is left behind."""
    config, whole = write_config(tmp_path, "killed"), write_config(tmp_path, "whole")
    monkeypatch.setattr(os, "fsync", lambda _file: os.kill(os.getpid(), signal.SIGKILL))
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # OpenMP's threads did not come along: waiting for them hangs
        main(["train", config])
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()
    folder = tmp_path / "killed"
    assert not (folder / checkpoint.NAME).exists() and list(folder.glob(".srprof-*"))
    with (folder / "log.csv").open("a") as file:
        file.write("7,0.00")  # half a row
    assert main(["train", config]) == 0
    assert not list(folder.glob(".srprof-*"))
    assert main(["train", whole]) == 0
    same(folder, tmp_path / "whole")
    assert (folder / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_a_finished_run_is_done(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config]) == 0
    first = capsys.readouterr().out.splitlines()
    assert main(["train", config]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[3] == "iterations 10 to 10"
    assert again[4:] == first[4:]


def test_a_run_can_be_made_longer(tmp_path):
    short, longer = write_config(tmp_path, "a", 5), write_config(tmp_path, "b", 10)
    assert main(["train", short]) == 0
    write_config(tmp_path, "a", 10)
    assert main(["train", short]) == 0
    assert main(["train", longer]) == 0
    weights = [torch.load(tmp_path / n / checkpoint.NAME, weights_only=True) for n in "ab"]
    compare(weights[0]["params"], weights[1]["params"])


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    assert main(["train", write_config(tmp_path, more='log = "tensorboard"\n')]) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [e.step for e in events.Scalars("loss")] == [3, 6, 9, 10]
    assert [e.step for e in events.Scalars("validation_psnr")] == [4, 8, 10]


def test_pixels_in_a_cache_are_the_same(tmp_path):
    memory = write_config(tmp_path, "memory")
    cached = write_config(tmp_path, "cached", more=f'cache = "{tmp_path / "pixels"}"\n')
    assert main(["train", memory]) == main(["train", cached]) == 0
    same(tmp_path / "memory", tmp_path / "cached")
    assert len(list((tmp_path / "pixels").glob("*.npy"))) == 20


def test_the_caller_s_random_numbers_are_his(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert main(["train", write_config(tmp_path, iterations=1)]) == 0
    assert torch.equal(torch.rand(3), expected)


# -- what is wrong --------------------------------------------------------------------------------


def refused(config: str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    capsys.readouterr()
    assert main(["train", config]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("srprof: ")
    return error


def replaced(config: str, old: str, new: str) -> str:
    text = Path(config).read_text()
    assert old in text
    Path(config).write_text(text.replace(old, new))
    return config


def images(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patch = 8", "pach = 8", "unknown key pach; did you mean patch?"),
        ("patch = 8", "patch = 0", "patch is 0, not a whole number of at least 1"),
        ("patch = 8", "patch = 8\nlr = true", "lr is True, not a positive number"),
        ("patch = 8", 'patch = 8\ninit = "hee"', "did you mean he?"),
        ("patch = 8", 'patch = 8\ndevice = "gpu"', "device is 'gpu', not cpu, cuda or cuda:N"),
        (
            "patch = 8",
            "patch = 8\nbetas = [0.9, 1]",
            "betas[1] is 1, not a number of at least 0 and below 1",
        ),
        ('data = "skimage"', "", "data is missing"),
        ('data = "skimage"', "data = []", "data is [], not a folder of HR images"),
        ("held_out = 32", "held_out = 1", "leaves nothing to validate on"),
        ('"skimage"', '"nowhere"', "data nowhere: cannot be read: No such file"),
        ("patch = 8", "patch = 64", "smaller than an HR patch of 128x128 beside a held-out crop"),
        ("fmen(", "fmenn(", "no network is called 'fmenn'"),
        ("patch = 8", "patch = ", "is not valid TOML"),
    ],
)
def test_a_configuration_that_cannot_be(old, new, message, tmp_path, capsys):
    config = replaced(write_config(tmp_path), old, new)
    assert message in refused(config, capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("srcnn", 2, "does not take RGB"),
        ("bicubic(scale=2)", 3, "nothing to train"),
    ],
)
def test_a_model_that_cannot_be_trained(model, code, message, tmp_path, capsys):
    spec = "fmen(scale=2, n_feats=8, mid_feats=6, up_blocks=(1,))"
    assert message in refused(replaced(write_config(tmp_path), spec, model), capsys, code)


def test_no_such_file(tmp_path, capsys):
    assert "no.toml cannot be read: No such file" in refused(str(tmp_path / "no.toml"), capsys)


def test_a_folder_without_images(tmp_path, capsys):
    folder = tmp_path / "none"
    folder.mkdir()
    config = replaced(write_config(tmp_path), '"skimage"', f'"{folder}"')
    assert f"data {folder} has no image" in refused(config, capsys)


def test_the_image_that_is_too_small_is_named(tmp_path, capsys):
    folder = images(tmp_path / "hr", (96, 96), (40, 40))
    config = replaced(write_config(tmp_path), '"skimage"', f'"{folder}"')
    assert f"{folder / '1.png'} is 40x40, smaller than" in refused(config, capsys)


def test_a_damaged_image_is_named(tmp_path, capsys):
    folder = images(tmp_path / "hr", (96, 96))
    (folder / "1.png").write_bytes(b"no image")
    config = replaced(write_config(tmp_path), '"skimage"', f'"{folder}"')
    assert f"{folder / '1.png'} cannot be read as an image" in refused(config, capsys)


def test_a_checkpoint_of_another_configuration(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config]) == 0
    before = (tmp_path / "run" / checkpoint.NAME).read_bytes()
    error = refused(replaced(config, "batch = 2", "batch = 3"), capsys)
    assert "is of another configuration: batch was 2 and is 3; name another output" in error
    assert (tmp_path / "run" / checkpoint.NAME).read_bytes() == before


def test_a_checkpoint_of_other_images(tmp_path, capsys):
    folder = images(tmp_path / "hr", (96, 96))
    config = replaced(write_config(tmp_path), '"skimage"', f'"{folder}"')
    assert main(["train", config]) == 0
    (folder / "0.png").rename(folder / "1.png")
    assert "of another configuration: its images were others;" in refused(config, capsys)


def test_a_checkpoint_of_something_else(tmp_path, capsys):
    config = write_config(tmp_path)
    (tmp_path / "run").mkdir()
    torch.save({"params": {}}, tmp_path / "run" / checkpoint.NAME)
    assert "is no checkpoint of srprof train, or damaged" in refused(config, capsys)


def test_fewer_iterations_than_were_made(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", config]) == 0
    error = refused(replaced(config, "iterations = 10", "iterations = 5"), capsys)
    assert "has made 10 iterations already" in error


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """The limit on a file's size stands in for the disk: the write fails half-way."""
    import resource  # which Windows has not

    config = write_config(tmp_path, iterations=4)
    assert main(["train", config]) == 0
    folder = tmp_path / "run"
    before = (folder / checkpoint.NAME).read_bytes()
    write_config(tmp_path, iterations=8)
    error = tmp_path / "error"
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # OpenMP's threads did not come along: waiting for them hangs
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2,) * 2)
        with error.open("w") as sys.stderr:
            code = main(["train", config])
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    said = error.read_text()
    assert os.strerror(errno.EFBIG) in said and said.count("\n") == 1
    assert "checkpoint" in said
    assert (folder / checkpoint.NAME).read_bytes() == before
    assert not list(folder.glob(".srprof-*"))
    assert main(["train", config]) == 0


def test_a_loss_that_explodes(tmp_path, capsys):
    config = write_config(tmp_path, more="init_gain = 1e12\n")
    assert "lower lr or init_gain" in refused(config, capsys)


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    assert "is no folder; name another place" in refused(write_config(tmp_path), capsys)


def test_no_gpu(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = write_config(tmp_path, more='device = "cuda"\n')
    assert "torch sees no GPU here" in refused(config, capsys)
