"""The ledger of a run: every storage that its tensors had, from birth to death.

A storage's death is seen through a weak reference to its Python object, which torch keeps for as
long as the C++ storage lives. The ledger holds no storage itself.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field
from functools import partial

import torch

from srprof.records import RESIDENT_ROLES, Role, Storage

#: Roles whose storages come and go with the run.
_TRANSIENT = frozenset({"activation", "input"})


@dataclass(slots=True, eq=False)
class Lifetime:
    """A storage while the run goes on; `freeze` makes the record of it. A `death` of -1 is none."""

    nbytes: int
    role: Role
    birth: int
    host: bool
    name: str
    death: int = -1
    returned: bool = False
    cached: bool = False
    uses: list[int] = field(default_factory=list)

    def freeze(self, end: int) -> Storage:
        """The record; `end` is the death of what outlived the run."""
        death = end if self.death < 0 else self.death
        span = (self.nbytes, self.role, self.birth, death, tuple(self.uses))
        return Storage(*span, self.returned, self.host, self.name, self.cached)


class Ledger:
    """Storages by index, in the order in which they were first seen.

    Attributes:
        device: type of the device that the model's tensors are on.
        clock: number of calls that have ended; the recorder advances it.
        live: bytes on the device that live now, without the resident ones.
        carried: storages that the ledger of the run before has too, by their index there.
    """

    def __init__(self, device: str, before: Ledger | None = None) -> None:
        self.device = device
        self.carried: dict[int, int] = {}
        self._before = before
        self._kept_inputs: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}
        self.clock = 0
        self.live = 0
        self.lifetimes: list[Lifetime] = []
        self._index_by_id: dict[int, int] = {}
        self._watched: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __len__(self) -> int:
        return len(self.lifetimes)

    def index_of(self, tensor: torch.Tensor) -> int | None:
        """Index of the tensor's storage, None if it was not seen yet or there is none."""
        try:
            return self.known(tensor.untyped_storage())
        except NotImplementedError:  # sparse and other layouts without one storage
            return None

    def known(self, storage: torch.UntypedStorage) -> int | None:
        """Index of a storage, None if it was not seen."""
        index = self._index_by_id.get(id(storage))
        return index if index is not None and self.lifetimes[index].death < 0 else None

    def register(self, tensor: torch.Tensor, role: Role, birth: int, name: str = "") -> int:
        """Index of the tensor's storage, a new one if it is not known or has another size.

        -1 for layouts without one storage.
        """
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:
            return -1
        nbytes, known = storage.nbytes(), self.known(storage)
        if known is not None:
            if self.lifetimes[known].nbytes == nbytes:
                return known
            self._end_life(known)  # resized: the old block is gone
        host = self.device != "cpu" and tensor.is_cpu
        index = self._enter(storage, Lifetime(nbytes, role, birth, host, name))
        if role in _TRANSIENT and not host:
            self.live += nbytes
        return index

    def _enter(self, storage: torch.UntypedStorage, lifetime: Lifetime) -> int:
        """Watch a storage from now on; gives its index."""
        index = len(self.lifetimes)
        self.lifetimes.append(lifetime)
        earlier = None if self._before is None else self._before.known(storage)
        kept, number = self._kept_inputs.get(id(storage), (None, None))
        if kept is not None and kept() is storage:
            earlier = number
        if earlier is not None:
            self.carried[index] = earlier
        self._index_by_id[id(storage)] = index
        self._watched[index] = weakref.ref(storage, partial(self._end_life, index))
        return index

    def take_over(self) -> None:
        """Enter what the run before has left, as constants, and forget that run's ledger."""
        if self._before is None:
            return
        for index, watched in sorted(self._before._watched.items()):
            storage, lifetime = watched(), self._before.lifetimes[index]
            if storage is None:
                continue
            if lifetime.role == "input":  # that the model keeps: known if it is used, else left out
                self._kept_inputs[id(storage)] = watched, index
            elif self.known(storage) is None:
                cache = Lifetime(lifetime.nbytes, "constant", -1, lifetime.host, lifetime.name)
                self._enter(storage, cache)
        self._before.forget()
        self._before = None

    def add_number(self, nbytes: int) -> int:
        """A number that torch wraps in a tensor of main memory for the current call.

        Gives its bytes if that counts.
        """
        host = self.device != "cpu"
        number = Lifetime(nbytes, "activation", self.clock, host, "number", death=self.clock + 1)
        self.lifetimes.append(number)
        return 0 if host else nbytes

    def mark_caches(self) -> None:
        """Find what outlives the call, when the caller has let go what he got of it."""
        alive = [s for s in self.lifetimes if s.death < 0 and s.role == "activation"]
        if alive:
            # What only a reference cycle holds is no cache. The collector rests during a run, so
            # that all of the run is young; to look at the old objects too takes half a second.
            gc.collect(1)
        for lifetime in alive:
            lifetime.cached = lifetime.death < 0

    def release_residents(self) -> list[Lifetime]:
        """Make the residents that the run let go, as a replaced cache, activations; gives them."""
        gone = [s for s in self.lifetimes if s.role in RESIDENT_ROLES and s.death >= 0]
        for lifetime in gone:
            lifetime.role = "activation"
        return gone

    def freeze(self) -> tuple[Storage, ...]:
        """The records, at the end of the run."""
        return tuple(lifetime.freeze(self.clock) for lifetime in self.lifetimes)

    def forget(self) -> None:
        """Stop watching storages, which otherwise keeps the ledger in reference cycles."""
        self._watched.clear()

    def _end_life(self, index: int, _storage: object = None) -> None:
        lifetime = self.lifetimes[index]
        if lifetime.death >= 0:
            return
        lifetime.death = self.clock
        self._watched.pop(index, None)
        if lifetime.role in _TRANSIENT and not lifetime.host:
            self.live -= lifetime.nbytes
