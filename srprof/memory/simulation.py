"""What a program allocates when it runs a network over images: traces through the allocator.

The images follow each other on one stream, and the allocator's state is carried over, so that
what an image needs depends on those before it. Pure functions of the traces; no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from srprof.errors import OutOfDeviceMemoryError
from srprof.memory.allocator import CachingAllocator, Peaks, SegmentInfo, Usage, new_allocator
from srprof.memory.model import Peak, counted
from srprof.memory.settings import Settings
from srprof.ops import row
from srprof.records import External, Node, Trace

#: Bytes of scratch that a node takes while it runs, on top of its outputs.
Workspace = Callable[[Node], int]
_OF_A_NETWORK = ("parameter", "buffer")
#: Workspaces that a call of a library makes it keep; cuBLASLt's calls have cuBLAS's handle.
KEPT_BY = {"cublas": ("cublas",), "cublaslt": ("cublas", "cublaslt")}


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """The allocator while one image is run. Sizes are in bytes.

    Attributes:
        peaks: from before its input is allocated until its result is dropped.
        peak_node: index of the node in which allocated was first largest; None if that was before
            the first node.
        allocated: at the end of each node, when its workspace is freed.
        libraries: bytes of the peak that libraries asked for, by `srprof.ops.Scratch`.
    """

    peaks: Peaks
    peak_node: int | None
    allocated: tuple[int, ...]
    libraries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the allocator did, as `CachingAllocator.observe` names it.

    Attributes:
        image, node: indices of what was being run, None while there was none.
    """

    action: str
    address: int
    nbytes: int
    image: int | None
    node: int | None


@dataclass(frozen=True)
class Simulation:
    """A program that loads a network and runs images, as the allocator sees it, in bytes.

    Attributes:
        settings: of the allocator; capacity: bytes that it could have, None if there is no limit.
        network: the allocator when the network is loaded.
        images: one entry for each trace, in order.
        construction: what the network's constructor did on the device; None if it left it alone.
        with_construction: the peaks are of the whole program; else its counters were set back when
            the network was built.
        segments: what is reserved at the program's end.
    """

    settings: Settings
    capacity: int | None
    network: Usage
    images: tuple[ImageUsage, ...]
    construction: ImageUsage | None = None
    with_construction: bool = True
    segments: tuple[SegmentInfo, ...] = ()

    @property
    def _peaks(self) -> list[Peaks]:
        return [usage.peaks for usage in self._usages]

    @property
    def _usages(self) -> list[ImageUsage]:
        built = self.construction if self.with_construction else None
        return [usage for usage in (*self.images, built) if usage is not None]

    @property
    def peak_allocated(self) -> int:
        """The prediction of `torch.cuda.max_memory_allocated()`."""
        return max(peaks.allocated for peaks in self._peaks)

    @property
    def peak_requested(self) -> int:
        """The most that the program asked for at once: `requested_bytes.all.peak`."""
        return max(peaks.requested for peaks in self._peaks)

    @property
    def peak_reserved(self) -> int:
        """The prediction of `torch.cuda.max_memory_reserved()`."""
        return max(peaks.reserved for peaks in self._peaks)

    @property
    def peak_image(self) -> int | None:
        """Index of the first image that needs the most; None if the constructor needs more."""
        peaks = [image.peaks.allocated for image in self.images]
        return peaks.index(max(peaks)) if max(peaks) == self.peak_allocated else None

    @property
    def peak_node(self) -> int | None:
        """The node of that image in which the peak is reached."""
        return None if self.peak_image is None else self.images[self.peak_image].peak_node

    @property
    def allocated(self) -> Peak:
        """The peak of what is allocated, and its node."""
        return Peak(self.peak_allocated, self.peak_node)

    @property
    def reserved(self) -> Peak:
        """The peak of what is reserved."""
        return Peak(self.peak_reserved, None)

    @property
    def at_peak(self) -> Usage:
        """What the peak is made of: requested, rounding and what was not split off."""
        return self._largest.peaks.at_allocated

    @property
    def libraries(self) -> Mapping[str, int]:
        """Bytes of what is requested at the peak that libraries asked for, by name."""
        return self._largest.libraries

    @property
    def _largest(self) -> ImageUsage:
        return max(self._usages, key=lambda usage: usage.peaks.allocated)

    @property
    def not_simulated(self) -> tuple[str, ...]:
        """Settings that were given and are left out."""
        return self.settings.left_out(self.capacity)


