"""The physical model: a roofline for one node, by a datasheet and shares of its peaks.

A node takes the longer of its arithmetic and its memory traffic, each at the share of the peak
that its class reaches, and an overhead for each kernel that it launches (Williams, Waterman and
Patterson, "Roofline", CACM 2009). Eager super-resolution networks add five effects:

- Convolutions run in tiles of 32, 64 or 128 output channels by 128 pixels: 50 channels cost
  what 64 do, and narrow tiles reuse what they load less often. The fastest tile is taken.
- Tiles are dealt out to the multiprocessors in waves: a small map leaves most of them idle.
- PyTorch adds a convolution's bias in a kernel of its own, which reads and writes the output.
- A kernel that reads across the grain of what it writes (a transposing copy, a sum of a
  channels-last and a plain map) uses a few bytes of each sector that it fetches.
- PyTorch computes element-wise in vectors where all operands are dense maps of one layout, else
  one element at a time (`single`): a bias, a product with a value for each channel, a slice.

A GPU with tensor cores adds four, each seen in the kernels of an H100 (docs/latency.md): its
convolutions copy plain maps to channels innermost and back, in pieces of 64 bytes of a pixel, and
stay outside tensor cores below 16 input channels (maps with channels innermost are filled up to
some multiple instead); channels that are no multiple of 32 bytes, and columns that do not fill
tiles of 64, go in smaller pieces; each wave of tiles waits for its first data and its last
(`wave`); and resampling and pooling take as long as their reads from the caches (`gather`).

On a CPU, oneDNN computes convolutions in blocks of channels, as many as fit in a vector register,
and copies their maps into that layout and back; 1x1 convolutions of one image are plain products.

What it cannot see: Winograd's kernels, which of its kernels a library picks, and what a library's
version does badly; measured operations can (`correction.py`). Linear layers on permuted maps and
attention on windows rest on assumed shares: of published runtimes, two networks made of them are
underestimated, by up to 2.4 times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from srprof.cost.classes import TILES, NodeCost
from srprof.cost.profiles import TENSOR_MODES, Profile
from srprof.inputs import ITEMSIZE
from srprof.ops import FEWEST_AT_ONCE, FEWEST_IN_TENSOR_CORES, VECTOR, Product

#: Rows (output pixels) of a tile; a product with fewer is given a smaller tile.
_ROWS = 128
_FEWEST_ROWS = 32
#: Sides of the smallest tile of a matrix product.
_SMALLEST = 16
#: Families that a library with a layout of its own computes in it. oneDNN takes inputs of fewer
#: channels as they are.
_BLOCKED = frozenset({"conv", "grouped"})
_PRODUCTS = frozenset({*_BLOCKED, "depthwise", "conv1x1", "matmul"})
_FEWEST_CHANNELS = 4
#: Bytes of a pixel's channels, of maps with the channels innermost: handled at once, and a multiple
#: of which is fetched at full speed.
_PIECE = 64
_ALIGNED = 32
#: Bytes of an element whose dtype is not known.
_WORD = 4
#: Elements a second of a multiprocessor where PyTorch's kernels take one at a time, of whichever
#: dtype: biases on an H100 and an H200, whose memory gives each more than that in halves.
_SINGLY = 3.1e9
#: Threads that PyTorch's layer norm gives to each row, so a shorter row leaves some idle.
_NORM_THREADS = 256


def modelled(
    cost: NodeCost, profile: Profile, cached: int = 0, measured: bool = False
) -> tuple[float, float, float, int]:
    """Seconds of arithmetic, of traffic and of layout copies by the physical model, and kernels.

    With `measured` operations at hand, which kernel cuDNN takes is left to them.
    """
    if cost.seconds is not None:
        return 0.0, cost.seconds, 0.0, cost.kernels
    share = profile.bandwidth_share[cost.family]
    if cost.row:
        share *= min(1.0, cost.row / _NORM_THREADS)
    plain = cost.read - cost.strided - cached + cost.written
    memory = plain / (profile.bandwidth * share)
    if cost.single and not profile.layout:
        elements = cost.written / ITEMSIZE.get(cost.dtype, _WORD)
        memory = max(memory, elements / (profile.sms * _SINGLY))
    memory += strided_seconds(cost, profile)
    if cached and profile.cache_bandwidth:
        memory += cached / (profile.cache_bandwidth * share)
    if profile.gather:
        memory = max(memory, cost.gathered / profile.gather, cost.serial * (profile.serial or 0.0))
    compute, layout, copies = _compute(cost, profile, measured)
    if _begins_odd(cost, profile):
        compute, memory = (t / profile.tensor["odd"] for t in (compute, memory))
    start = profile.start or 0.0
    return compute + start, memory + start, layout + start * copies, cost.kernels + copies


def _begins_odd(cost: NodeCost, profile: Profile) -> bool:
    """Whether the rows of a 1x1 convolution's product, its maps, begin at odd addresses."""
    if cost.family != "conv1x1" or cost.channels_last or not profile.tensor:
        return False
    if mode_of(cost, profile) not in TENSOR_MODES:
        return False
    row = 0 if cost.product is None else cost.product.rows * ITEMSIZE.get(cost.dtype, _WORD)
    return row % VECTOR > 0


