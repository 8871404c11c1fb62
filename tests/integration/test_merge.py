"""Training form and inference form compute the same, at the border too; and `srprof merge`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import srprof
from srprof import models
from srprof.cli import main
from srprof.errors import InputError
from srprof.quality.merge import merge_checkpoint
from srprof.render.views.merge import document
from srprof.weights import load_weights, read_state_dict
from tests.golden_files import Golden
from tests.terminals import check_terminals


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Random batch norm statistics and weights, in float64."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.running_mean, module.weight, module.bias):
                    tensor.normal_(generator=generator)
                module.running_var.uniform_(0.1, 3, generator=generator)
            elif isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, fan_in**-0.5, generator=generator)
                module.bias.normal_(generator=generator)
    return model


def outputs(*networks: nn.Module, size: tuple[int, int] = (24, 19)) -> list[torch.Tensor]:
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        return [network(image) for network in networks]


def worst(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((first - second).abs().max() / first.abs().max())


SMALL = {"n_feats": 10, "mid_feats": 8, "up_blocks": (2, 1, 1)}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([2, 3, 4]),
    block=st.sampled_from(["erb", "rb", "pb"]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_merged_is_exact_in_float64(seed: int, scale: int, block: str, size: tuple[int, int]):
    train = randomised(models.fmen(scale=scale, block=block, form="train", **SMALL), seed)
    before = {key: value.clone() for key, value in train.state_dict().items()}
    merged = models.fmen.merge(train)
    first, second = outputs(train, merged, size=size)
    assert worst(first, second) <= 1e-12
    assert worst(first[..., [0, -1]], second[..., [0, -1]]) <= 1e-12  # the border
    assert all(torch.equal(before[key], value) for key, value in train.state_dict().items())
    inference = models.fmen(scale=scale, block=block, **SMALL)
    inference.double().load_state_dict(merged.state_dict())
    assert torch.equal(outputs(inference)[0].isfinite(), outputs(merged)[0].isfinite())


@pytest.mark.parametrize("name", ["fmen", "fmen_s"])
def test_merged_training_form_is_the_inference_form(name: str):
    factory = getattr(models, name)
    train = randomised(factory(form="train"), 1)
    inference = factory().double().eval()
    inference.load_state_dict(factory.merge(train).state_dict())
    first, second = outputs(train, inference)
    assert worst(first, second) <= 1e-12


@pytest.mark.parametrize(
    "name, arguments",
    [("edsr_baseline", {"block": "erb"}), ("fmen_baseline", {"attention": "esa"})],
)
def test_other_networks_of_erbs_merge(name: str, arguments: dict[str, str]):
    """With torch's initial weights: random ones as above make these networks' outputs explode."""
    factory = getattr(models, name)
    train = factory(form="train", **arguments).double().eval()
    merged = models.fmen.merge(train)
    assert worst(*outputs(train, merged)) <= 1e-12
    assert list(merged.state_dict()) == list(factory(**arguments).state_dict())


def test_a_zero_padded_block_would_not_merge():
    """The proof can fail: without the bias at the border the outputs differ there."""
    train = randomised(models.fmen(form="train", **SMALL), 3)
    merged = models.fmen.merge(train)
    train.ERBs[0].conv1.fea_conv.weight.data[..., 0, 0] += 0.1
    assert worst(*outputs(train, merged)) > 1e-6


def test_merging_what_is_merged_changes_nothing():
    model = models.fmen_s().eval()
    assert torch.equal(*outputs(model.double(), models.fmen_s.merge(model)))


def challenge(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The spelling of the challenge's file."""
    return {
        key.replace("ERBs.", "basic_blocks.").replace("HFABs.", "hfabs."): value
        for key, value in state.items()
    }


@pytest.mark.parametrize("form", ["inference", "train"])
def test_both_spellings_load(form: str):
    first, second = models.fmen_s(form=form), models.fmen_s(form=form)
    second.load_state_dict(challenge(first.state_dict()))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("spelling", [dict, challenge])
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, spelling):
    train = randomised(models.fmen_s(scale=3, form="train"), 4).float()
    torch.save(spelling(train.state_dict()), tmp_path / "train.pth")
    out = str(tmp_path / f"merged{suffix}")
    assert main(["merge", str(tmp_path / "train.pth"), "-o", out, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["network"] == "FMEN"
    assert report["numbers_before"] == 1_036_395 + 1_167
    assert report["numbers_after"] == 331_595
    assert report["difference_float64"] <= 1e-12
    assert 0 < report["difference_float32"] <= 1e-4
    inference = load_weights(models.fmen_s(scale=3), out)
    first, second = outputs(train.double(), inference.double().eval())
    assert worst(first, second) <= 1e-5
    assert srprof.analyze(out, "32x32").complexity.parameters == 331_595


def test_command_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train = models.fmen_baseline(form="train")
    torch.save(train.state_dict(), tmp_path / "train.pth")
    out = str(tmp_path / "out.pth")
    spec = "fmen_baseline(form='train')"
    assert main(["merge", str(tmp_path / "train.pth"), "-o", out, "--model", spec]) == 0
    text = capsys.readouterr().out
    assert "float64" in text and "float32" in text and out in text
    assert set(read_state_dict(out)) == set(models.fmen_baseline().state_dict())


def test_a_merge_shows_itself(tmp_path: Path, golden: Golden):
    train = models.fmen_s(scale=2, form="train")
    torch.save(train.state_dict(), tmp_path / "train.pth")
    merge = merge_checkpoint(str(tmp_path / "train.pth"))
    assert repr(merge).startswith(f"<Merge of FMEN: {merge.before:,} numbers in training form")
    assert len(repr(merge)) < 250
    assert f"{merge.difference32:.1e}" in str(merge) and "written" not in str(merge)
    assert "<td" in merge._repr_html_()
    check_terminals("merge", document(merge, "networks/merged/fmen_s_x2.pth"), golden)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_complaints(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "out.pth")
    merged, train, other = (str(tmp_path / name) for name in ("m.pth", "t.pth", "o.pth"))
    torch.save(models.fmen_s().state_dict(), merged)
    torch.save(models.fmen_s(form="train").state_dict(), train)
    torch.save(models.e_rfdn().state_dict(), other)
    assert "is merged already" in complaint(capsys, "merge", merged, "-o", out)
    assert "no zoo recognises the keys" in complaint(capsys, "merge", other, "-o", out)
    assert "there is no file" in complaint(capsys, "merge", "nowhere.pth", "-o", out)
    assert "no training form" in complaint(capsys, "merge", other, "-o", out, "--model", "e_rfdn")
    assert "ends in .pth" in complaint(capsys, "merge", train, "-o", str(tmp_path / "x.txt"))
    wrong = complaint(capsys, "analyze", "fmen_s", "--weights", train)
    assert "is the training form" in wrong and "srprof merge" in wrong
    wrong = complaint(capsys, "analyze", "fmen_s(form='train')", "--weights", merged)
    assert "form='inference'" in wrong
    assert "missing" in complaint(capsys, "analyze", "e_rfdn", "--weights", merged)
    assert not Path(out).exists()


def test_a_damaged_fmen_checkpoint_is_not_handed_to_spandrel(tmp_path: Path):
    state = models.fmen_s().state_dict()
    del state["lr_conv.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"keys are FMEN's.*lr_conv.weight"):
        srprof.analyze(str(tmp_path / "a.pth"), "32x32")
