"""Functions from values, and programs without their repetitions."""

from __future__ import annotations

from random import Random

import pytest

import srprof_estimate as reader
from srprof.estimating.folding import cut, folded, trimmed
from srprof.estimating.forms import HEIGHT, WIDTH, Fitter, Floor, Form, Terms, floors

SIZES = [(256, 256), (257, 257), (97, 130), (97, 203), (162, 130), (141, 181), (300, 75)]
HEIGHTS = [h for h, _ in SIZES]

SIDES = {
    "a padding": lambda h: h + 6,
    "a stride": lambda h: (h - 1) // 2 + 1,
    "windows": lambda h: -(-h // 8),
    "up to a multiple": lambda h: -(-h // 16) * 16,
    "upscaled": lambda h: 4 * h - 36,
    "a stride of the padded": lambda h: (-(-h // 4) * 4 + 2 - 3) // 2 + 1,
    "half a spectrum": lambda h: h // 2 + 1,
}


@pytest.mark.parametrize("name", SIDES)
def test_a_side_is_found_from_its_values(name):
    side = SIDES[name]
    found = [
        floor for candidates in floors(HEIGHTS, [side(h) for h in HEIGHTS]) for floor in candidates
    ]
    assert any(all(floor.at(h) == side(h) for h in range(1, 2000)) for floor in found)


def test_what_grows_otherwise_is_no_side():
    assert [*floors(HEIGHTS, [h * h for h in HEIGHTS])] == []


SIZED = {
    "a map": lambda h, w: 64 * h * w,
    "of windows": lambda h, w: 60 * 64 * -(-h // 8) * -(-w // 8),
    "attention in windows": lambda h, w: -(-h // 8) * -(-w // 8) * 6 * 64 * 64,
    "upscaled and padded": lambda h, w: 3 * (4 * h + 2) * (4 * w + 2),
    "tokens and one": lambda h, w: 5 * (h * w + 1),
    "of all pixels": lambda h, w: 2 * (h * w) ** 2,
    "a row": lambda h, w: 64 * w,
    "both poolings": lambda h, w: 8 * h + 8 * w,
    "groups of tokens": lambda h, w: -(-h * w // 128) * 128 * 3,
}


@pytest.mark.parametrize("name", SIZED)
def test_a_size_is_found_from_its_values(name):
    size, terms = SIZED[name], Terms()
    fitter = Fitter(SIZES, terms)
    fitter.learn(tuple(SIDES["windows"](x[axis]) for x in SIZES) for axis in (0, 1))
    fitter.learn(tuple(4 * x[axis] + 2 for x in SIZES) for axis in (0, 1))
    form = fitter.size(tuple(size(*s) for s in SIZES), ())
    assert form is not None
    random, tried = Random(0), SIZES
    if "windows" not in name and "groups" not in name:  # whose shift further sizes have to tell
        tried = [(random.randrange(8, 3000), random.randrange(8, 3000)) for _ in range(50)]
    for h, w in tried:
        assert form.at(terms.values([(1, h, w)]))[0] == size(h, w)


def test_what_fits_no_function_is_unknown():
    fitter = Fitter(SIZES, Terms())
    assert fitter.size((1, 7, 2, 9, 4, 4, 1), ()) is None
    assert len(fitter.unknown) == 1


def test_sides_that_could_be_others_say_where_they_differ():
    fitter = Fitter([(16, 16), (24, 31), (40, 47)], Terms())
    fitter.learn([(2, 3, 5)])
    votes = fitter.votes(0, range(16, 32))
    assert votes.any()
    assert not votes[0]


def test_terms_are_what_the_reader_makes_of_them():
    terms = Terms()
    form = Form(3, (HEIGHT, WIDTH), 5)
    term, half = form.term(terms, 4, power=1), form.halved(terms)
    values = reader._values(terms.rows, 2, 5, 7)
    assert values[term] == 4 * (3 * 35 + 5) * 2
    assert half.at(values) == (3 * 35 + 5) // 2
    assert Floor(2, 7, 8, 1).at(9) == 5


def peaks(program):
    sizes = [3 * 2**20, 2 * 2**20, 700]
    variant = {"sizes": [0, 1, 2], "start": [0, 0, []], "program": program}
    return reader._replayed(variant, sizes)


def test_repetitions_are_folded():
    whole = [0, 1, *[2, -1, 0, -4, 1, -4] * 12, 1]
    right = [peaks(whole)]
    shorter = folded(whole, lambda program: peaks(program) == right[0])
    assert len(shorter) < len(whole) / 2
    assert peaks(shorter) == peaks(whole)


def test_what_is_held_is_not_folded_away():
    whole = [1, 0] * 6 + [0]
    assert folded(whole, lambda program: peaks(program) == peaks(whole)) == whole


def test_a_cut_leaves_what_it_found_or_is_none():
    assert cut([0, 1, -1, 2, -2], 1, 3) == [0, 2, -2]
    assert cut([0, 1, 2], 1, 2) is None
    assert cut([0, 1, 1, -1, -3], 2, 4) == [0, 1, -2]


def test_what_comes_behind_the_peak_is_left_out():
    whole = [2, 0, 1, -1, 2, -1]
    assert trimmed(whole, lambda program: peaks(program) == peaks(whole)) == [2, 0, 1]
