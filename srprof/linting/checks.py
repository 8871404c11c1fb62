"""What is asked of an entry: facts of its source and of a trial, as checks. Nothing is run here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from srprof.challenge.years import Year
from srprof.linting import calls
from srprof.linting.imports import Need, Operator, versions
from srprof.linting.record import Check, Finding, check, passed, skipped
from srprof.linting.refusing import Refusal
from srprof.linting.source import Guard, Part, Source
from srprof.memory.construction import PassesAtPeak
from srprof.paths import short_path
from srprof.records import Pass
from srprof.words import mib_size, one_line, shape_text, some

_PACKAGES = "say so in the README, or write what it is used for into the file"
_OWN_WAY = "guard it: try: import ..., except ImportError: a path of PyTorch's own operators"


@dataclass(frozen=True)
class Trial:
    """What came of building an entry where there is neither a GPU nor a network.

    Attributes:
        error: why it was not built, "" if it was. missing: the module for want of which.
        refused: what it asked for. built_on_gpu: it was built with a stand-in for a GPU.
        passes: calls of modules meanwhile. held: what of them is there at the peak.
    """

    error: str = ""
    missing: str = ""
    refused: tuple[Refusal, ...] = ()
    built_on_gpu: bool = False
    passes: tuple[Pass, ...] = ()
    held: tuple[PassesAtPeak, ...] = ()
    error_file: str = ""
    error_line: int = 0

    def asked(self, *kinds: str) -> list[Refusal]:
        """What of these kinds it asked for."""
        return [refusal for refusal in self.refused if refusal.kind in kinds]


@dataclass(frozen=True)
class Code:
    """An entry's source with what runs of it while the network is built, and the script's."""

    source: Source
    parts: tuple[Part, ...]
    script: Source | None = None
    script_part: Part | None = None

    def finding(self, status: str, what: str, mend: str, file: str, line: int) -> Finding:
        """A finding at a line, with what stands there."""
        sources = [s for s in (self.source, self.script) if s is not None]
        code = next((s.code(line) for s in sources if same_file(s.file, file)), "")
        return Finding(status, what, mend, file, line, code)  # type: ignore[arg-type]

    def at(self, status: str, what: str, mend: str, line: int) -> Finding:
        """A finding at a line of the entry's file."""
        return self.finding(status, what, mend, self.source.file, line)

    def of_script(self, file: str) -> bool:
        """Whether a file is the script."""
        return self.script is not None and same_file(self.script.file, file)


def same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file."""
    return os.path.realpath(one) == os.path.realpath(other)


def one_file(code: Code, found: Sequence[Need]) -> Check:
    """It imports nothing else of its repository."""
    mend = "write what it uses of it into the file: the organisers take one file for a network"
    findings = [
        code.at(
            "failed",
            f"imports {need.module.name} of its repository"
            + (f" ({short_path(need.where)})" if os.path.sep in need.where else ""),
            mend,
            need.module.line,
        )
        for need in found
        if need.kind == "repository"
    ]
    return check("one-file", "one file", findings, "imports nothing of its repository")


def packages(code: Code, found: Sequence[Need]) -> Check:
    """Packages besides PyTorch are installed, and named."""
    missing: dict[str, Need] = {}
    for need in (need for need in found if need.kind == "missing"):
        first = missing.setdefault(need.module.top, need)
        if first.module.guard.kind and not need.module.guard.kind:
            missing[need.module.top] = need
    findings = [_missing(code, need) for need in missing.values()]
    listed = [f"{name} {number}".rstrip() for name, number in versions(found).items()]
    well = "needs " + (some(listed, 9) if listed else "nothing") + " besides PyTorch"
    if findings and listed:
        findings.append(passed(f"{some(listed, 9)}: installed"))
    return check("packages", "packages", findings, well)


def _missing(code: Code, need: Need) -> Finding:
    name, guard = need.module.top, need.module.guard
    if guard.kind in ("caught", "asked") and guard.otherwise:
        what, status = f"{name} is not installed here, and there is a way without it", "passed"
        return code.at(status, what, "", need.module.line)
    status = "warned" if guard.kind else "failed"
    what = f"needs the package {name}, which is not installed here"
    return code.at(status, what, f"install it to lint all; {_PACKAGES}", need.module.line)


def builds(code: Code | None, trial: Trial) -> Check:
    """It is built, by whatever it finds."""
    findings = []
    for asked in trial.asked("program"):
        what = f"starts a program while it is built, which is refused here: {asked.what}"
        mend = "build a network of what is installed; build extensions beforehand"
        findings.append(_refused(code, "failed", what, mend, asked))
    if trial.missing:
        what = f"cannot be built without the package {trial.missing}, which is not installed here"
        mend = "install it, or guard the import: what follows is of the source alone"
        findings.append(_placed(code, "failed", what, mend, trial.error_file, trial.error_line))
    elif trial.error and not findings:
        mend = "mend that first: what follows is of the source alone"
        what = f"cannot be built here: {trial.error}"
        findings.append(_placed(code, "failed", what, mend, trial.error_file, trial.error_line))
    return check("builds", "builds", findings, "the network is built")


def without_gpu(code: Code | None, trial: Trial) -> Check:
    """Neither the constructor nor the file's import needs a GPU."""
    mend = "leave it to the caller: model.to(device) moves all parameters and buffers"
    findings, seen = [], set()
    for asked in trial.asked("gpu"):
        if code is not None and code.of_script(asked.file):
            continue  # the script moves the network, as it should
        what = "needs a GPU while it is built: there, where there is none, it raises"
        findings.append(_refused(code, "failed", f"{what} {asked.what}", mend, asked))
        seen.add(asked.line)
    if code is not None:
        ran = not trial.error and not findings
        for line in calls.gpu_lines(code.source, code.parts):
            if line.number not in seen:
                findings.append(_gpu_line(code, line, ran, mend))
    well = "is built without a GPU"
    if trial.error and not findings:
        well = "nothing in its constructor asks for a GPU, as its source says"
    return check("without-gpu", "builds without a GPU", findings, well)