def simulate(
    traces: Sequence[Trace],
    settings: Settings | None = None,
    *,
    construction: Trace | None = None,
    with_construction: bool = True,
    capacity: int | None = None,
    workspace: Workspace | None = None,
    kept_workspaces: Mapping[str, int] | None = None,
    keep_input: bool = False,
    keep_result: bool = False,
    observe: Callable[[Event], None] | None = None,
) -> Simulation:
    """Load a network, then run it once for each trace.

    What is assumed of the program:

    - It loads parameters and buffers in the order of `Module.to`, then the network's other
      tensors, then allocates the input of the first image.
    - A node first makes its outputs, in order, then its workspace, which it frees before it ends.
      What is dead is freed before the next node, and the variables of `forward` when it returns.
    - What a call leaves in the network stays for the next where the traces are of one instance
      (a `Program`'s: each has in `carried` what it finds of the one before). Where they are of a
      fresh instance each, every call makes its caches anew, and they are freed when it returns.
    - `keep_input`, `keep_result`: a variable holds the last one until the next is made, as in
      `y = model(x)`. Without them each is dropped before the next image, as in the loop of the
      NTIRE challenge (test_demo.py, 2022), which has the image's path in the input's variable
      meanwhile and puts the result into main memory.

    Args:
        traces: of one network at any sizes of image, in the order of the images.
        settings: of the allocator; torch's defaults if not given.
        construction: what the constructor did on the device, before anything was loaded; if not
            given, what the first trace says of it.
        with_construction: whether its peak is one of the program's.
        capacity: as `new_allocator`.
        workspace: bytes that a node takes besides its outputs while it runs; none if not given.
        kept_workspaces: bytes that cuBLAS and cuBLASLt take at their first call and keep, by
            `srprof.ops.Scratch`; none if not given.
        observe: told of everything that the allocator does, in order.

    Raises:
        OutOfDeviceMemoryError: the capacity does not suffice; says at which image and node.
        ValueError: no traces, or traces of different networks.
    """
    if not traces:
        raise ValueError("there is no trace to simulate")
    _check_one_network(traces)
    first = traces[0]
    if construction is None and first.construction is not None:
        construction = first.construction.trace
        first = replace(first, carried=first.construction.found)
    settings = settings or Settings()
    program = Runner(
        new_allocator(settings, capacity),
        workspace,
        dict(kept_workspaces or {}),
        keep_input,
        keep_result,
    )
    if observe is not None:
        program.allocator.observe = lambda action, address, nbytes: observe(
            Event(action, address, nbytes, program.image, program.node)
        )
    try:
        built = None if construction is None else program.construct(construction)
        program.load(first)
        network = program.allocator.usage
        runs = (first, *traces[1:])
        images = tuple(program.run(run, follower) for run, follower in zip_longest(runs, runs[1:]))
    except OutOfDeviceMemoryError as error:
        raise error.during(program.image, program.node) from error
    segments = program.allocator.segments()
    return Simulation(settings, capacity, network, images, built, with_construction, segments)


def loading_order(externals: Iterable[External]) -> list[External]:
    """A network's tensors in the order in which `Module.to` and then the program move them.

    `Module.to` moves a module's children before its own parameters, and those before its buffers;
    other tensors that the run read (`constant`) come last. The order of a module's children is
    that of their first parameter, or of their first buffer where they have none.
    """
    externals = list(externals)
    own = [external for external in externals if external.role in _OF_A_NETWORK]
    return [*_of_module(own, 0), *(e for e in externals if e.role not in {*_OF_A_NETWORK, "input"})]


def _of_module(externals: Iterable[External], depth: int) -> Iterator[External]:
    """Those of a module so many names below the network, its children's first."""
    children: dict[str, list[External]] = {}
    own: list[External] = []
    for external in externals:
        names = external.name.split(".")[depth:]
        (own if len(names) == 1 else children.setdefault(names[0], [])).append(external)
    for child in children.values():
        yield from _of_module(child, depth + 1)
    yield from sorted(own, key=lambda external: external.role == "buffer")


