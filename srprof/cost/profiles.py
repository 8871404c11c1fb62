"""Device profiles: what a device can do, as its datasheet, a fit or a calibration says.

The profiles that come with srprof are in `profiles.toml`, each figure with its source; a user's
own profile is a TOML file with one profile at its top level.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from srprof.cost.classes import TILES
from srprof.errors import InputError
from srprof.ops import FAMILIES
from srprof.shown import Shown
from srprof.toml import check_keys, read_toml
from srprof.words import did_you_mean

#: Modes of arithmetic that a profile may give a peak for.
MODES = ("float64", "float32", "tf32", "float16", "bfloat16")

#: What a profile's `compute` table may hold.
COMPUTE_KEYS = (
    *(f"{kind}_{tile}" for kind in ("tile", "tensor") for tile in TILES),
    "depthwise",
)
#: Families that run in the same tiles and may reach less in them.
RELATIVE_KEYS = ("conv1x1", "grouped", "matmul")
SHARE_KEYS = (*FAMILIES, "strided")
#: Of a library that computes convolutions in blocks of channels.
LAYOUT_KEYS = ("block", "compute", "bandwidth")
#: Modes that tensor cores compute in, and what a profile says of convolutions in them.
TENSOR_MODES = frozenset({"tf32", "float16", "bfloat16"})
TENSOR_KEYS = ("transpose", "unaligned")
SPREAD_KEYS = ("common", *FAMILIES, "strided", "launch")
_TABLES: Mapping[str, tuple[str, ...]] = {
    "peak": MODES,
    "compute": COMPUTE_KEYS,
    "relative": RELATIVE_KEYS,
    "bandwidth_share": SHARE_KEYS,
    "layout": LAYOUT_KEYS,
    "tensor": TENSOR_KEYS,
    "spread": SPREAD_KEYS,
}
#: Single figures: the unit that the file is in, and its value in SI units.
_FIGURES: Mapping[str, tuple[str, float]] = {
    "bandwidth": ("GB/s", 1e9),
    "cache": ("MiB", 2**20),
    "cache_bandwidth": ("GB/s", 1e9),
    "memory": ("GiB", 2**30),
    "sms": ("", 1),
    "launch": ("us", 1e-6),
    "gap": ("us", 1e-6),
    "wave": ("us", 1e-6),
    "gather": ("10^9/s", 1e9),
    "held_out_error": ("", 1),
    "held_out_rms": ("", 1),
}
_OPTIONAL = frozenset(
    {"cache_bandwidth", "gap", "wave", "gather", "held_out_error", "held_out_rms"}
)
_MAY_BE_ZERO = frozenset({"launch", "gap", "wave", "cache", "held_out_error", "held_out_rms"})
#: Tables of the packaged file that are no devices.
_LAYERS = frozenset({"default", "tensor_cores"})
_TEXTS = ("command", "note")
_OF_A_FIT = frozenset({"held_out_error", "held_out_rms", "fitted", "names", *_TEXTS})
_OTHERS = ("title", "names", "base", "bias_pass", "fitted", *_TEXTS, "source", "calibrate")


@dataclass(frozen=True, repr=False)
class Profile(Shown):
    """What a device can do, in SI units.

    Attributes:
        name: as `--device` takes it. title: as people call it.
        peak: FLOP/s by mode of arithmetic (a multiply-add is two); `tf32` is open to float32
            convolutions where the device has it.
        bandwidth: bytes a second to the device's memory.
        cache: bytes of the last-level cache. cache_bandwidth: bytes a second from it, None if
            no public figure exists; then the cache is left out of the estimate.
        memory: bytes. sms: streaming multiprocessors (a CPU's cores).
        launch: seconds that each kernel costs beyond its work; with a `gap`, of the host's time
            instead, for each operation and for each kernel.
        gap: seconds from one kernel to the next while the host is ahead of the device; None if
            the device waits for each launch.
        wave: seconds that a wave of tiles takes beyond its arithmetic: until its first data has
            come, and to write its last; None to count the arithmetic alone.
        gather: values a second that resampling and pooling read; None to count bytes alone.
        bias_pass: a convolution's bias is added in a kernel of its own.
        compute: share of the peak reached by tiles of 32, 64 and 128 output channels (`tile_`
            outside tensor cores, `tensor_` in them) and by depthwise convolutions.
        relative: what 1x1 and grouped convolutions and matrix products reach of a tile's share.
        bandwidth_share: share of the bandwidth reached, by family of operation classes, and by
            reads across the grain (`strided`).
        layout: of a library that computes convolutions in blocks of channels, as oneDNN does on a
            CPU: `block`, channels in one; `compute`, share of the peak reached in it; `bandwidth`,
            share reached by the copies into that layout and back. Empty if there is none; with
            it, `relative` is the share of the peak itself for what is not computed in blocks.
        tensor: of convolutions in tensor cores, which take maps with the channels innermost:
            `transpose`, share of the bandwidth reached by the copies of plain maps into that
            layout and back; `unaligned`, what is reached of a tile's share where a pixel's
            channels are no multiple of 32 bytes. Empty if there are no tensor cores.
        spread: relative standard deviation of a family's time, `common` for all together.
        held_out_error: mean relative error on networks that a fit did not see, None if not
            fitted. held_out_rms: root mean square of the same, for the uncertainty.
        fitted: the families that the fit saw.
        command: what made a fitted profile. source: where each figure comes from.
    """

    view = "devices"

    name: str
    title: str
    peak: Mapping[str, float]
    bandwidth: float
    cache: float
    memory: float
    sms: int
    launch: float
    compute: Mapping[str, float]
    relative: Mapping[str, float]
    bandwidth_share: Mapping[str, float]
    spread: Mapping[str, float]
    layout: Mapping[str, float] = field(default_factory=dict)
    tensor: Mapping[str, float] = field(default_factory=dict)
    bias_pass: bool = True
    cache_bandwidth: float | None = None
    gap: float | None = None
    wave: float | None = None
    gather: float | None = None
    held_out_error: float | None = None
    held_out_rms: float | None = None
    fitted: tuple[str, ...] = ()
    command: str = ""
    note: str = ""
    source: Mapping[str, str] = field(default_factory=dict)

    def modes(self, dtype: str, family: str) -> tuple[str, ...]:
        """The modes of arithmetic in which PyTorch may run a family of operations of a dtype.

        Raises:
            InputError: the profile has no peak for the dtype.
        """
        if dtype not in self.peak:
            raise InputError(
                f"device {self.name} has no peak for {dtype or 'this dtype'}; it has "
                f"{', '.join(self.peak)}: choose one of these, or another device"
            )
        # torch.backends.cudnn.allow_tf32 is on by default, torch.backends.cuda.matmul's is off.
        if dtype == "float32" and "tf32" in self.peak and family != "matmul":
            return dtype, "tf32"
        return (dtype,)

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


def device_names() -> tuple[str, ...]:
    """Names of the profiles that come with srprof, also those without figures of their own."""
    return tuple(name for name in _packaged() if name not in _LAYERS)


def device_titles() -> Mapping[str, str]:
    """Title by name of the profiles that come with srprof."""
    return {name: _packaged()[name]["title"] for name in device_names()}


def needs_calibration(name: str) -> bool:
    """Whether a packaged profile has no figures until it is calibrated on the spot."""
    return bool(_packaged().get(name, {}).get("calibrate"))


def device_like(hardware: str) -> str | None:
    """The packaged profile of a device that calls itself so; None if there is none for sure.

    A profile is of one variant: `NVIDIA GeForce RTX 3090 Ti` is no `NVIDIA GeForce RTX 3090`, and
    `NVIDIA H100 PCIe` is no `NVIDIA H100 80GB HBM3`.

    Args:
        hardware: as `torch.cuda.get_device_properties(0).name` has it.
    """
    wanted = hardware.casefold()
    for name in device_names():
        if wanted in (known.casefold() for known in _packaged()[name].get("names", ())):
            return name
    return None


def load_profile(name: str) -> Profile:
    """A device profile by name, or from a user's own TOML file.

    Args:
        name: one of `device_names()`, or a path that ends in `.toml`.

    Raises:
        InputError: no such device or file, or the profile has missing or impossible values.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    if name not in device_names():
        near = did_you_mean(name, device_names(), count=3, cutoff=0.4)
        known = near or f"known: {', '.join(device_names())}."
        raise InputError(f"unknown device {name!r}: {known} A file's name must end in .toml")
    if needs_calibration(name):
        raise InputError(
            f"device {name} has no datasheet: run `srprof calibrate --device {name} -o "
            f"{name}.toml` here, then give --device {name}.toml"
        )
    return _packaged_device(name)


@cache
def _packaged() -> Mapping[str, Mapping[str, Any]]:
    return read_toml(Path(__file__).with_name("profiles.toml"), "profiles")


@cache
def _packaged_device(name: str) -> Profile:
    return parse_device(name, _packaged()[name], where=f"profile {name}")


def _read(path: Path) -> Profile:
    table = read_toml(path, "device profile")
    return parse_device(path.stem, table, where=f"device profile {path}")


def parse_device(name: str, table: Mapping[str, Any], where: str) -> Profile:
    """Validate a profile.

    Args:
        name: of the device. table: the profile as TOML gives it; `base` names a packaged
            profile whose figures it starts from.
        where: names the profile in messages.

    Raises:
        InputError: a value is missing, impossible, or has an unknown key; the message says
            which.
    """
    check_keys(table, (*_FIGURES, *_TABLES, *_OTHERS), where)
    merged = _merged(table, where)
    values: dict[str, Any] = {}
    for key, (unit, scale) in _FIGURES.items():
        if key in merged:
            values[key] = _number(merged[key], key, where, key in _MAY_BE_ZERO) * scale
        elif key not in _OPTIONAL:
            _missing(key, f"a number{f' of {unit}' if unit else ''}", where)
    if values["sms"] != int(values["sms"]):
        _impossible("sms", merged["sms"], "a whole number", where)
    values["sms"] = int(values["sms"])
    if values.get("cache_bandwidth", values["bandwidth"]) < values["bandwidth"]:
        _impossible("cache_bandwidth", merged["cache_bandwidth"], "at least the bandwidth", where)
    for key, entries in _TABLES.items():
        values[key] = _entries(merged.get(key, {}), key, entries, where)
    if not values["peak"]:
        _missing("peak", "a table of TFLOP/s by mode, such as float32 = 11.3", where)
    values["peak"] = {mode: 1e12 * peak for mode, peak in values["peak"].items()}
    _check_layout(values["layout"], where)
    return Profile(name=name, **values, **_texts(merged, name, where))


def _check_layout(layout: Mapping[str, float], where: str) -> None:
    if not layout:
        return
    for key in LAYOUT_KEYS:
        if key not in layout:
            _missing(f"layout.{key}", "a number", where)
    if layout["block"] != int(layout["block"]):
        _impossible("layout.block", layout["block"], "a whole number of channels", where)


def to_toml(device: Profile, base: Profile | None = None, table: str = "") -> str:
    """A profile as TOML, in the units of `profiles.toml`.

    Args:
        base: a packaged profile; only what differs from it is written.
        table: name of the table that holds the profile, "" for the top level of a file.
    """
    lines = [f"[{table}]"] if table else []
    lines.append(f"title = {_quoted(device.title)}")
    if base is not None:
        lines.append(f"base = {_quoted(base.name)}")
    for key, (_, scale) in _FIGURES.items():
        value = getattr(device, key)
        if value is not None and (base is None or value != getattr(base, key)):
            lines.append(f"{key} = {value / scale:.4g}")
    if base is None or device.bias_pass != base.bias_pass:
        lines.append(f"bias_pass = {str(device.bias_pass).lower()}")
    if device.fitted:
        lines.append(f"fitted = [{', '.join(map(_quoted, device.fitted))}]")
    lines += [f"{k} = {_quoted(getattr(device, k))}" for k in _TEXTS if getattr(device, k)]
    for key in (*_TABLES, "source"):
        now = getattr(device, key)
        was = {} if base is None else getattr(base, key)
        entries = [f"{k} = {_entry(key, v)}" for k, v in now.items() if was.get(k) != v]
        if entries:
            lines += ["", f"[{f'{table}.' if table else ''}{key}]", *entries]
    return "\n".join(lines) + "\n"


def _entry(table: str, value: float | str) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"{value / (1e12 if table == 'peak' else 1):.4g}"


def _quoted(text: str) -> str:
    # JSON's strings are TOML's basic strings.
    return json.dumps(text)


def _merged(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The profile over its base over the defaults."""
    layers = [table]
    while "base" in layers[0]:
        base = layers[0]["base"]
        if base not in device_names() or needs_calibration(base):
            near = did_you_mean(str(base), device_names(), cutoff=0.4)
            _impossible("base", base, f"a known device; {near}".rstrip("; "), where)
        # What is said of a fit holds for that profile only.
        layers.insert(0, {k: v for k, v in _packaged()[base].items() if k not in _OF_A_FIT})
    defaults = [_packaged()["default"]]
    # A CPU may compute in bfloat16 too; its library has a layout of its own.
    blocked = any(_table(layer, "layout") for layer in layers)
    if not blocked and any(TENSOR_MODES & {*_table(layer, "peak")} for layer in layers):
        defaults.append(_packaged()["tensor_cores"])
    merged: dict[str, Any] = {}
    for layer in (*defaults, *layers):
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = {**merged[key], **value}
            else:
                merged[key] = value
    return merged


def _table(layer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = layer.get(key)
    return table if isinstance(table, Mapping) else {}


def _texts(merged: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The entries of a profile that are not numbers."""
    bias_pass = merged["bias_pass"]
    if not isinstance(bias_pass, bool):
        _impossible("bias_pass", bias_pass, "true or false", where)
    fitted = merged.get("fitted", [])
    if not isinstance(fitted, list):
        _impossible("fitted", fitted, "a list of families", where)
    for family in fitted:
        if family not in FAMILIES:
            _impossible("fitted", family, f"one of {', '.join(FAMILIES)}", where)
    source = merged.get("source", {})
    if not isinstance(source, Mapping):
        _impossible("source", source, "a table", where)
    texts = {key: str(merged.get(key, "")) for key in _TEXTS}
    return {
        "title": str(merged.get("title", name)),
        "bias_pass": bias_pass,
        "fitted": tuple(fitted),
        "source": {str(key): str(value) for key, value in source.items()},
        **texts,
    }


def _entries(table: object, key: str, entries: tuple[str, ...], where: str) -> dict[str, float]:
    if not isinstance(table, Mapping):
        _impossible(key, table, "a table", where)
    check_keys(table, entries, where, f"{key}.")
    values = {}
    for entry in entries:
        if entry in table:
            name = f"{key}.{entry}"
            value = _number(table[entry], name, where, zero=key == "spread")
            if value > _most_share(key, entry):
                most = f"a share of at most {_most_share(key, entry):g}"
                _impossible(name, value, most, where)
            values[entry] = value
    return values


def _most_share(table: str, entry: str) -> float:
    """The largest share that is physically possible; infinite for what is no share."""
    copies = {("layout", "bandwidth"), ("tensor", "transpose")}
    if table == "bandwidth_share" or (table, entry) in copies:
        return 5.0  # what a cache serves is faster than the memory
    shares = {("layout", "compute"), ("tensor", "unaligned")}
    if table in {"compute", "relative"} or (table, entry) in shares:
        return 1.5  # a card's clock may run above the boost clock that its datasheet's peak is at
    return float("inf")


def _number(value: object, key: str, where: str, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _impossible(key, value, "a number", where)
    if not isfinite(value) or value < 0 or (value == 0 and not zero):
        _impossible(key, value, "a number of at least 0" if zero else "a positive number", where)
    return float(value)


def _missing(key: str, what: str, where: str) -> NoReturn:
    raise InputError(f"{where}: {key} is missing; give {what}, or a base that has it")


def _impossible(key: str, value: object, wanted: str, where: str) -> NoReturn:
    raise InputError(f"{where}: {key} = {value!r} is impossible; give {wanted}")