def _gpu_line(code: Code, line: calls.Line, ran: bool, mend: str) -> Finding:
    if line.guard.kind == "asked" or line.guard.kind == "caught":
        what = "puts something on a GPU while it is built, where there is one"
        return code.at("warned", what, mend, line.number)
    if ran:
        what = "would put something on a GPU while it is built; with these arguments it did not"
        return code.at("warned", what, mend, line.number)
    return code.at("failed", "puts something on a GPU while it is built", mend, line.number)


def without_network(code: Code | None, trial: Trial) -> Check:
    """Nothing is fetched."""
    mend = "load weights from the entry's own checkpoint; a machine of the challenge may be offline"
    findings, seen = [], set()
    for asked in trial.asked("network"):
        what = f"asks the network for {asked.what} while it is built"
        status = "failed" if trial.error else "warned"
        findings.append(_refused(code, status, what, mend, asked))
        seen.add(asked.line)
    for line in [] if code is None else calls.fetches(code.source, code.parts):
        if line.number not in seen:
            status = "failed" if trial.error and not line.guard.kind else "warned"
            what = "fetches something from the network while it is built, if it comes to that"
            assert code is not None
            findings.append(code.at(status, what, mend, line.number))
    well = "is built without network"
    if trial.error and not findings:
        well = "nothing in its constructor fetches anything, as its source says"
    return check("without-network", "builds without network", findings, well)


def _refused(code: Code | None, status: str, what: str, mend: str, asked: Refusal) -> Finding:
    return _placed(code, status, what, mend, asked.file, asked.line)


def _placed(code: Code | None, status: str, what: str, mend: str, file: str, line: int) -> Finding:
    if code is not None:
        return code.finding(status, one_line(what), mend, file, line)
    return Finding(status, one_line(what), mend, file, line)  # type: ignore[arg-type]


def constructor(code: Code | None, trial: Trial, year: Year) -> Check:
    """No call of the network while it is built."""
    lines = [] if code is None else calls.passes(code.source, code.parts)
    mend = "take it out of the constructor; the first images are in the mean with or without it" + (
        ", and the challenge's counter of memory begins before it" if _counts(year) else ""
    )
    own = [p for p in trial.passes if code is None or not code.of_script(p.file)]
    findings = list(_passes(code, trial, own, "the constructor", "failed", mend))
    seen = {(os.path.realpath(p.file), p.line) for p in own}
    for line in lines:
        assert code is not None
        if (os.path.realpath(code.source.file), line.number) in seen:
            continue
        if trial.error or not trial.built_on_gpu:
            what, status = "calls the network while it is built", "failed"
        else:
            what = "would call the network while it is built; with these arguments it did not"
            status = "warned"
        findings.append(code.at(status, what + _condition(line.guard), mend, line.number))
    well = "no module is called while the network is built"
    if trial.error and not findings:
        well = "nothing in its constructor calls the network, as its source says"
    return check("constructor", "no warm-up in the constructor", findings, well)


def script(code: Code, trial: Trial, year: Year) -> Check:
    """No call of the network in the script's own part for the team."""
    assert code.script is not None
    assert code.script_part is not None
    mend = "take it out of the script's part for the team" + (
        ": the challenge's counter of memory begins before it" if _counts(year) else ""
    )
    name = os.path.basename(code.script.file)
    own = [p for p in trial.passes if code.of_script(p.file)]
    findings = list(_passes(code, trial, own, name, "warned", mend))
    seen = {p.line for p in own}
    for line in calls.passes(code.script, (code.script_part,)):
        if line.number not in seen and (trial.error or not trial.built_on_gpu):
            what = f"{name} calls the network before the first image, and not the network itself"
            file = code.script.file
            findings.append(code.finding("warned", what, mend, file, line.number))
    well = f"{name} calls nothing before the first image"
    return check("script", "no warm-up in the script", findings, well)