def mode_of(cost: NodeCost, profile: Profile) -> str:
    """The fastest mode of arithmetic that a node may compute in."""
    computes = bool(cost.flops) or cost.family in _PRODUCTS
    return profile.modes(cost.dtype, cost.family)[-1] if computes else cost.dtype


def strided_seconds(cost: NodeCost, profile: Profile) -> float:
    """Seconds of the reads across the grain."""
    return cost.strided / (profile.bandwidth * profile.bandwidth_share["strided"])


def _compute(cost: NodeCost, profile: Profile, measured: bool) -> tuple[float, float, int]:
    """Seconds of arithmetic, seconds of the copies that its layout needs, and their kernels.

    Of the tiles and modes, the fastest with its copies is taken.
    """
    ways = []
    for mode in _modes(cost, profile):
        compute = _arithmetic(cost, profile, mode, measured)
        layout, kernels = _layout(cost, profile, mode)
        ways.append((compute + layout + kernels * (profile.gap or 0.0), compute, layout, kernels))
    return min(ways)[1:] if ways else (0.0, 0.0, 0)


def _modes(cost: NodeCost, profile: Profile) -> tuple[str, ...]:
    """The modes that a library may compute a node in; none if there is nothing to compute."""
    if not cost.flops and cost.family not in _PRODUCTS:
        return ()
    outside = cost.product is None or profile.layout
    modes = profile.modes(cost.dtype, "matmul" if outside else cost.family)
    product = _computed(cost, profile)
    narrow = product and product.depth < FEWEST_IN_TENSOR_CORES * cost.taps
    narrow = narrow and not cost.channels_last  # those are filled up
    if profile.tensor and (outside or (narrow and cost.family in _BLOCKED)):
        return ("float32" if modes[0] in TENSOR_MODES and "float32" in profile.peak else modes[0],)
    return modes


def _computed(cost: NodeCost, profile: Profile) -> Product | None:
    """The product that is computed: for tensor cores, cuDNN takes groups as if they were one."""
    product = cost.product
    if product is None or not profile.tensor or cost.family != "grouped" or cost.transposed:
        return product
    groups, rows, columns, depth = product
    return Product(1, rows, groups * columns, groups * depth)


def _arithmetic(cost: NodeCost, profile: Profile, mode: str, measured: bool) -> float:
    """Seconds in this mode, in the fastest tile."""
    product = _computed(cost, profile)
    if product is None:
        return cost.flops / (profile.peak[mode] * profile.compute["depthwise"])
    if profile.layout:
        return _blocked(cost, product, profile)
    tiles = [tile for tile in TILES if measured or _takes(cost, product, profile, mode, tile)]
    return min(_tiled(cost, product, profile, mode, tile) for tile in tiles)


def _takes(cost: NodeCost, product: Product, profile: Profile, mode: str, tile: int) -> bool:
    """Whether cuDNN takes a tile: in tensor cores, it leaves no part of a wide one empty."""
    in_tensor_cores = mode in TENSOR_MODES and profile.tensor and cost.family in _BLOCKED
    return not in_tensor_cores or tile == TILES[0] or product.columns % tile == 0


