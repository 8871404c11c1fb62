"""Estimates of what other libraries hold, and in PyTorch's words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import srprof
import srprof_estimate
from srprof.adapters import pack as packs
from srprof.adapters.pack import Pack, make_pack
from srprof.adapters.spandrel_networks import ENTRIES
from srprof.cli import main
from srprof.errors import InputError

SHAPE = (1, 3, 24, 32)


@pytest.fixture(scope="module")
def descriptor():
    """A small network of spandrel's, as its loader gives it."""
    from srprof.adapters.importing import import_spandrel

    try:
        import_spandrel()
    except ImportError as error:
        pytest.skip(str(error))
    from spandrel.architectures.Compact import Compact, CompactArch

    return CompactArch().load(Compact(num_feat=8, num_conv=1, upscale=2).state_dict())


def test_srprof_needs_no_spandrel():
    code = (
        "import sys; sys.modules['spandrel'] = None\n"
        "import srprof, srprof.adapters.spandrel, srprof.adapters.pack\n"
        "assert srprof.estimate_memory"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_descriptor_is_estimated_as_its_call(descriptor):
    from srprof.adapters.spandrel import estimate, estimate_peak_memory

    descriptor.supports_half, descriptor.size_requirements.multiple_of = False, 4
    found = estimate(descriptor)
    assert (found.name, found.scale) == (descriptor.architecture.name, 2)
    assert found.dtypes.keys() == {"float32", "bfloat16"}
    assert found.sides["step"] == 4
    whole = srprof.analyze(descriptor.model, (1, 3, 52, 64)).peaks["allocated"].nbytes
    assert found.peak_bytes(52, 64, dtype="float32") == whole
    with pytest.raises(ValueError, match="the nearest is 52x64"):
        found.peak_bytes(50, 64, dtype="float32")
    # the descriptor pads: width, height
    assert estimate_peak_memory(descriptor, (64, 50)) == whole
    assert next(descriptor.model.parameters()).device.type == "cpu"


def test_what_is_no_descriptor_is_refused():
    from srprof.adapters.spandrel import estimate

    with pytest.raises(InputError, match="Conv2d is no descriptor"):
        estimate(nn.Conv2d(3, 3, 1))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def test_memory_of_a_call_in_the_rfcs_words():
    found = srprof.estimate_memory(network(), SHAPE)
    analysis = srprof.analyze(network(), SHAPE)
    assert found.total == analysis.peaks["allocated"].nbytes
    assert found.params == analysis.memory.net
    assert found.total == found.params + found.activations + found.libraries
    assert found.total_mb == found.total / 2**20
    assert found.optimizer == found.gradients == 0
    assert (found.fits("1GiB"), found.fits("64kB"), found.fits("RTX 3060")) == (True, False, True)


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.AdamW])
def test_memory_of_a_step(optimizer):
    found = srprof.estimate_memory(network(), (2, 3, 24, 32), optimizer=optimizer)
    step = srprof.analyze_training(network(), (2, 3, 24, 32))
    assert found.total == step.peak
    assert found.optimizer >= 2 * sum(4 * p.numel() for p in network().parameters())
    parts = (found.params, found.activations, found.optimizer, found.gradients)
    assert found.total == sum(parts)
    assert "optimizer" in str(found)


def test_what_is_not_known_of_a_step_is_refused():
    with pytest.raises(InputError, match="SGD is not traced"):
        srprof.estimate_memory(network(), SHAPE, optimizer=torch.optim.SGD)
    with pytest.raises(InputError, match="leave workspace and profile out"):
        srprof.estimate_memory(network(), SHAPE, optimizer="adam", profile="h200")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch finds no CUDA"):
            srprof.estimate_memory(network(), SHAPE).fits(0)


@pytest.fixture
def made(monkeypatch):
    """Networks that were asked for, of which the first two are made."""
    one = json.loads(srprof.estimate(network(), SHAPE, dtype="float32").to_json())
    asked: list[str] = []

    def alone(entry, run_as, seconds):
        asked.append(entry.name)
        return (one, "") if len(asked) <= 2 else (None, f"not made in {seconds:g} s")

    monkeypatch.setattr(packs, "_alone", alone)
    monkeypatch.setattr(packs, "ENTRIES", ENTRIES[:4])
    return asked


def test_a_pack_goes_on_where_it_was(made, tmp_path):
    path = tmp_path / "pack.json"
    first = make_pack("spandrel", path, seconds=9)
    names = [entry.published.name for entry in ENTRIES[:4]]
    assert made == names
    assert [*first.networks] == names[:2]
    assert first.missing == dict.fromkeys(names[2:], "not made in 9 s")
    made.clear()
    again = make_pack("spandrel", path)
    assert made == names[2:]
    assert [*again.networks] == names
    assert again.missing == {}
    assert Pack.read(path, "spandrel", "") == again
    found = srprof_estimate.load(path, names[0])
    assert srprof_estimate.peak_bytes(found, 24, 32, dtype="float32") > 0
    with pytest.raises(ValueError, match="has no network 'nothing': name one of ATD-light"):
        srprof_estimate.load(path, "nothing")


def test_another_file_is_no_pack(made, tmp_path):
    path = tmp_path / "pack.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="name another file"):
        make_pack("spandrel", path)
    assert path.read_text() == "{}"
    estimate = tmp_path / "one.json"
    estimate.write_text(srprof.estimate(network(), SHAPE, dtype="float32").to_json())
    with pytest.raises(ValueError, match="is no pack"):
        srprof_estimate.load(estimate, "ATD")


def test_the_command_makes_packs(made, tmp_path, capsys):
    path = tmp_path / "pack.json"
    assert main(["estimate", "--all", "spandrel", "--timeout", "7s", "-o", str(path)]) == 3
    shown = capsys.readouterr()
    assert "Estimates of 2 networks of spandrel" in shown.out
    assert "not made in 7 s" in shown.err
    made.clear()
    assert main(["estimate", "--all", "spandrel", "-o", str(path)]) == 0


@pytest.mark.parametrize(("words", "said"), [
    (["fmen_s", "--all", "-o", "x.json"], "no networks of 'fmen_s' are known: spandrel"),
    (["--all", "spandrel"], "name the file"),
    (["--all", "spandrel", "--dtype", "float16", "-o", "x.json"], "--dtype: of one network"),
    (["fmen_s", "--as", "nothing"], "invalid choice"),
])  # fmt: skip
def test_the_command_refuses(words, said, capsys):
    assert main(["estimate", *words]) == 2
    assert said in capsys.readouterr().err