def _counts(year: Year) -> bool:
    return year.script.from_start


def _passes(
    code: Code | None,
    trial: Trial,
    found: Sequence[Pass],
    where: str,
    status: str,
    mend: str,
) -> Iterator[Finding]:
    """A finding for each line that calls modules."""
    lines: dict[tuple[str, int, str], list[Pass]] = {}
    for one in found:
        lines.setdefault((one.file, one.line, one.kind), []).append(one)
    for (file, line, kind), group in lines.items():
        times = f"{len(group)} times" if len(group) > 1 else "once"
        what = f"{where} calls {kind} {times}"
        if any(one.autograd for one in group):
            what += ", and autograd records it"
        held = [h for h in trial.held if (h.file, h.line, h.kind) == (file, line, kind)]
        if held:
            alive = mib_size(sum(h.bytes for h in held))
            what += f": on a GPU {alive} of that are there at its peak"
        yield _placed(code, status, what, mend, file, line)


def _condition(guard: Guard) -> str:
    return f" (if {guard.test})" if guard.test else ""


def operators(code: Code, found: Sequence[Operator], unknown: Sequence[str]) -> Check:
    """Kernels of one's own have a way without them."""
    findings = [_operator(code, operator) for operator in found]
    if not findings and unknown:
        what = f"not known of {some(unknown, 5)}: not installed here"
        findings = [skipped(what)]
    well = "runs PyTorch's own operators alone"
    return check("operators", "custom operators have a fallback", findings, well)


def _operator(code: Code, operator: Operator) -> Finding:
    guard, line = operator.guard, operator.line
    what = f"runs {operator.what}"
    if guard.kind in ("caught", "asked") and guard.otherwise:
        return code.at("passed", f"{what}, and has a way without it", "", line)
    if guard.kind == "flag" and guard.otherwise:
        what += f"; the way without it is taken where `{guard.test}` says so, which nobody sets "
        what += "where it cannot be imported"
        mend = f"{_OWN_WAY}; to lint the other way, give a SPEC with that argument"
        return code.at("warned", what, mend, line)
    return code.at("failed", f"{what}, and has no way without it", _OWN_WAY, line)


def size(results: Mapping[tuple[int, int], tuple[int, ...] | str], scale: int, year: Year) -> Check:
    """The result is as large as the image times the scale, for odd sizes too."""
    findings, well = [], []
    for (height, width), result in results.items():
        wanted = (1, 3, scale * height, scale * width)
        lr = f"{height}x{width}"
        if result == wanted:
            well.append(f"{shape_text(wanted[-2:])} of {lr}")
            continue
        # images of a challenge are larger than any window
        status = "warned" if min(height, width) < 64 else "failed"
        if isinstance(result, str):
            what = f"raises for {lr}: {result}"
        else:
            shown = shape_text(result) or "no tensor"
            what = f"gives {shown} for {lr}, and not {shape_text(wanted)}"
        mend = "pad what needs a multiple, and crop the result"
        findings.append(Finding(status, one_line(what), mend))  # type: ignore[arg-type]
    listed = ", ".join(well)
    if findings and listed:
        findings.append(passed(f"gives {listed}"))
    return check("size", f"x{scale} of any size", findings, f"gives {listed}")


def quality(year: Year, measured: Sequence[tuple[str, str, float]]) -> Check:
    """PSNR of evaluations against the floors: of each its file, its set ("" unknown) and dB."""
    findings = [_quality(year, *one) for one in measured]
    if not findings:
        sets = " and ".join(f"{floor:.2f} dB on {name}" for name, floor in year.floors.items())
        findings = [skipped(f"give --record, what srprof evaluate wrote; {year.title} asks {sets}")]
    return Check("quality", "quality floor", tuple(findings))


def _quality(year: Year, path: str, images: str, psnr: float) -> Finding:
    floors = year.floors
    name = short_path(path)
    if not images:
        most = max(floors.values())
        sets = ", ".join(f"{floor:.2f} dB on {which}" for which, floor in floors.items())
        what = f"{psnr:.2f} dB in {name}, of images of neither set ({sets})"
        return Finding("warned" if psnr < most else "passed", what, "evaluate on the year's images")
    floor = floors[images]
    what = f"{psnr:.2f} dB on {images}, and the floor is {floor:.2f} dB ({name})"
    # the published figures have two decimals, as the floor has
    if round(psnr, 2) >= floor:
        return passed(what)
    return Finding("failed", what, f"{floor - psnr:.2f} dB are missing: below it no rank is given")