def _check_one_network(traces: Sequence[Trace]) -> None:
    networks = [
        [(e.name, e.info.nbytes) for e in trace.externals if e.role in _OF_A_NETWORK]
        for trace in traces
    ]
    for index, (trace, network) in enumerate(zip(traces, networks, strict=True)):
        if not trace.carried and network != networks[0]:
            raise ValueError(
                f"trace {index} is of another network than trace 0: their parameters and buffers "
                "differ; simulate each network by itself"
            )


@dataclass(eq=False)
class Runner:
    """Runs a program, step by step. Blocks are known by their addresses.

    Attributes:
        to_be_kept: bytes that a library takes at its first call, which is to come.
        kept: those of libraries that made theirs.
        held: what is there between calls, by the last trace's storages.
        image, node: indices of what is being run, None if there is none.
    """

    allocator: CachingAllocator
    workspace: Workspace | None
    to_be_kept: dict[str, int]
    keep_input: bool
    keep_result: bool
    kept: dict[str, int] = field(default_factory=dict)
    image: int | None = None
    node: int | None = None
    held: dict[int, int] = field(default_factory=dict)
    input: list[int] = field(default_factory=list)
    result: list[int] = field(default_factory=list)

    def construct(self, trace: Trace) -> ImageUsage:
        """Run a constructor; what it leaves on the device is the network's, or a cache."""
        self.allocator.reset_peaks()
        schedule = _Schedule(trace)
        usage = self._nodes(trace, schedule, self.held)
        self._free(schedule.deaths[-1], self.held)
        return usage

    def load(self, trace: Trace) -> None:
        """Load what the first trace finds of its network and is not there yet."""
        self._take_over(trace)
        if trace.warm:
            self._keep([*self.to_be_kept])
        for external in loading_order(trace.externals):
            storage = external.info.storage
            if storage not in self.held and storage >= 0 and counted(trace.storages[storage]):
                self.held[storage] = self._allocate(trace, storage)

    def inputs(self, trace: Trace) -> list[int]:
        """Allocate the inputs of a run, for one or more."""
        return [self._allocate(trace, index) for index in _Schedule(trace).inputs]

    def replace_network(self, old: Trace, new: Trace) -> None:
        """As `Module.half`: each tensor makes its successor before it goes."""
        successors = {e.name: e.info.storage for e in new.externals if e.role in _OF_A_NETWORK}
        held: dict[int, int] = {}
        for external in loading_order(old.externals):
            successor = successors.get(external.name)
            if external.info.storage not in self.held or successor is None:
                continue
            if successor not in held:
                held[successor] = self._allocate(new, successor)
            self.drop([self.held.pop(external.info.storage)])
        self.drop([*self.held.values()])
        self.held = held

    def run(
        self, trace: Trace, follower: Trace | None = None, inputs: list[int] | None = None
    ) -> ImageUsage:
        """Run one image; what the caller does not keep is dropped before and after.

        Args:
            follower: the trace that comes next, None if this is the last.
            inputs: what `inputs` gave for it, which stay; else this run allocates its own.
        """
        self.image = 0 if self.image is None else self.image + 1
        self.allocator.reset_peaks()
        if self.image and trace.carried:
            self._take_over(trace)
        schedule = _Schedule(trace)
        own = self.inputs(trace) if inputs is None else inputs
        blocks = dict(zip(schedule.inputs, own, strict=True))
        self.drop(self.input)
        if self.image == 0 or trace.carried:  # others find what an earlier one left
            blocks |= _moved(self.held, schedule.leaving)
        usage = self._nodes(trace, schedule, blocks)
        if inputs is not None:
            _moved(blocks, schedule.inputs)
        self._after(schedule, blocks, keep=follower is not None and bool(follower.carried))
        return usage

    def _take_over(self, trace: Trace) -> None:
        """Know what is there by this trace's storages; what it does not find is gone."""
        held = self.held
        self.held = {i: held.pop(old) for i, old in trace.carried.items() if old in held}
        self.drop([*held.values()])

    def _nodes(self, trace: Trace, schedule: _Schedule, blocks: dict[int, int]) -> ImageUsage:
        """Run the nodes; freeing what is left changes nothing of what this gives."""
        peak, peak_node, libraries = self.allocator.peak_allocated, None, dict(self.kept)
        allocated = []
        for place, node in enumerate(trace.nodes):
            self.node = place
            self._free(schedule.deaths[place], blocks)
            for index in schedule.births[place]:
                blocks[index] = self._allocate(trace, index)
            scratch = self._enter_libraries(node)
            if self.allocator.peak_allocated > peak:
                peak, peak_node = self.allocator.peak_allocated, place
                libraries = self.kept | scratch
            allocated.append(self.allocator.allocated)
            if node.emptied is not None:
                gone = set(schedule.deaths[place + 1]).intersection(node.emptied)
                self._free(sorted(gone), blocks)
                self.allocator.release_cached()
        self.node = None
        return ImageUsage(self.allocator.peaks, peak_node, tuple(allocated), libraries)

    def _enter_libraries(self, node: Node) -> dict[str, int]:
        """What libraries take in a node; gives the scratch that made the peak higher, by library.

        Scratch is freed; what a handle keeps never is.
        """
        library = row(node.op).scratch
        self._keep(KEPT_BY.get(library, ()))
        if self.workspace is None:
            return {}
        peak, scratch = self.allocator.peak_allocated, self.workspace(node)
        self.allocator.free(self.allocator.allocate(scratch))
        return {library: scratch} if self.allocator.peak_allocated > peak else {}

    def _keep(self, names: Iterable[str]) -> None:
        """Libraries take what they keep from their first call on."""
        for name in names:
            if nbytes := self.to_be_kept.pop(name, 0):
                self.allocator.allocate(nbytes)
                self.kept[name] = nbytes

    def _after(self, schedule: _Schedule, blocks: dict[int, int], *, keep: bool) -> None:
        """Let go what `forward` and then the caller let go; `keep` what the network caches."""
        if keep:
            self.held |= _moved(blocks, schedule.cached)
        self._free(schedule.deaths[-1], blocks)
        self._free(schedule.cached, blocks)
        self.drop(self.result)
        self.result = [*_moved(blocks, schedule.results).values()]
        if not self.keep_result:
            self.drop(self.result)
        self.input = [*_moved(blocks, schedule.inputs).values()]
        if not self.keep_input:
            self.drop(self.input)

    def _allocate(self, trace: Trace, index: int) -> int:
        return self.allocator.allocate(trace.storages[index].nbytes)

    def _free(self, indices: Iterable[int], blocks: dict[int, int]) -> None:
        self.drop([*_moved(blocks, indices).values()])

    def drop(self, addresses: list[int]) -> None:
        """Free these blocks; the list is empty then."""
        for address in addresses:
            self.allocator.free(address)
        addresses.clear()


