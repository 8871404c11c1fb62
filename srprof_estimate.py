"""Peak memory of a network as a function of its image's size, from an estimate of srprof's.

    from srprof_estimate import load, peak_bytes, largest_tile

    estimate = load("net.estimate.json")  # written by `srprof estimate NET -o net.estimate.json`
    peak_bytes(estimate, 1080, 1920)          # bytes, as torch.cuda.max_memory_allocated()
    largest_tile(estimate, 6 * 2**30, overlap=16)

One file without dependencies, Python 3.8 or newer: it may be copied into a program. Nothing of the
network is needed, and neither torch nor srprof. docs/estimate.md of srprof says what is in an
estimate and how far it is exact. Sizes are in pixels of the network's input, results in bytes.
"""

import json
from bisect import bisect_left, insort

#: What an estimate calls itself, and the version that is read here.
SCHEMA, VERSION = "srprof-estimate", 1
#: What a file of several calls itself.
PACK = "srprof-estimate-pack"

KINDS = ("planned", "eager", "allocated", "reserved")
MIB = 2**20
#: Indices of the terms that a size begins with.
_BATCH, _HEIGHT, _WIDTH = 0, 1, 2
#: No side and no batch is looked for beyond this.
_MOST = 2**16
#: So many sizes are looked at one by one, where an allocator's peak may fall.
_LOOKED_AT = 32


def load(path, network=None):
    """The estimate in a file, in a pack that of a network by its name.

    Raises:
        ValueError: it is none, or of another version; or the pack has no such network.
    """
    with open(path, encoding="utf-8") as file:
        try:
            estimate = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from None
    if isinstance(estimate, dict) and estimate.get("schema") == PACK:
        if network not in estimate["networks"]:
            there = ", ".join(sorted(estimate["networks"]))
            why = estimate["missing"].get(network, "name one of " + there)
            raise ValueError(f"{path} has no network {network!r}: {why}")
        return check(estimate["networks"][network])
    if network is not None:
        raise ValueError(f"{path} is no pack: leave the network out")
    return check(estimate)


def check(estimate):
    """The estimate, if it is one that is read here; else a ValueError."""
    schema = estimate.get("schema") if isinstance(estimate, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"this is no estimate (schema {schema!r}): write one by `srprof estimate NET -o FILE`"
        )
    if estimate.get("version") != VERSION:
        raise ValueError(
            f"an estimate of version {estimate.get('version')!r}, and this srprof_estimate.py "
            f"reads version {VERSION}: use the file of the srprof that wrote it"
        )
    return estimate


def peak_bytes(estimate, h, w, batch=1, dtype="float16", kind="allocated"):
    """Bytes at the peak of one call, weights and image included.

    Args:
        estimate: what `load` gives.
        h, w: height and width of the image. batch: images at once.
        dtype: of weights and image.
        kind: "planned", "eager", "allocated" (torch.cuda.max_memory_allocated()) or "reserved"
            (torch.cuda.max_memory_reserved()).

    Raises:
        ValueError: an argument that is none, or a size that the estimate does not hold for, with
            the nearest that it does.
    """
    if kind not in KINDS:
        raise ValueError("kind {!r} is not one of {}".format(kind, ", ".join(KINDS)))
    variants = _variants(check(estimate), batch, dtype)
    _check_sides(estimate, h, w)
    return _peak(estimate, variants, h, w, batch, kind)


def allocated_bounds(estimate, h, w, batch=1, dtype="float16"):
    """The least and the most bytes that are allocated, whatever the program ran before the call.

    `peak_bytes` has the first call of a fresh program. Behind others, blocks come from what the
    cache has: none is smaller than asked for, and none of more than 1 MiB over 1 MiB larger. The
    network was loaded first; the allocator has its default settings.

    Raises:
        ValueError: as `peak_bytes`.
    """
    variants = _variants(check(estimate), batch, dtype)
    _check_sides(estimate, h, w)
    values = _values(estimate["terms"], batch, h, w)
    rows = [_requested(variant, values) for variant in variants]
    return tuple(max(column) for column in zip(*rows))


