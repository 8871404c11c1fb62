"""How far an estimate may be off, and how that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt

from srprof.cost.correction import measured
from srprof.cost.node import NodeEstimate
from srprof.cost.profiles import Profile
from srprof.cost.roofline import strided_seconds


def uncertainty(nodes: Sequence[NodeEstimate], profile: Profile) -> tuple[float, str]:
    """One standard deviation of the sum, in seconds, and how it was computed.

    Each family's time is off by the profile's `spread`, independently of the others, and so
    are the launches; all move together by `common`. Families that a fit to whole networks saw
    share the root mean square of its held-out errors instead; a calibration has found the spread
    of each family for itself.
    """
    by_family: dict[str, float] = defaultdict(float)
    by_place: dict[tuple[object, ...], float] = defaultdict(float)
    launches = 0.0
    for node in nodes:
        work = node.seconds - node.overhead
        launches += node.overhead
        if node.match is not None and profile.held_out_rms is None:
            # those of one place are off together
            by_place[node.match.place] += work * node.match.spread
            continue
        strided = min(strided_seconds(node.cost, profile), work)
        by_family["strided"] += strided
        by_family[node.cost.family] += work - strided
    if by_place:
        seconds, host = sum(node.seconds for node in nodes), sum(node.host for node in nodes)
        # a slower host holds up a device that it did not
        waits = max(launches, (host - seconds) / profile.spread["launch"] + host)
        return _of_rows(by_place, by_family, seconds - launches, waits, profile)
    seen = [family for family in by_family if family in profile.fitted]
    unseen = {f: t for f, t in by_family.items() if f not in profile.fitted and t > 0}
    spread = profile.spread
    variance = sum((spread[family] * seconds) ** 2 for family, seconds in unseen.items())
    assumed = f"; assumed spread for {', '.join(sorted(unseen))}, which the fit did not see"
    if profile.held_out_rms is None:
        variance += sum((spread[family] * by_family[family]) ** 2 for family in seen)
        variance += (spread["common"] * sum(by_family.values())) ** 2
        variance += (spread["launch"] * launches) ** 2
        if not profile.fitted:
            return sqrt(variance), "spread assumed for each class and for the profile as a whole"
        words = "held-out errors of the calibration, by class"
        return sqrt(variance), words + (assumed if unseen else "")
    variance += (profile.held_out_rms * (sum(by_family[f] for f in seen) + launches)) ** 2
    words = f"root mean square of the fit's held-out errors ({100 * profile.held_out_rms:.1f} %)"
    return sqrt(variance), words + (assumed if unseen else "")


def _of_rows(
    by_place: Mapping[tuple[object, ...], float],
    by_family: Mapping[str, float],
    working: float,
    waiting: float,
    profile: Profile,
) -> tuple[float, str]:
    """The same where nodes have measured operations near them: standard deviations by place."""
    spread = profile.spread
    variance = sum(deviation**2 for deviation in by_place.values())
    others = {family: time for family, time in by_family.items() if time > 0}
    variance += sum((spread[family] * time) ** 2 for family, time in others.items())
    variance += (spread["common"] * working) ** 2
    variance += (spread["launch"] * waiting) ** 2
    found = measured(profile.table)
    assert found is not None
    words = f"how far measured operations ({found.text}) are off what others say of them"
    if found.base.figures != profile.figures:
        words += "; carried to this device by both datasheets"
    assumed = f"; assumed spread for {', '.join(sorted(others))}" if others else ""
    return sqrt(variance), words + assumed
