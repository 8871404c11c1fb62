"""PYTORCH_CUDA_ALLOC_CONF: every option, every way to get it wrong, and the sizes that follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srprof.errors import InputError
from srprof.memory.settings import MIB, Settings


def test_nothing_given_is_torchs_default():
    assert Settings.parse("") == Settings.parse(" ") == Settings()


@pytest.mark.parametrize(
    "text, field, value",
    [
        ("max_split_size_mb:128", "max_split_size", 128 * MIB),
        ("max_split_size_mb:20", "max_split_size", 20 * MIB),
        ("max_split_size_mb:15,large_segment_size_mb:12", "max_split_size", 15 * MIB),
        ("max_non_split_rounding_mb:25", "max_non_split_rounding", 25 * MIB),
        ("large_segment_size_mb:12", "large_segment_size", 12 * MIB),
        ("roundup_power2_divisions:4", "roundup_power2_divisions", (4,) * 16),
        ("expandable_segments:True", "expandable_segments", True),
        ("expandable_segments:False", "expandable_segments", False),
        ("expandable_segments:True,expandable_segments:False", "expandable_segments", False),
        ("garbage_collection_threshold:0.8", "garbage_collection_threshold", 0.8),
        ("per_process_memory_fraction:0.5", "per_process_memory_fraction", 0.5),
        ("per_process_memory_fraction:1", "per_process_memory_fraction", 1.0),
        ("backend:native", "not_simulated", ()),
        (" max_split_size_mb : 64 ,", "max_split_size", 64 * MIB),
    ],
)
def test_options(text, field, value):
    assert getattr(Settings.parse(text), field) == value


def test_several_at_once():
    text = (
        "max_split_size_mb:128,roundup_power2_divisions:4,"
        "expandable_segments:True,garbage_collection_threshold:0.8"
    )
    assert Settings.parse(text) == Settings(
        max_split_size=128 * MIB,
        roundup_power2_divisions=(4,) * 16,
        expandable_segments=True,
        garbage_collection_threshold=0.8,
    )


@pytest.mark.parametrize(
    "text, divisions",
    [
        ("[256:1,512:2,1024:4,>:8]", (1,) * 9 + (2, 4) + (8,) * 5),
        ("[64:8,256:4,>:1]", (8,) * 7 + (0, 4) + (1,) * 7),
        ("[4:2]", (2,) * 3 + (0,) * 13),
        ("[1024:4,256:2]", (4,) * 8 + (2, 4, 4) + (0,) * 5),
        ("[131072:8]", (8,) * 16),
        ("[>:8]", (0,) + (8,) * 15),
        ("[64:0]", (0,) * 16),
        ("[]", (0,) * 16),
    ],
)
def test_divisions_by_size(text, divisions):
    """What `AcceleratorAllocatorConfig::roundup_power2_divisions` of torch 2.13 answers."""
    settings = Settings.parse(f"roundup_power2_divisions:{text}")
    assert settings.roundup_power2_divisions == divisions


@pytest.mark.parametrize(
    "text, says",
    [
        ("max_split_size_mb", "cannot be read from 'max_split_size_mb'"),
        ("max_split_size_mb:", "cannot be read"),
        ("max_split_size_mb=64", "cannot be read"),
        ("max_split_size_mb:64,,", "cannot be read from ','"),
        (",max_split_size_mb:64", "cannot be read"),
        ("roundup_power2_divisions:[256:4", "cannot be read"),
        ("max_split_size_mb:19", "give at least 20"),
        ("max_split_size_mb:30,large_segment_size_mb:40", "give at least 40"),
        ("max_non_split_rounding_mb:1", "give at least 20"),
        ("max_split_size_mb:64x", "'64x' is not a whole number"),
        ("max_split_size_mb:-1", "not a whole number"),
        ("max_split_size_mb:32.5", "not a whole number"),
        ("max_split_size_mb:" + "9" * 20, "not a whole number"),
        ("max_split_size_mb:[64]", "not a whole number"),
        ("large_segment_size_mb:10", "more than 10"),
        ("roundup_power2_divisions:3", "3 is not a power of two"),
        ("roundup_power2_divisions:0", "0 is not a power of two"),
        ("roundup_power2_divisions:[3:2]", "3 is not a power of two"),
        ("roundup_power2_divisions:[256:3]", "3 is not a power of two"),
        ("roundup_power2_divisions:[256]", "'256' has no divisions"),
        ("expandable_segments:true", "write True or False"),
        ("garbage_collection_threshold:0", "between 0 and 1"),
        ("garbage_collection_threshold:1", "between 0 and 1"),
        ("garbage_collection_threshold:nan", "between 0 and 1"),
        ("garbage_collection_threshold:much", "between 0 and 1"),
        ("per_process_memory_fraction:1.5", "over 0 and at most 1"),
        ("backend:cudaMallocAsync", "not simulated; leave the option out"),
        ("max_split_size:64", "there is no such option; torch has backend"),
    ],
)
def test_bad_text_is_one_line_that_mends_it(text, says):
    with pytest.raises(InputError) as error:
        Settings.parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_simulated_is_named():
    text = "pinned_use_background_threads:True,release_lock_on_cudamalloc:True"
    settings = Settings.parse(text)
    names = ("pinned_use_background_threads", "release_lock_on_cudamalloc")
    assert settings.not_simulated == names
    assert settings.left_out(capacity=None) == settings.left_out(capacity=MIB) == names


def test_what_needs_a_capacity_is_left_out_without_one():
    settings = Settings.parse("garbage_collection_threshold:0.8,per_process_memory_fraction:0.5")
    assert settings.left_out(capacity=2**30) == ()
    assert settings.left_out(capacity=None) == (
        "garbage_collection_threshold",
        "per_process_memory_fraction",
    )


def test_the_variable_that_torch_reads():
    cuda, common = "max_split_size_mb:64", "max_split_size_mb:128"
    both = {"PYTORCH_CUDA_ALLOC_CONF": cuda, "PYTORCH_ALLOC_CONF": common}
    assert Settings.from_environment(both).max_split_size == 64 * MIB
    only = {"PYTORCH_ALLOC_CONF": common, "HOME": "/root"}
    assert Settings.from_environment(only).max_split_size == 128 * MIB
    assert Settings.from_environment({}) == Settings()
    with pytest.raises(InputError, match=r"^PYTORCH_ALLOC_CONF: allocator setting max_split"):
        Settings.from_environment({"PYTORCH_ALLOC_CONF": "max_split_size_mb:1"})


# -- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nbytes, rounded", [(1, 512), (512, 512), (513, 1024), (52_020_000, 52_020_224)]
)
def test_rounded_to_512_bytes(nbytes, rounded):
    assert Settings().rounded(nbytes) == rounded


@pytest.mark.parametrize(
    "nbytes, rounded",
    [
        (1200 * 1024, 1280 * 1024),  # torch's own example: 1024, 1280, 1536, 1792
        (1280 * 1024, 1280 * 1024),
        (2**20, 2**20),
        (2048, 2048),
        (2049, 2560),  # from 512 x divisions on
        (1500, 1536),  # below it, 512 bytes
        (100, 512),
    ],
)
def test_rounded_to_quarters_of_a_power_of_two(nbytes, rounded):
    assert Settings.parse("roundup_power2_divisions:4").rounded(nbytes) == rounded


def test_divisions_are_those_of_the_requests_power_of_two():
    settings = Settings.parse("roundup_power2_divisions:[32:0,64:2,>:0]")
    assert settings.rounded(63 * MIB) == 63 * MIB
    assert settings.rounded(65 * MIB) == 96 * MIB
    assert settings.rounded(129 * MIB) == 129 * MIB


@given(st.integers(1, 2**36), st.sampled_from((1, 2, 4, 8, 32)))
def test_rounding_wastes_less_than_one_division(nbytes, divisions):
    settings = Settings.parse(f"roundup_power2_divisions:{divisions}")
    rounded = settings.rounded(nbytes)
    assert rounded % 512 == 0
    assert nbytes <= rounded
    division = 2 ** (nbytes.bit_length() - 1) // divisions if divisions > 1 else 512
    assert rounded - nbytes < max(512, division)


@pytest.mark.parametrize(
    "rounded, segment",
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (52_020_224, 50 * MIB),
    ],
)
def test_segments(rounded, segment):
    assert Settings().segment_size(rounded) == segment


def test_large_segments_of_another_size():
    settings = Settings.parse("large_segment_size_mb:12")
    assert settings.segment_size(2 * MIB) == 12 * MIB
    assert settings.segment_size(11 * MIB) == 12 * MIB
    assert settings.segment_size(13 * MIB) == 14 * MIB