def largest_tile(
    estimate, budget, overlap=0, batch=1, dtype="float16", kind="allocated", image=None
):
    """Height and width of the largest tile, square or as large as the image, within a budget.

    Args:
        budget: bytes. overlap: pixels of a tile that are read and not kept, at each of its sides;
            they are part of what is given back.
        image: height and width of what is cut into tiles: no tile is larger than it must be.

    Raises:
        ValueError: not even the smallest tile fits that keeps a pixel.
    """
    variants = _variants(check(estimate), batch, dtype)
    if overlap < 0:
        raise ValueError(f"an overlap of {overlap} pixels")
    highest, widest = (_MOST, _MOST) if image is None else (_upper(estimate, s) for s in image)
    least = _upper(estimate, 2 * overlap + 1)

    def tile(side):
        return min(side, highest), min(side, widest)

    def needs(side):
        return _peak(estimate, variants, *tile(side), batch=batch, kind=kind)

    def requests(side):
        return _peak(estimate, variants, *tile(side), batch=batch, kind=_grows(kind))

    step = estimate["sides"]["step"] or 1
    end = (max(highest, widest) - least) // step if estimate["sides"]["step"] else 0
    rows = (lambda i: needs(least + i * step)), (lambda i: requests(least + i * step))
    index = _last_within(*rows, budget=budget, end=max(end, 0))
    if index is None:
        raise _too_small(budget, "a tile of {}x{}".format(*tile(least)), needs(least))
    return tile(least + index * step)


def largest_batch(estimate, budget, h, w, dtype="float16", kind="allocated"):
    """The most images of a size in one call within a budget of bytes.

    Raises:
        ValueError: not even one fits.
    """
    _variants(check(estimate), 1, dtype)
    _check_sides(estimate, h, w)
    ends = [v["batch"][1] or _MOST for v in estimate["graphs"][estimate["dtypes"][dtype]]]

    def needs(index, kind=kind):
        batch = index + 1
        return _peak(estimate, _variants(estimate, batch, dtype), h, w, batch, kind)

    index = _last_within(needs, lambda i: needs(i, _grows(kind)), budget, max(ends) - 1)
    if index is None:
        raise _too_small(budget, f"one image of {h}x{w}", needs(0))
    return index + 1


def result_size(estimate, h, w):
    """Channels, height and width of what the network gives; None if it is no single image."""
    _check_sides(check(estimate), h, w)
    if estimate.get("result") is None:
        return None
    values = _values(estimate["terms"], 1, h, w)
    return tuple(values[term] for term in estimate["result"])


def milliseconds(estimate, h, w, batch=1, dtype="float16"):
    """The time of one call on the device of the estimate's profile, between predicted sizes.

    Raises:
        ValueError: the estimate has no times of that dtype.
    """
    _variants(check(estimate), batch, dtype)
    _check_sides(estimate, h, w)
    rows = ((estimate.get("time") or {}).get("ms") or {}).get(dtype)
    if not rows:
        raise ValueError(f"no times of {dtype}: srprof estimate --profile DEVICE predicts them")
    pixels = batch * h * w
    place = min(max(bisect_left(rows, [pixels]), 1), len(rows) - 1)
    (low, first), (high, second) = rows[place - 1], rows[place]
    time = first + (second - first) * (pixels - low) / (high - low)
    return max(time, rows[0][1] if pixels < rows[0][0] else 0.0)


# -- what the estimate says ---------------------------------------------------------------------


def _variants(estimate, batch, dtype):
    """What of the estimate holds for a batch and a dtype."""
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch {batch!r} is no number of images")
    place = estimate["dtypes"].get(dtype, "it was not traced")
    if isinstance(place, str):
        there = ", ".join(k for k, v in estimate["dtypes"].items() if not isinstance(v, str))
        raise ValueError(f"the estimate has {there}, and not {dtype}: {place}")
    variants = estimate["graphs"][place]
    found = [v for v in variants if v["batch"][0] <= batch <= (v["batch"][1] or batch)]
    if not found:
        most = max(v["batch"][1] for v in variants)
        raise ValueError(f"batch {batch}: the estimate holds for up to {most}")
    return found