def _moved(blocks: dict[int, int], indices: Iterable[int]) -> dict[int, int]:
    """The blocks of these storages, as far as they are there, taken out of the others."""
    return {index: blocks.pop(index) for index in indices if index in blocks}


class _Schedule:
    """When the storages of a run come and go.

    Attributes:
        births, deaths: by node, the storages to allocate in it and to free before it; the last
            entry of deaths is what to free when the last node has ended.
        inputs: there before the first node, and made for this run.
        results: what the caller gets, and lets go.
        leaving: what the network had before the run and has no more after it.
        cached: what the run leaves in the network.
    """

    def __init__(self, trace: Trace) -> None:
        end = len(trace.nodes)
        self.births: list[list[int]] = [[] for _ in range(end)]
        self.deaths: list[list[int]] = [[] for _ in range(end + 1)]
        self.inputs, self.results = list[int](), list[int]()
        self.leaving, self.cached = set[int](), set[int]()
        for index, storage in enumerate(trace.storages):
            if storage.resident or not counted(storage):
                continue
            if storage.birth >= 0:
                self.births[storage.birth].append(index)
            elif storage.role == "input":
                self.inputs.append(index)
            else:
                self.leaving.add(index)
            outlives = storage.death >= end
            if outlives and storage.cached:
                self.cached.add(index)
            elif outlives and storage.returned:
                self.results.append(index)
            elif not (outlives and storage.role == "input"):
                self.deaths[min(max(storage.death, storage.birth + 1), end)].append(index)
