"""The parts of a training run: configuration, patches, weights to begin with, log, scores."""

from __future__ import annotations

import copy
from math import inf, log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srprof.codec import decode_table
from srprof.errors import InputError
from srprof.files import parse_toml
from srprof.tracing.step import adam
from srprof.training import checkpoint
from srprof.training.config import TrainingConfig
from srprof.training.data import Dataset, Pair, batch_of, load_dataset
from srprof.training.log import Log, LogRow
from srprof.training.run import _duration, _with_time_left, he_
from srprof.training.validation import score_bicubic, score_network
from srprof.words import hint

MINIMUM = {"model": "fmen_s", "data": "skimage", "output": "runs"}


def numbered(height: int, width: int, scale: int) -> Pair:
    """An image whose LR pixels are all different, and whose HR pixels say which LR pixel is theirs.

    Red is the row, green the column; blue tells the pixels of one LR pixel apart.
    """
    y, x = np.mgrid[:height, :width]
    lr = np.stack([y, x, np.zeros_like(y)], axis=2).astype(np.uint8)
    hr = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    rows, columns = np.mgrid[: height * scale, : width * scale]
    hr[..., 2] = rows % scale * scale + columns % scale + 1
    return Pair("numbered", lr, hr)


# -- the configuration ----------------------------------------------------------------------------


def test_the_defaults_are_the_paper_s_recipe():
    config = decode_table(TrainingConfig, MINIMUM, "here")
    assert (config.batch, config.patch, config.iterations) == (64, 64, 3_000_000)
    assert (config.lr, config.halve_every) == (5e-4, 600_000)
    assert (config.betas, config.eps, config.init) == ((0.9, 0.999), 1e-8, "he")


def test_the_rate_is_halved():
    config = TrainingConfig("m", "o", ("d",), lr=1.0, halve_every=10)
    assert [config.lr_at(i) for i in (0, 9, 10, 19, 20, 50)] == [1, 1, 0.5, 0.5, 0.25, 1 / 32]


def test_toml_becomes_a_configuration():
    config = decode_table(
        TrainingConfig,
        parse_toml('model = "a"\noutput = "b"\ndata = ["c", "d"]\nlr = 1\nbetas = [0.5, 0.6]'),
        "x",
    )
    assert config.data == ("c", "d") and config.betas == (0.5, 0.6)
    assert config.lr == 1.0 and isinstance(config.lr, float)
    hash(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", ""), ("output", 3), ("data", [""]), ("validation", 3), ("crop", -1),
        ("batch", 0), ("batch", True), ("patch", 1.5), ("lr", 0), ("lr", float("nan")),
        ("lr", "1"), ("betas", [0.9]), ("betas", 0.9), ("eps", -1), ("init_gain", 0),
        ("value_range", 256), ("value_range", True), ("seed", -1), ("device", "cuda:x"),
        ("log", "wandb"), ("init", 3), ("cache", 1), ("validate_every", 0),
    ],
)  # fmt: skip
def test_what_cannot_be_names_its_key(key, value):
    with pytest.raises(InputError, match=rf"^here: {key}(\[0\])? (is|has) "):
        decode_table(TrainingConfig, {**MINIMUM, key: value}, "here")


def test_what_may_change_while_a_run_goes_on():
    config = TrainingConfig("m", "o", ("d",))
    longer = TrainingConfig("m", "other", ("d",), iterations=9, device="cuda", log_every=7)
    assert config.identity() == longer.identity()
    assert config.identity() != TrainingConfig("m", "o", ("d",), seed=1).identity()


def test_hints():
    assert hint("pach", ("patch", "batch")) == "did you mean patch?"
    assert hint("zzz", ("patch", "batch")) == "known: patch, batch"


# -- patches --------------------------------------------------------------------------------------


