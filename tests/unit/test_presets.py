"""Presets: rows of data that are whole, and applied to a call."""

from __future__ import annotations

from dataclasses import fields

import pytest

from srprof.call import Call
from srprof.errors import InputError
from srprof.inputs import RUN_DTYPES
from srprof.presets import PRESETS, applied, find


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_a_row_names_what_a_call_has(preset):
    assert preset.form.keys() <= {field.name for field in fields(Call)}
    assert set(preset.dtypes) <= set(RUN_DTYPES)
    assert preset.dtypes


@pytest.mark.parametrize("preset", [p for p in PRESETS.values() if p.name != "plain"])
def test_a_row_says_where_it_is_read(preset):
    """File and line of a public repository, at a commit: a branch goes on."""
    for source in preset.sources:
        assert "/blob/" in source
        commit = source.partition("/blob/")[2].partition("/")[0]
        assert len(commit) == 40
        assert "#L" in source
    assert preset.sources


def test_plain_is_the_call_itself():
    assert applied(Call("fmen_s"), find("plain")) == Call("fmen_s")
    assert applied(Call("fmen_s"), None) == Call("fmen_s")


def test_what_the_call_says_stays():
    call = applied(Call("fmen_s", dtype="bfloat16", channels_last=True), find("trainner"))
    assert call.dtype == "bfloat16"
    assert call.channels_last
    assert call.autocast
    assert call.previous_result


def test_another_name_is_refused():
    with pytest.raises(InputError, match="did you mean comfyui"):
        find("comfyUI")
