"""Options: an option's name means one thing wherever it stands, and its values are read once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from srprof.call import Call
from srprof.cli import COMMANDS, build_parser, main
from srprof.errors import InputError
from srprof.options import (
    LARGEST,
    add_call,
    aspect,
    budget,
    count,
    ending,
    read_call,
    share,
    sides,
)
from srprof.render.writers import formats


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
    """Kind, type, text and default of an option, and what its value is called."""
    given = (type(action), action.type, action.help, action.default, action.nargs, action.const)
    return (*given, action.metavar, tuple(action.option_strings))


def test_an_option_means_one_thing():
    """In every command: one type, one text, one default, and the same other names."""
    found: dict[str, dict[str, tuple[object, ...]]] = {}
    for command, action in actions():
        for name in action.option_strings or [action.dest]:
            found.setdefault(name, {})[command] = meaning(action)
    assert len(found["--input"]) > 5
    for option, meanings in found.items():
        assert len(set(map(str, meanings.values()))) == 1, f"{option} differs: {meanings}"


def test_an_option_takes_the_same_words_everywhere():
    """But for formats that one command has beside those of all."""
    found: dict[str, list[set[str]]] = {}
    for _, action in actions():
        if action.choices and action.option_strings:
            found.setdefault(action.option_strings[0], []).append(set(action.choices))
    common = set.intersection(*found.pop("--format"))
    assert common == set(formats())
    for option, choices in found.items():
        assert all(each == choices[0] for each in choices), option


def test_no_two_options_have_one_meaning():
    """A thing that several commands take has one name."""
    texts: dict[str, set[str]] = {}
    for _, action in actions():
        texts.setdefault(str(action.help), set()).add((action.option_strings or [action.dest])[0])
    assert [names for names in texts.values() if len(names) > 1] == []


#: Older names, with a command that took each and what it is called now.
OLDER = [
    ("sweep fsrcnn --input 8..16:8 --metric params", "--inputs"),
    ("validate fsrcnn --input 8x8", "--inputs"),
    ("validate fsrcnn --inputs 8x8 --dtype float32", "--dtypes"),
    ("advise fsrcnn --input 8x8 --memory planned", "--lower"),
    ("advise fsrcnn --input 8x8 --level exact", "--exact"),
    ("lean fmen_s --input 200x200 --tiles 96x96", "--tile"),
    ("measure fsrcnn --input 8x8 --device cpu --repeat 1 --protocol ntire", "--timing"),
    ("analyze fsrcnn --input 8x8 --protocol ntire --sizes sizes.txt --repeat 2", "--rounds"),
    ("calibrate --from nowhere.jsonl --profile h200 -o mine.toml", "--operations"),
]


@pytest.mark.parametrize(("command", "newer"), OLDER)
def test_an_older_name_is_taken_and_named(command, newer):
    """With the values that the option gives by its name."""
    argv = command.split()
    older = next(word for word in argv if f"{word} is called {newer} now" in parsed(argv).older)
    same = [newer if word == older else word for word in argv]
    if newer == "--exact":
        same.remove("exact")
    assert {k: v for k, v in vars(parsed(argv)).items() if k != "older"} == vars(parsed(same))


def parsed(argv: list[str]) -> argparse.Namespace:
    return build_parser(argv[0]).parse_args(argv)


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
    with pytest.raises(InputError, match="srprof fit finds the largest"):
        call("fmen_s", batch=LARGEST)


def test_a_size_that_torch_cannot_count_is_refused():
    with pytest.raises(InputError, match="overflows"):
        call("fmen_s", "--input", "9999999x9999999", batch=10**9)