def test_patches_are_a_function_of_seed_and_iteration():
    pairs = [numbered(20, 30, 2)]
    first = batch_of(pairs, 2, 6, 4, seed=3, iteration=7)
    again = batch_of(pairs, 2, 6, 4, 3, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (batch_of(pairs, 2, 6, 4, 3, 8), batch_of(pairs, 2, 6, 4, 4, 7)):
        assert not np.array_equal(first[0], other[0])


def test_lr_and_hr_are_of_one_place():
    scale, patch = 3, 5
    lr, hr = batch_of([numbered(20, 30, scale)], scale, patch, 64, seed=0, iteration=0)
    assert lr.shape == (64, 3, 5, 5) and hr.shape == (64, 3, 15, 15)
    enlarged = lr.repeat(scale, axis=2).repeat(scale, axis=3)
    assert np.array_equal(enlarged[:, :2], hr[:, :2])


def test_all_eight_orientations_occur_and_hr_turns_with_lr():
    scale = 2
    _, hr = batch_of([numbered(20, 30, scale)], scale, 4, 200, seed=0, iteration=0)
    corners = {tuple(image[2, :2, :2].ravel()) for image in hr}
    upright = np.array([[1, 2], [3, 4]])
    expected = {
        tuple(np.rot90(part, turns).ravel())
        for part in (upright, upright[:, ::-1])
        for turns in range(4)
    }
    assert corners == expected and len(expected) == 8


def test_every_place_and_image_is_reached():
    pairs = [numbered(6, 7, 2), numbered(5, 5, 2)]
    lr, _ = batch_of(pairs, 2, 5, 400, seed=0, iteration=0)
    lowest = {(int(i[0].min()), int(i[1].min())) for i in lr}
    assert lowest == {(y, x) for y in range(2) for x in range(3)}


def test_no_patch_has_a_pixel_that_was_held_out():
    config = TrainingConfig("m", "o", ("skimage",), crop=100, held_out=31, patch=16)
    data = load_dataset(config, scale=3)
    for train, held in zip(data.training, data.validation, strict=True):
        assert train.hr.shape == (99, 69, 3) and train.lr.shape == (33, 23, 3)
        assert held.hr.shape == (30, 30, 3) and held.lr.shape == (10, 10, 3)
        assert train.name == held.name


def test_the_fingerprint_tells_data_apart():
    one, two = numbered(6, 7, 2), numbered(6, 8, 2)
    splits = [((one,), (two,)), ((two,), (one,)), ((one, two), ()), ((one,), ())]
    assert len({Dataset(2, t, v).fingerprint for t, v in splits}) == 4


# -- weights to begin with ------------------------------------------------------------------------


def test_he_s_variance():
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 256, 3)
    he_(convolution, gain=0.5)
    expected = 0.5 * (2 / (64 * 9)) ** 0.5
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.01)
    assert abs(convolution.weight.mean().item()) < expected / 50
    assert not convolution.bias.any()


def test_he_leaves_what_is_frozen_or_normalises():
    frozen, norm = nn.Conv2d(3, 3, 1).requires_grad_(False), nn.BatchNorm2d(3)
    before = frozen.weight.clone(), norm.weight.clone()
    he_(nn.Sequential(frozen, norm))
    assert frozen.weight.equal(before[0]) and norm.weight.equal(before[1]) and frozen.bias.any()


# -- the log --------------------------------------------------------------------------------------


def test_a_log_that_goes_on_drops_what_the_checkpoint_does_not_know(tmp_path):
    log = Log(tmp_path, 0, tensorboard=False)
    for iteration in (10, 20, 30):
        log.add(LogRow(iteration, 1.0, loss=iteration / 100))
    (tmp_path / "log.csv").open("a").write("40,1.0,0.")
    again = Log(tmp_path, 20, tensorboard=False)
    again.add(LogRow(30, 1.0, validation_psnr=3.5))
    assert (tmp_path / "log.csv").read_text() == (
        "iteration,lr,loss,validation_psnr,validation_l1\n"
        "10,1.0,0.1,,\n20,1.0,0.2,,\n30,1.0,,3.5,\n"
    )


# -- scores ---------------------------------------------------------------------------------------


