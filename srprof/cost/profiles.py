"""Device profiles: what a device can do, as its datasheet, a fit or a calibration says.

The profiles that come with srprof are in `profiles.toml`, each figure with its source; a user's
own profile is a TOML file with one profile at its top level.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from srprof.codec import DecodeError, JsonObject, Note, decode, encode, mismatch
from srprof.cost.classes import TILES
from srprof.errors import InputError
from srprof.files import read_toml
from srprof.ops import FAMILIES
from srprof.rules import Count, entries, known, not_negative, positive, rule, share
from srprof.shown import Shown
from srprof.words import MIB, did_you_mean

#: Modes of arithmetic that a profile may give a peak for.
MODES = ("float64", "float32", "tf32", "float16", "bfloat16")

#: What a profile's `compute` table may hold.
COMPUTE_KEYS = (*(f"{kind}_{tile}" for kind in ("tile", "tensor") for tile in TILES), "depthwise")
#: Families that run in the same tiles and may reach less in them.
RELATIVE_KEYS = ("conv1x1", "grouped", "matmul")
SHARE_KEYS = (*FAMILIES, "strided")
#: Modes that tensor cores compute in.
TENSOR_MODES = frozenset({"tf32", "float16", "bfloat16"})
#: What the host needs for an ATen call, each kernel's launch, a view and a module's call; and the
#: bytes a second that it works on and that it copies to and from the device.
HOST_TIMES, HOST_RATES = ("op", "kernel", "view", "module"), ("cpu", "copy")
SPREAD_KEYS = ("common", *FAMILIES, "strided", "launch")
#: Tables of the packaged file that are no devices.
_LAYERS = frozenset({"default", "tensor_cores"})
_OF_A_FIT = frozenset({"held_out_error", "held_out_rms", "fitted", "names", "command", "note"})
#: What a file says of a profile beside its figures.
_ABOUT = frozenset({"base", "names", "calibrate"})

#: What a cache serves is faster than the memory.
_COPIES = Annotated[float, share(5)]
#: A card's clock may run above the boost clock that its datasheet's peak is at.
_SHARE = Annotated[float, share(1.5)]
_CHANNELS = Annotated[float, rule("a whole number of channels", lambda n: n > 0 and n % 1 == 0)]
_PEAKS = "a table of TFLOP/s by mode, such as float32 = 11.3"
_TERA = 1e12
_CAPABILITY = rule("a compute capability, such as [9, 0]", lambda pair: pair[0] > 0 <= pair[1])
_TFLOPS = Annotated[float, positive("TFLOP/s", _TERA)]

_Layout = entries(lambda: {"block": _CHANNELS, "compute": _SHARE, "bandwidth": _COPIES}, whole=True)
_Tensor = entries(lambda: {"transpose": _COPIES, "unaligned": _SHARE, "odd": _SHARE})
_HOST_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(HOST_TIMES, Annotated[float, not_negative("us", 1e-6)]),
    **dict.fromkeys(HOST_RATES, Annotated[float, positive("GB/s", 1e9)]),
}
_Host = entries(lambda: _HOST_KINDS)
_Families = tuple[Annotated[str, known(lambda: FAMILIES)], ...]


def _each(keys: Iterable[str], kind: Any) -> Note:
    """A table of figures of one kind."""
    return entries(lambda: dict.fromkeys(keys, kind))


@dataclass(frozen=True, kw_only=True, repr=False)
class Profile(Shown):
    """What a device can do, in SI units.

    Attributes:
        name: as `--profile` takes it. title: as people call it.
        peak: FLOP/s by mode of arithmetic (a multiply-add is two); `tf32` is open to float32
            convolutions where the device has it.
        bandwidth: bytes a second to the device's memory.
        cache: bytes of the last-level cache. cache_bandwidth: bytes a second from it, None if
            no public figure exists; then the cache is left out of the estimate.
        memory: bytes. sms: streaming multiprocessors (a CPU's cores).
        capability: CUDA's compute capability, by which libraries choose what they take of the
            memory; None if it is no GPU, or not known.
        allocates_workspaces: cuBLAS's come from torch's allocator, as since torch 1.13.
        launch: seconds that each kernel costs beyond its work; with a `gap`, of the host's time
            instead, for each operation and for each kernel.
        gap: seconds from one kernel to the next while the host is ahead of the device; None if
            the device waits for each launch.
        wave: seconds that a wave of tiles takes beyond its arithmetic; None to leave them out.
        start: seconds that a kernel takes before it works and after; None to leave them out.
        gather: values a second that resampling and pooling read; None to count bytes alone.
        serial: seconds of one of the reads that a thread does one after another; None to leave
            them out.
        bias_pass: a convolution's bias is added in a kernel of its own.
        compute: share of the peak reached by tiles of 32, 64 and 128 output channels (`tile_`
            outside tensor cores, `tensor_` in them) and by depthwise convolutions.
        relative: what 1x1 and grouped convolutions and matrix products reach of a tile's share.
        bandwidth_share: share of the bandwidth reached, by family of operation classes, and by
            reads across the grain (`strided`).
        layout: of a library with blocks of channels, as oneDNN: `block`, channels in one;
            `compute`, share of the peak reached in it; `bandwidth`, share reached by the copies
            into that layout and back. With it, `relative` is the share of the peak itself for what
            is not computed in blocks. Empty if there is none.
        tensor: of tensor cores: `transpose`, share of the bandwidth reached by the copies of plain
            maps to channels innermost and back; `unaligned`, what is reached of a tile's share
            where a pixel's channels are no multiple of 32 bytes; `odd`, what 1x1 convolutions reach
            whose maps are no multiple of 16 bytes. Empty if there are none.
        host: of the machine that the device is in, with a `gap`: seconds for each ATen call
            (`op`) and `kernel` beyond it, both `launch` where they are left out, for a `view` and a
            `module`'s call; bytes a second that its processor works on (`cpu`), and that are copied
            between the two memories (`copy`).
        spread: relative standard deviation of a family's time, `common` for all together.
        held_out_error: mean relative error on networks that a fit did not see, None if not
            fitted. held_out_rms: root mean square of the same, for the uncertainty.
        fitted: the families that the fit saw.
        table: measured operations that correct the estimate: one that comes with srprof by name, or
            the path of a file that `srprof calibrate --table` wrote; "" for none.
        command: what made a fitted profile. source: where each figure comes from.
    """

    view = "devices"

    name: str
    title: str
    bandwidth: Annotated[float, positive("GB/s", 1e9)]
    cache: Annotated[float, not_negative("MiB", MIB)]
    cache_bandwidth: Annotated[float | None, positive("GB/s", 1e9)] = None
    memory: Annotated[float, positive("GiB", 2**30)]
    sms: Count
    capability: Annotated[tuple[int, int] | None, _CAPABILITY] = None
    allocates_workspaces: bool = True
    launch: Annotated[float, not_negative("us", 1e-6)]
    gap: Annotated[float | None, not_negative("us", 1e-6)] = None
    wave: Annotated[float | None, not_negative("us", 1e-6)] = None
    start: Annotated[float | None, not_negative("us", 1e-6)] = None
    gather: Annotated[float | None, positive("10^9/s", 1e9)] = None
    serial: Annotated[float | None, not_negative("ns", 1e-9)] = None
    held_out_error: Annotated[float | None, not_negative()] = None
    held_out_rms: Annotated[float | None, not_negative()] = None
    bias_pass: bool = True
    fitted: _Families = ()
    table: str = ""
    command: str = ""
    note: str = ""
    peak: Annotated[Mapping[str, float], _each(MODES, _TFLOPS), rule(_PEAKS, bool)]
    compute: Annotated[Mapping[str, float], _each(COMPUTE_KEYS, _SHARE)]
    relative: Annotated[Mapping[str, float], _each(RELATIVE_KEYS, _SHARE)]
    bandwidth_share: Annotated[Mapping[str, float], _each(SHARE_KEYS, _COPIES)]
    layout: Annotated[Mapping[str, float], _Layout] = field(default_factory=dict)
    tensor: Annotated[Mapping[str, float], _Tensor] = field(default_factory=dict)
    host: Annotated[Mapping[str, float], _Host] = field(default_factory=dict)
    spread: Annotated[Mapping[str, float], _each(SPREAD_KEYS, Annotated[float, not_negative()])]
    source: Mapping[str, str] = field(default_factory=dict)

    def modes(self, dtype: str, family: str) -> tuple[str, ...]:
        """The modes of arithmetic in which PyTorch may run a family of operations of a dtype.

        An InputError if the profile has no peak for the dtype.
        """
        if dtype not in self.peak:
            raise InputError(
                f"profile {self.name} has no peak for {dtype or 'this dtype'}; it has "
                f"{', '.join(self.peak)}: choose one of these, or another profile"
            )
        # torch.backends.cudnn.allow_tf32 is on by default, torch.backends.cuda.matmul's is off.
        if dtype == "float32" and "tf32" in self.peak and family != "matmul":
            return dtype, "tf32"
        return (dtype,)

    @property
    def figures(self) -> tuple[object, ...]:
        """What tells a device from another as the physical model sees them."""
        return self.bandwidth, self.sms, self.cache, *sorted(self.peak.items())

    @property
    def in_tensor_cores(self) -> tuple[str, ...]:
        """Dtypes of convolutions that cuDNN computes in tensor cores, as torch sets it up."""
        if self.capability is None:
            return ()
        return tuple(dtype for dtype in self.peak if TENSOR_MODES & {*self.modes(dtype, "conv")})

    def with_values(self, values: Mapping[str, float]) -> Profile:
        """This device with some figures replaced, by dotted key.

        Args:
            values: `launch`, `bandwidth` and the like in SI units, `compute.tile_64`,
                `bandwidth_share.norm`; a table's name alone multiplies all its entries.
        """
        changed: dict[str, Any] = {}
        for key in sorted(values, key=lambda key: "." not in key):  # entries, then factors
            table, _, entry = key.partition(".")
            now = changed.get(table, getattr(self, table))
            if entry:
                changed[table] = {**now, entry: values[key]}
            elif isinstance(now, Mapping):
                changed[table] = {name: values[key] * value for name, value in now.items()}
            else:
                changed[table] = values[key]
        return replace(self, **changed)


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that come with srprof, also those without figures of their own."""
    return tuple(name for name in _packaged() if name not in _LAYERS)


def profile_titles() -> Mapping[str, str]:
    """Title by name of the profiles that come with srprof."""
    return {name: _packaged()[name]["title"] for name in profile_names()}


def needs_calibration(name: str) -> bool:
    """Whether a packaged profile has no figures until it is calibrated on the spot."""
    return bool(_packaged().get(name, {}).get("calibrate"))


def profile_of(hardware: str) -> str | None:
    """The packaged profile of a device by torch's name of it; None if there is none for sure.

    A profile is of one variant: `NVIDIA GeForce RTX 3090 Ti` is no `NVIDIA GeForce RTX 3090`.
    """
    for name in profile_names():
        known = map(str.casefold, _packaged()[name].get("names", ()))
        if hardware.casefold() in known:
            return name
    return None


def renamed(profile: Any, device: Any, level: int = 3) -> Any:
    """The argument `profile` of a function, whose older name is `device`; `level` as of `warn`."""
    if device is not None:
        warnings.warn("the argument device= is profile= now", DeprecationWarning, stacklevel=level)
    return device if profile is None else profile


def read_profile(
    profile: str | Profile | None, device: str | Profile | None = None
) -> Profile | None:
    """The profile that a function is given: itself, by name, or None for no prediction.

    `device` is what the argument's older name has, which is warned about. Raises as `load_profile`.
    """
    given = renamed(profile, device, 4)
    return load_profile(given) if isinstance(given, str) else given


def load_profile(name: str) -> Profile:
    """A device profile by name, or from a user's own TOML file.

    Args:
        name: one of `profile_names()`, or a path that ends in `.toml`.

    Raises:
        InputError: no such profile or file, or it has missing or impossible values.
    """
    if name.endswith(".toml"):
        source = f"device profile {Path(name)}"
        profile = parse_profile(Path(name).stem, read_toml(name, source), source)
        beside = Path(name).parent / profile.table
        return replace(profile, table=str(beside)) if beside.is_file() else profile
    if name not in profile_names():
        near = did_you_mean(name, profile_names(), count=3, cutoff=0.4)
        known = near or f"known: {', '.join(profile_names())}."
        raise InputError(f"unknown profile {name!r}: {known} A file's name must end in .toml")
    if needs_calibration(name):
        raise InputError(
            f"profile {name} has no datasheet: run `srprof calibrate --device {name} -o "
            f"{name}.toml` here, then give --profile {name}.toml"
        )
    return _packaged_profile(name)


@cache
def _packaged() -> JsonObject:
    return read_toml(Path(__file__).with_name("profiles.toml"))


@cache
def _packaged_profile(name: str) -> Profile:
    return parse_profile(name, _packaged()[name], where=f"profile {name}")


def parse_profile(name: str, table: Mapping[str, object], where: str) -> Profile:
    """Validate a profile.

    Args:
        table: as TOML gives it; `base` names a packaged profile whose figures it starts from.
        where: names the profile in messages.

    Raises:
        InputError: a value is missing or impossible, or a key unknown; the message says which.
    """
    try:
        merged = {"title": name, **_merged(table)}
        figures = {key: value for key, value in merged.items() if key not in _ABOUT}
        profile = decode(Profile, figures, strict=True, name=name)
        if (profile.cache_bandwidth or profile.bandwidth) < profile.bandwidth:
            wanted = "at least the bandwidth"
            raise mismatch(merged["cache_bandwidth"], wanted).under("cache_bandwidth")
    except DecodeError as error:
        base = ", or a base that has it" if " is missing" in error.after else ""
        raise InputError(f"{where}: {error}{base}") from error
    return profile


def to_toml(profile: Profile, base: Profile | None = None, table: str = "") -> str:
    """A profile as TOML, in the units of `profiles.toml`.

    Args:
        base: a packaged profile; only what differs from it is written.
        table: name of the table that holds the profile, "" for the top level of a file.
    """
    lines = [f"[{table}]"] if table else []
    lines.append(f"title = {json.dumps(profile.title)}")
    lines += [f"base = {json.dumps(base.name)}"] if base else []
    tables, of_base = [], encode(base) if base else {}
    for key, value in encode(profile).items():
        was = of_base.get(key)
        if isinstance(value, dict):
            new = {k: v for k, v in value.items() if not was or was.get(k) != v}
            entries = [f"{k} = {_entry(key, v, k)}" for k, v in new.items()]
            tables += ["", f"[{f'{table}.' if table else ''}{key}]", *entries] if entries else []
        elif key not in ("name", "title") and (value != was or key in _OF_A_FIT):
            lines += [f"{key} = {_entry(key, value)}"] if value not in (None, "", []) else []
    return "\n".join([*lines, *tables]) + "\n"


def _entry(key: str, value: float | str | list[str], of: str = "") -> str:
    """A value as TOML has it; `of` is its key in the table `key`."""
    if isinstance(value, (bool, str, list)):
        return json.dumps(value)  # JSON's strings and lists are TOML's too
    units = _units()
    return f"{value / units.get(f'{key}.{of}', units.get(key, 1)):.4g}"


@cache
def _units() -> Mapping[str, float]:
    """By key, one of the file's unit in SI units."""
    kinds = get_type_hints(Profile, include_extras=True)
    notes = {key: note for key, kind in kinds.items() for note in get_args(kind)}
    scales = {key: note.scale for key, note in notes.items() if isinstance(note, Note)}
    of_host = {f"host.{key}": get_args(kind)[1].scale for key, kind in _HOST_KINDS.items()}
    known = {**scales, "peak": _TERA, **of_host}
    return {key: scale for key, scale in known.items() if scale}


def _merged(table: Mapping[str, object]) -> dict[str, object]:
    """The profile over its base over the defaults."""
    layers = [table]
    while "base" in layers[0]:
        base = layers[0]["base"]
        if base not in profile_names() or needs_calibration(base):
            near = did_you_mean(str(base), profile_names(), cutoff=0.4)
            raise mismatch(base, f"a known device{near and f'; {near}'}").under("base")
        # What is said of a fit holds for that profile only.
        layers.insert(0, {k: v for k, v in _packaged()[base].items() if k not in _OF_A_FIT})
    defaults = [_packaged()["default"]]
    # A CPU may compute in bfloat16 too; its library has a layout of its own.
    blocked = any(_table(layer, "layout") for layer in layers)
    if not blocked and any(TENSOR_MODES & {*_table(layer, "peak")} for layer in layers):
        defaults.append(_packaged()["tensor_cores"])
    merged: dict[str, object] = {}
    for layer in (*defaults, *layers):
        for key, value in layer.items():
            was = merged.get(key)
            if isinstance(value, Mapping) and isinstance(was, Mapping):
                merged[key] = {**was, **value}
            else:
                merged[key] = value
    return merged


def _table(layer: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = layer.get(key)
    return table if isinstance(table, Mapping) else {}