def _upper(estimate, side):
    """The smallest side that is no smaller and that the estimate holds for."""
    least, step = estimate["sides"]["least"], estimate["sides"]["step"]
    return least if not step else least + max(0, -((least - side) // step)) * step


def _check_sides(estimate, h, w):
    for side in (h, w):
        if not isinstance(side, int) or side != _upper(estimate, side):
            valid = tuple(_upper(estimate, int(s)) for s in (h, w))
            raise ValueError(
                f"{h}x{w}: the estimate holds for sides of {_sides_text(estimate)}; the nearest is "
                "{}x{}".format(*valid)
            )


def _sides_text(estimate):
    least, step = estimate["sides"]["least"], estimate["sides"]["step"]
    if not step:
        return f"{least} only"
    return f"{least}, {least + step}, {least + 2 * step}, ..."


def _too_small(budget, what, needs):
    return ValueError(
        f"a budget of {budget / MIB:.2f} MiB is too small: {what} needs {needs / MIB:.2f} MiB"
    )


def _peak(estimate, variants, h, w, batch, kind):
    values = _values(estimate["terms"], batch, h, w)
    return max(_of_variant(variant, values, kind) for variant in variants)


def _of_variant(variant, values, kind):
    if kind in ("allocated", "reserved"):
        return _replayed(variant, values, kind == "reserved")[kind == "reserved"]
    granularity = variant["granularity"]
    sizes = [-(-values[term] // granularity) * granularity for term in variant["sizes"]]
    return variant["net"] + max(
        sum(count * sizes[size] for size, count in zip(piece[::2], piece[1::2]))
        for piece in variant[kind]
    )


def _values(terms, batch, h, w):
    """The value of each term, in whole numbers: of batch, height and width, and of those before.

    `["*", c, i, j, ...]` is c times the terms i, j, ...; `["+", c, i, j, ...]` c and these terms;
    `["/", c, i, d]` the whole part of (c + term i) / d; `["?", c, i, j, k]` is term j where term i
    is below c, else term k.
    """
    values = [batch, h, w]
    for op, constant, *parts in terms:
        if op == "/":
            value = (constant + values[parts[0]]) // parts[1]
        elif op == "*":
            value = constant
            for part in parts:
                value *= values[part]
        elif op == "?":
            value = values[parts[1] if values[parts[0]] < constant else parts[2]]
        else:
            value = constant + sum([values[part] for part in parts])
        values.append(value)
    return values


def _grows(kind):
    """A kind that is no more, and that never falls while the size grows."""
    return "eager" if kind in ("allocated", "reserved") else kind


def _last_within(needs, requests, budget, end):
    """The last index up to `end` within the budget; None if none is.

    What is requested never falls from one index to the next. The allocator's blocks do not fit
    each size alike, so indices are looked at downwards from where requests are within the budget.
    """
    top = _last_growing(requests, budget, end)
    if top is None:
        return None
    below = max(top - _LOOKED_AT, 0)
    for index in range(top, below, -1):
        if needs(index) <= budget:
            return index
    return _last_growing(needs, budget, below)


def _last_growing(needs, budget, end):
    """The same of what never falls."""
    if needs(0) > budget:
        return None
    low, high, step = 0, None, 1
    while high is None:  # farther and farther
        index = min(low + step, end)
        if index == low:
            return low
        if needs(index) > budget:
            high = index
        else:
            low, step = index, step * 4
    while high - low > 1:
        middle = (low + high) // 2
        if needs(middle) <= budget:
            low = middle
        else:
            high = middle
    return low


# -- the caching allocator ----------------------------------------------------------------------

_BLOCK, _SMALL, _SEGMENT, _LARGE, _DOUBLE = 512, MIB, 2 * MIB, 20 * MIB, 10 * MIB
#: A block is a list of these: the blocks before and behind it are of the same segment.
_ADDRESS, _SIZE, _FREE, _BEFORE, _BEHIND, _POOL = range(6)


def _replayed(variant, values, small_too=True):
    """The most that is allocated and that is reserved while the call's blocks come and go.

    A program has the index of a size for a block that comes, -n for the nth last one that goes,
    and null where the code gives the cache back. As c10/cuda/CUDACachingAllocator.cpp does it.
    """
    sizes = [-(-values[term] // _BLOCK) * _BLOCK for term in variant["sizes"]]
    allocated, reserved, free = variant["start"]
    most, most_reserved = allocated, reserved
    pools, address = ([], []), 0  # for large requests, for small ones: free size, address, block
    for size, is_small in free:
        pool = pools[is_small]
        insort(pool, (size, address, [address, size, True, None, None, pool]))
        address += size
    least_counted = 1 if small_too else _SMALL + 1  # small ones are allocated as they are asked for
    blocks = []
    for step in variant["program"]:
        if step is None:
            reserved -= _given_back(pools[0]) + _given_back(pools[1])
        elif step < 0:
            block = blocks[step]
            if block.__class__ is int:
                allocated -= block
            else:
                allocated -= block[_SIZE]
                _let_go(block)
        else:
            block = size = sizes[step]
            if size >= least_counted:
                block, segment = _taken(pools[size <= _SMALL], size, address)
                size = block[_SIZE]
                if segment:
                    address += segment
                    reserved += segment
                    most_reserved = max(most_reserved, reserved)
            blocks.append(block)
            allocated += size
            most = max(most, allocated)
    return most, most_reserved


def _requested(variant, values):
    """The most that is asked for at once, and the most that blocks for it can be."""
    sizes = [-(-values[term] // _BLOCK) * _BLOCK for term in variant["sizes"]]
    asked, larger = variant["net"], variant["start"][0]
    most, largest, blocks = asked, larger, []
    for step in variant["program"]:
        if step is not None:
            size = sizes[step] if step >= 0 else -blocks[step]
            spare = _SMALL if abs(size) > _SMALL else 0
            asked += size
            larger += size + spare if step >= 0 else size - spare
            if step >= 0:
                blocks.append(size)
                most, largest = max(most, asked), max(largest, larger)
    return most, largest


def _taken(pool, size, address):
    """A block for a request, and the bytes that were reserved for it at an address."""
    place, segment = bisect_left(pool, (size,)), 0
    if place < len(pool):
        block = pool.pop(place)[2]
    else:
        segment = _LARGE if _SMALL < size < _DOUBLE else -(-size // _SEGMENT) * _SEGMENT
        block = [address, segment, True, None, None, pool]
    rest = block[_SIZE] - size
    if rest >= (_BLOCK if size <= _SMALL else _SMALL + 1):
        behind = [block[_ADDRESS] + size, rest, True, block, block[_BEHIND], pool]
        if behind[_BEHIND] is not None:
            behind[_BEHIND][_BEFORE] = behind
        block[_SIZE], block[_BEHIND] = size, behind
        insort(pool, (rest, behind[_ADDRESS], behind))
    block[_FREE] = False
    return block, segment


def _let_go(block):
    """Free a block, which becomes one with its free neighbours."""
    before, behind, pool = block[_BEFORE], block[_BEHIND], block[_POOL]
    if behind is not None and behind[_FREE]:
        _joined(block, behind, behind, pool)
    if before is not None and before[_FREE]:
        _joined(before, block, before, pool)
        block = before
    block[_FREE] = True
    insort(pool, (block[_SIZE], block[_ADDRESS], block))


def _joined(block, behind, free, pool):
    """Make one of two blocks, of which one is free and then is in no list."""
    del pool[bisect_left(pool, (free[_SIZE], free[_ADDRESS]))]
    block[_SIZE] += behind[_SIZE]
    block[_BEHIND] = behind[_BEHIND]
    if behind[_BEHIND] is not None:
        behind[_BEHIND][_BEFORE] = block


def _given_back(pool):
    """Bytes of the segments that are wholly free, which are in the pool no more."""
    whole = [f for f in pool if f[2][_BEFORE] is None and f[2][_BEHIND] is None]
    pool[:] = [f for f in pool if f not in whole]
    return sum(f[0] for f in whole)
