"""Options: an option's name means one thing wherever it stands, and its values are read once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from srprof.call import Call
from srprof.cli import COMMANDS, build_parser, main
from srprof.errors import InputError
from srprof.options import add_call, aspect, budget, count, ending, read_call, share, sides

#: Where an option differs from what its name means elsewhere, and why.
DIFFERENT = {
    ("specs", "rank"): "a ranking takes any number, and some by default",
    ("specs", "validate"): "or --all, or records",
    ("--input", "rank"): "one size for every figure in the place of the challenge's three",
    ("--input", "sweep"): "ranges and lists of sizes",
    ("--input", "validate"): "each size is measured by itself; on a CPU they are smaller",
    ("--dtype", "validate"): "each dtype is measured by itself",
    (
        "--memory",
        "advise",
    ): "the peaks that an edit lowers; a cache of blocks is not known to follow",
    ("--level", "advise"): "it only says what could be done, so it begins with all",
    ("--budget", "fit"): "there is nothing to fit without one",
    ("--batch", "fit"): "the question, and not a number",
    ("--image", "spectrum"): "the image itself, and not its size",
    ("--protocol", "measure"): "of timing, and not of the allocator's history",
    ("--repeat", "analyze"): "of the images before the last, once by default",
    ("--repeat", "validate"): "records of memory need no latency",
    ("--profile", "rank"): "the challenge's card is the usual one",
    ("--device", "evaluate"): "a GPU if there is one: the PSNR is the same",
    ("--device", "validate"): "the CPU, which every machine has",
    ("--record", "validate"): "of memory alone, and folders of them",
    ("--save", "validate"): "records, where evaluate has images",
    ("--format", "analyze"): "exports for other programs",
    ("--format", "check"): "formats of CI servers",
    ("--format", "sweep"): "Parquet",
    ("-o", "calibrate"): "the profile that it makes",
    ("--from", "calibrate"): "measured operations, and not what was analyzed before",
    ("-o", "merge"): "the checkpoint that it makes",
    ("-o", "report"): "a folder",
}


def actions() -> Iterator[tuple[str, argparse.Action]]:
    """Every option of every command, but for help and those that are hidden."""
    parser = build_parser(*COMMANDS)
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands.choices) == set(COMMANDS)
    for name, command in commands.choices.items():
        for action in command._actions:
            if action.dest != "help" and action.help != argparse.SUPPRESS:
                yield name, action


def meaning(action: argparse.Action) -> tuple[object, ...]:
    """Type, text and default of an option, and whatever else decides what it takes."""
    given = (action.type, action.help, action.default, action.choices, action.nargs)
    return (*given, action.metavar, action.required, type(action))


def differences() -> dict[str, dict[str, tuple[object, ...]]]:
    """Commands by option that do not mean what most others do."""
    found: dict[str, dict[str, tuple[object, ...]]] = {}
    for command, action in actions():
        option = (action.option_strings or [action.dest])[0]
        found.setdefault(option, {})[command] = meaning(action)
    return found


def test_an_option_means_one_thing():
    for option, meanings in differences().items():
        usual = [m for command, m in meanings.items() if (option, command) not in DIFFERENT]
        assert all(m == usual[0] for m in usual), f"{option}: {sorted(meanings)} differ"


def test_what_is_said_to_differ_differs():
    meanings = differences()
    for option, command in DIFFERENT:
        others = [m for name, m in meanings[option].items() if name != command]
        assert others and meanings[option][command] not in others, f"{option} of {command}"


def test_values_of_every_option_have_a_text():
    assert all(action.help for _, action in actions())


@pytest.mark.parametrize("command", ["analyze", "rank", "fit", "sweep"])
def test_a_predicted_device_is_a_profile(command):
    """And hardware has another name."""
    (option,) = (a for name, a in actions() if name == command and "--profile" in a.option_strings)
    assert option.dest == "profile"
    assert not [a for name, a in actions() if name == command and "--device" in a.option_strings]


def test_the_older_name_of_a_profile_is_taken(capsys):
    """`--device` of commands that run nothing, with one line on stderr."""
    argv = ["fsrcnn", "--input", "8x8", "--format", "json"]
    assert main(["analyze", *argv, "--profile", "gtx1080ti"]) == 0
    new = capsys.readouterr()
    assert main(["analyze", *argv, "--device", "gtx1080ti"]) == 0
    old = capsys.readouterr()
    assert (new.out, new.err) == (old.out, "")
    assert old.err == "srprof: --device is called --profile now\n"
    assert main(["analyze", "--help"]) == 0
    assert "--device" not in capsys.readouterr().out


# -- types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (sides, "256", (256, 256)),
        (sides, "2160x3840", (2160, 3840)),
        (budget, "4GiB", 4 * 2**30),
        (count(0), "0", 0),
        (count(1), "7", 7),
        (share, "1%", 0.01),
        (aspect, "16:9", (16, 9)),
    ],
)
def test_values_are_read(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (sides, "1x3x8x8", "height and a width only"),
        (sides, "8x", "is not a size"),
        (budget, "4", "the unit is missing"),
        (count(1), "0", "at least 1"),
        (count(0), "many", "at least 0"),
        (share, "-1", "is not a share"),
        (aspect, "16x9", "16:9"),
        (ending(".py"), "net.txt", "ends in .py"),
    ],
)
def test_what_is_none_is_refused_with_what_helps(kind, text, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        kind(text)


def test_one_count_is_one_type():
    assert count(1) is count(1) is not count(0)


# -- a call ---------------------------------------------------------------------------------------


def call(*argv: str, batch: int | None = None, without: tuple[str, ...] = ()) -> Call:
    parser = argparse.ArgumentParser()
    add_call(parser, *without)
    return read_call(parser.parse_args(argv), batch)


def test_a_call_is_a_value():
    assert call("fmen_s") == Call("fmen_s", ((1, 3, 256, 256),))
    words = "fmen_s --input 16 --input 1x5x3x8x8 --dtype float16 --channels-last --trace-on cpu"
    inputs = ((1, 3, 16, 16), (1, 5, 3, 8, 8))
    assert call(*words.split(), "--weights", "a.pth") == Call(
        "fmen_s", inputs, "a.pth", "float16", True, "cpu"
    )


def test_the_channels_of_an_image_are_the_networks():
    assert call("fsrcnn", "--input", "8x9").inputs == ((1, 1, 8, 9),)


def test_what_a_command_has_not_is_as_usual():
    assert call("fmen_s", without=("--weights", "--trace-on")) == Call(
        "fmen_s", ((1, 3, 256, 256),)
    )


def test_a_batch_is_of_images():
    assert call("fmen_s", "--input", "8x9", batch=4).inputs == ((4, 3, 8, 9),)
    with pytest.raises(InputError, match="has a batch of its own"):
        call("fmen_s", "--input", "2x3x8x9", batch=4)


def test_a_size_that_torch_cannot_count_is_refused():
    with pytest.raises(InputError, match="overflows"):
        call("fmen_s", "--input", "9999999x9999999", batch=10**9)
