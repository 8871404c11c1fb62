"""The functions of other batches and dtypes, by those that are known. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from srprof.errors import InputError, ModelError
from srprof.estimating.forms import Form, Values
from srprof.estimating.graphs import Builder, Fitted
from srprof.estimating.samples import HeightWidth, Sample, most_common

#: Batches from the first to the second, that functions hold for; None is no end.
Batches = tuple[int, int | None]

#: Other batches and dtypes are looked at at so many sizes more than one.
_ELSEWHERE = 2


def by_batch(builder: Builder, dtype: str, first: Fitted | None) -> list[tuple[Fitted, Batches]]:
    """The functions of one image and of more in a dtype, each with the batches it holds for.

    Args:
        first: of another dtype, whose functions are likely the same ones.
    """
    if first is not None and (likewise := _as_first(builder, dtype, first)) is not None:
        return [(likewise, (1, None))]
    one = (first and _alike(builder, dtype, (1,), first)) or builder.full(dtype, 1)
    try:
        more = _alike(builder, dtype, (2, 3), one) or _of_more(builder, dtype)
    except (InputError, ModelError) as error:
        builder.notes.append(f"one image at a time: with two, {error}")
        return [(one, (1, 1))]
    same = more.script.graph == one.script.graph and more.sample.start == one.sample.start
    if same and more.forms == one.forms:
        return [(replace(one, powers=more.powers, any_batch=True), (1, None))]
    return [(one, (1, 1)), (more, (2, None))]


def _sizes(builder: Builder, of: Fitted) -> list[HeightWidth]:
    """Some at which one image was traced and made these calls, the last one last; few squares."""
    alike = (s.size for s in builder.samples.values() if s.script.alike == of.script.alike)
    found = [*dict.fromkeys(size[1:] for size in alike if size[0] == 1)]
    found.sort(key=lambda size: size[0] == size[1])
    last = [size for size in found if size[0] != size[1]][-1:] or found[-1:]
    return [*[size for size in found if size not in last][:_ELSEWHERE], *last]


def _as_first(builder: Builder, dtype: str, first: Fitted) -> Fitted | None:
    """Another dtype's functions, if those hold for any batch and for one and two images here.

    What libraries take is another function of each dtype, which two traces do not tell.
    """
    if not first.any_batch or any(block.node is not None for block in first.script.blocks):
        return None
    one, *_, other = _sizes(builder, first)
    samples = [builder.sample(dtype, 1, *other), builder.sample(dtype, 2, *one)]
    if not all(
        sample.script.alike == first.script.alike and _gives(builder, first, sample)
        for sample in samples
    ):
        return None
    return replace(first, sample=samples[0])


def _gives(builder: Builder, fitted: Fitted, sample: Sample) -> bool:
    """Whether functions of any batch give each block of a trace."""
    values = builder.terms.values([sample.size])
    blocks = zip(fitted.forms, fitted.powers, sample.script.blocks, strict=True)
    return all(
        form.at(values)[0] * sample.size[0] ** power * block.itemsize == block.nbytes
        for form, power, block in blocks
    )


def _alike(builder: Builder, dtype: str, of: Sequence[int], first: Fitted) -> Fitted | None:
    """The functions of another dtype or of batches `of`, if they are all known; else None."""
    sizes = _sizes(builder, first)
    found = [builder.sample(dtype, of[i % len(of)], *size) for i, size in enumerate(sizes)]
    same = most_common(found)
    if len(same) <= _ELSEWHERE:
        return None
    values = builder.terms.values([s.size for s in same])

    def numbers(form: Form, power: int) -> Values:
        bare = form.at(values)
        return tuple(map(int, bare * values[0] if power else bare))

    pairs = [(form, power) for form in builder.library for power in (1, 0)]
    known = {numbers(*pair): pair for pair in reversed(pairs)}
    likely = first.forms if same[0].script.alike == first.script.alike else ()
    chosen = []
    columns = zip(*(s.script.blocks for s in same), strict=True)
    of_sides = {tuple(map(int, f.at(values))): f for f in reversed(builder.sides)}

    def side(wanted: Values) -> Form | None:
        return Form(0, (), wanted[0]) if len(set(wanted)) == 1 else of_sides.get(wanted)

    for form, blocks in zip_longest(likely, columns):
        if blocks[0].node is not None:
            scratch = builder.of_scratch(same, blocks, side)
            if scratch is None:
                return None
            chosen.append((scratch, 0))
            continue
        wanted = tuple(b.nbytes // b.itemsize for b in blocks)
        given = [(form, power) for power in (1, 0)] if form is not None else []
        pair = next((p for p in given if numbers(*p) == wanted), known.get(wanted))
        if pair is None and len(set(wanted)) == 1:
            pair = Form(0, (), wanted[0]), 0
        if pair is None:
            return None
        chosen.append(pair)
    forms, powers = zip(*chosen, strict=True) if chosen else ((), ())
    return Fitted(same[0], forms, powers)


def _of_more(builder: Builder, dtype: str) -> Fitted:
    """The functions of several images, where they are others than those of one."""
    two = builder.full(dtype, 2)
    size = two.sample.size[1:]
    three = builder.sample(dtype, 3, *size)
    if three.script.graph != two.script.graph:
        raise InputError("two images and three make different calls")
    values = builder.terms.values([(1, *size)])
    pairs = []
    for form, block in zip(two.forms, three.script.blocks, strict=True):
        alone = block.node is not None or form.at(values)[0] * block.itemsize == block.nbytes
        pairs.append((form, 0) if alone else (form.halved(builder.terms), 1))
    forms, powers = zip(*pairs, strict=True) if pairs else ((), ())
    return replace(two, forms=forms, powers=powers)