def _tiled(cost: NodeCost, product: Product, profile: Profile, mode: str, tile: int) -> float:
    """Seconds of a product in tiles of so many columns."""
    batch, rows, columns, depth = product
    kind = "tensor" if mode in TENSOR_MODES else "tile"
    speed = profile.peak[mode] * profile.relative.get(cost.family, 1.0)
    speed *= profile.compute[f"{kind}_{tile}"]
    if kind == "tensor" and profile.tensor and cost.family in _BLOCKED:
        depth, share = _in_pieces(cost, depth, profile)
        speed *= share
    height = min(_ROWS, _up(rows, _FEWEST_ROWS))
    if cost.family == "matmul" and min(rows, columns) == 1:
        return cost.flops / speed  # with a vector, which has kernels of its own
    if cost.family == "matmul" and max(rows, columns) <= _SMALLEST:
        height = tile = _SMALLEST
    # Whole waves of one tile for each multiprocessor: the last may be nearly empty.
    waves = -(-batch * -(-rows // height) * -(-columns // tile) // profile.sms)
    work = 2.0 * waves * profile.sms * height * tile * depth
    return waves * (profile.wave or 0.0) + work / speed


def _in_pieces(cost: NodeCost, depth: int, profile: Profile) -> tuple[int, float]:
    """A product's depth with its channels in whole pieces, and the share of the speed reached."""
    size = ITEMSIZE.get(cost.dtype, _WORD)
    nbytes = depth // cost.taps * size
    aligned = _up(nbytes, VECTOR) % _ALIGNED == 0
    return cost.taps * _up(nbytes, _PIECE) // size, 1.0 if aligned else profile.tensor["unaligned"]


def _up(number: int, step: int) -> int:
    """The next multiple of a step."""
    return step * -(-number // step)


def _blocked(cost: NodeCost, product: Product, profile: Profile) -> float:
    """Seconds of a product by a library that fills channels up to blocks in convolutions."""
    (mode,) = profile.modes(cost.dtype, "matmul")
    speed = profile.peak[mode] * profile.relative.get(cost.family, 1.0)
    batch, rows, columns, depth = product
    if cost.family in _BLOCKED:
        block = int(profile.layout["block"])
        speed *= profile.layout["compute"]
        channels = depth // cost.taps
        if channels >= _FEWEST_CHANNELS:
            depth = cost.taps * _up(channels, block)
        columns = _up(columns, block)
    return 2.0 * batch * rows * columns * depth / speed


def _layout(cost: NodeCost, profile: Profile, mode: str) -> tuple[float, int]:
    """Seconds of copying a convolution's maps into the library's layout and back, and kernels."""
    if profile.tensor and mode in TENSOR_MODES and cost.family in _BLOCKED:
        return _padded(cost, profile) if cost.channels_last else _transposed(cost, profile)
    if not profile.layout or cost.family not in {*_BLOCKED, "depthwise"}:
        return 0.0, 0
    image = cost.reads[0][1]
    if cost.product is not None and cost.product.depth < _FEWEST_CHANNELS * cost.taps:
        image = 0  # an image's three channels are taken as they are
    seconds = 2 * (image + cost.written) / (profile.bandwidth * profile.layout["bandwidth"])
    return seconds, 0


def _padded(cost: NodeCost, profile: Profile) -> tuple[float, int]:
    """Seconds and kernels of filling up the channels of maps with channels innermost, and back.

    There are kernels for whole multiples of four. What the image is copied to is set to zero first.
    """
    size = ITEMSIZE.get(cost.dtype, _WORD)
    inner, outer = (size * channels for channels in cost.channels)
    image, result = cost.reads[0][1] / inner, cost.written / outer  # pixels
    seconds, kernels = 0.0, 0
    speed = profile.bandwidth * profile.tensor["transpose"]
    if cost.channels[0] % FEWEST_AT_ONCE:
        filled = _up(inner, VECTOR)
        seconds += image * ((inner + filled) / speed + filled / profile.bandwidth)
        kernels += 2
    if cost.channels[1] % FEWEST_AT_ONCE:
        seconds += result * (outer + _up(outer, VECTOR)) / speed
        kernels += 1
    return seconds, kernels


def _transposed(cost: NodeCost, profile: Profile) -> tuple[float, int]:
    """Seconds and kernels of the copies between plain maps and those with channels innermost.

    The image, the filters and the result are copied, in whole pieces; what the kernel counts with
    is set to zero first. If a pixel of the image has channels to be filled up, its copy is too.
    """
    size = ITEMSIZE.get(cost.dtype, _WORD)
    inner, outer = (size * channels for channels in cost.channels)
    image, result = cost.reads[0][1] / inner, cost.written / outer  # pixels
    copies = image * _up(inner, _PIECE), result * _up(outer, _PIECE)
    seconds = sum(_copying(2 * nbytes, profile) for nbytes in copies) / profile.tensor["transpose"]
    if inner % VECTOR == 0:
        return seconds, 4
    return seconds + image * _up(inner, VECTOR) / profile.bandwidth, 6


def _copying(nbytes: float, profile: Profile) -> float:
    """Seconds of a copy of which so many bytes are read and written, at the whole bandwidth.

    The next kernel, or the one before, has the half of them that no other sees; a cache keeps it.
    """
    seconds = nbytes / profile.bandwidth
    if profile.cache_bandwidth is None:
        return seconds
    kept = _kept(nbytes, profile)
    return kept * nbytes / profile.cache_bandwidth + (1 - kept) * seconds


def _kept(touched: float, profile: Profile) -> float:
    """The share of what was touched last that the cache still has: none of twice what it holds."""
    return min(1.0, max(0.0, 2.0 - touched / profile.cache)) if profile.cache else 0.0


def found_in_cache(costs: Sequence[NodeCost], index: int, profile: Profile) -> int:
    """Bytes that a node finds in the cache: of what the kernel just before it wrote.

    All of it if what the two read and the earlier wrote, each storage once, fits in the cache.
    """
    if profile.cache_bandwidth is None:
        return 0
    earlier = index - 1
    while earlier >= 0 and costs[earlier].family == "view":
        earlier -= 1
    if earlier < 0:
        return 0
    before, cost = costs[earlier], costs[index]
    touched = before.written
    if not (before.bias and profile.bias_pass):  # or else its last kernel touched the result alone
        touched += _beside(before.reads, before.writes)
    if cost.strided or cost.copied:
        return 0
    kept = _kept(touched + _beside(cost.reads, before.writes), profile)
    return int(kept * sum(nbytes for storage, nbytes in cost.reads if storage in before.writes))


def _beside(reads: Iterable[tuple[int, int]], writes: Sequence[int]) -> int:
    """Bytes that are read of storages that are not written."""
    return sum(nbytes for storage, nbytes in reads if storage not in writes)