def flat(value: int, side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


class Constant(nn.Module):
    """Gives one value everywhere, at twice the size."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x):
        assert not self.training
        return torch.full((1, 3, 2 * x.shape[2], 2 * x.shape[3]), self.value)


@pytest.mark.parametrize("value_range", [1, 255])
def test_a_score_by_hand(value_range):
    """Off by 5.4 of 255, which rounds to 5."""
    pairs = [Pair("flat", flat(0, 8), flat(100))]
    model = Constant(105.4 * value_range / 255).train()
    score = score_network(model, pairs, 2, value_range, "cpu")
    assert score.psnr == pytest.approx(10 * log10(255**2 / 25))
    assert score.psnr_unrounded == pytest.approx(10 * log10(255**2 / 5.4**2), rel=1e-5)
    assert score.l1 == pytest.approx(5.4 / 255, rel=1e-5)
    assert model.training


def test_bicubic_of_a_flat_image_is_exact():
    score = score_bicubic([Pair("flat", flat(9, 8), flat(9))], 2)
    assert score.psnr == inf and score.l1 < 1e-12
    assert score.to_dict()["psnr_dB"] is None


# -- progress -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "4 s"), (59.4, "59 s"), (60, "1 min"), (3599, "60 min"), (5400, "1.5 h"),
     (1e6, "11.6 days")],
)  # fmt: skip
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_the_time_that_is_left(monkeypatch):
    now = iter([100.0, 110.0, 130.0])
    monkeypatch.setattr("srprof.training.run.time.monotonic", lambda: next(now))
    said: list[tuple[str, int, int]] = []
    say = _with_time_left(lambda *words: said.append(words), 10)
    say(1, None)
    say(2, None)
    say(4, 0.25)
    assert said == [
        ("training", 1, 10),
        ("training, 1 min left", 2, 10),
        ("training, loss 0.2500, 1 min left", 4, 10),
    ]


# -- foreign checkpoints and logs ------------------------------------------------------------------

FOREIGN = (None, True, 3, -1, 1.5, "", "x", "[]", "3", [], {}, [None], ["x"], {"x": None})


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a whole checkpoint of a small network holds."""
    network = nn.Conv2d(1, 1, 1)
    optimizer = adam(list(network.parameters()), 1e-3, (0.9, 0.999), 1e-8)
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    optimizer.step()
    file = tmp_path_factory.mktemp("whole") / checkpoint.NAME
    checkpoint.save(file, network, optimizer, 1, [0.5], {"seed": 0})
    return torch.load(file, weights_only=True)


def restored(folder: Path, held: object) -> tuple[int, list[float]]:
    network = nn.Conv2d(1, 1, 1)
    optimizer = adam(list(network.parameters()), 1e-3, (0.9, 0.999), 1e-8)
    torch.save(held, folder / checkpoint.NAME)
    with torch.random.fork_rng(devices=[]):
        found = checkpoint.restore(folder / checkpoint.NAME, network, optimizer, {"seed": 0})
        network(torch.ones(1, 1, 2, 2)).sum().backward()
        optimizer.step()
    return found


def test_a_whole_checkpoint(tmp_path: Path, state: dict[str, Any]):
    assert restored(tmp_path, state) == (1, [0.5])


@pytest.mark.parametrize("key", checkpoint.State.__dataclass_fields__)
def test_a_foreign_checkpoint_is_refused_with_its_key(
    tmp_path: Path, state: dict[str, Any], key: str
):
    """Or with what does not fit the network; it never goes on into a run that fails."""
    for value in FOREIGN:
        fits = {"iteration": value == 3 and value is not True, "random_cuda": value == []}
        if fits.get(key) or (key == "losses" and value == []):
            continue
        with pytest.raises(InputError, match=rf"{checkpoint.NAME} .*: name another output"):
            restored(tmp_path, {**state, key: value})
    with pytest.raises(InputError, match=rf"damaged \({key} is missing\)"):
        restored(tmp_path, {name: value for name, value in state.items() if name != key})


def test_a_foreign_state_of_the_optimizer(tmp_path: Path, state: dict[str, Any]):
    for where, key in (("state", "exp_avg"), ("state", "step"), ("param_groups", "betas")):
        for value in (*FOREIGN, torch.zeros(7)):
            held = copy.deepcopy(state)
            held["optimizer"][where][0][key] = value
            if key == "step" and isinstance(value, (int, float)) and value > 0:
                continue  # as older releases of torch have it
            with pytest.raises(InputError, match="does not fit the network"):
                restored(tmp_path, held)


LOGS = (
    *(
        "",
        "\n",
        "x\n1\n",
        "iteration,lr,extra\n1,2,3\n",
        "iteration\n1,2,3\n",
        "iteration,lr\n\0\n",
    ),
    *(f"iteration,lr\n{'9' * 5000},1\n", "iteration,lr\n\u0663,1\n", "iteration,lr\n1\n-1\nx\n"),
)


@pytest.mark.parametrize("text", LOGS)
def test_a_foreign_log_is_gone_on_with(tmp_path: Path, text: str):
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    log = Log(tmp_path, 5, tensorboard=False)
    log.add(LogRow(6, 0.1))
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "iteration,lr,loss,validation_psnr,validation_l1"
    assert lines[-1] == "6,0.1,,,"


def test_a_log_that_is_no_csv(tmp_path: Path):
    (tmp_path / "log.csv").write_text(f"iteration,lr\n{'a' * 200_000},1\n")
    with pytest.raises(InputError, match=r"log .*log\.csv cannot be read"):
        Log(tmp_path, 5, tensorboard=False)
