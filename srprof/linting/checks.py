"""What is asked of an entry: facts of its source and of a trial, as checks. Nothing is run here."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srprof.challenge.years import Year
from srprof.linting import calls
from srprof.linting.imports import Need, Operator, versions
from srprof.linting.record import Check, Finding, Status, check, passed, skipped
from srprof.linting.refusing import Asked, Refusal
from srprof.linting.source import Part, Source
from srprof.memory.construction import PassesAtPeak
from srprof.paths import short_path
from srprof.records import Pass
from srprof.words import mib_size, one_line, shape_text, some

if TYPE_CHECKING:
    from srprof.quality.pixel_range import Found

#: Images of a challenge have no side that is shorter, in pixels.
_SMALLEST = 64
NOT_BUILT = skipped("the network could not be built")
_PACKAGES = "say so in the README, or write what it is used for into the file"
_OWN_WAY = "guard it: try: import ..., except ImportError: a path of PyTorch's own operators"


@dataclass(frozen=True)
class Trial:
    """What came of building an entry.

    Attributes:
        error: why it was not built without a GPU and without network, "" if it was; file, line: of
            it. missing: the module for want of which.
        refused: what it asked for there.
        followed: it was built again, with a stand-in for a GPU. passes: calls of modules then.
            held: what of them is there at that one's peak.
    """

    error: str = ""
    file: str = ""
    line: int = 0
    missing: str = ""
    refused: tuple[Refusal, ...] = ()
    followed: bool = False
    passes: tuple[Pass, ...] = ()
    held: tuple[PassesAtPeak, ...] = ()

    def asked(self, kind: Asked) -> list[Refusal]:
        """What of a kind it asked for."""
        return [refusal for refusal in self.refused if refusal.kind == kind]


@dataclass(frozen=True)
class Code:
    """An entry's source with what runs of it while the network is built, and the script's."""

    source: Source
    parts: tuple[Part, ...]
    script: Source | None = None
    script_part: Part | None = None

    def finding(self, status: Status, what: str, mend: str, file: str, line: int) -> Finding:
        """A finding at a line, with what stands there."""
        sources = [s for s in (self.source, self.script) if s is not None]
        code = next((s.code(line) for s in sources if same_file(s.file, file)), "")
        return Finding(status, what, mend, file, line, code)

    def at(self, status: Status, what: str, mend: str, line: int) -> Finding:
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
        what = f"{name} is not installed here, and there is a way without it"
        return code.at("passed", what, "", need.module.line)
    status: Status = "warned" if guard.kind else "failed"
    what = f"needs the package {name}, which is not installed here"
    return code.at(status, what, f"install it to lint all; {_PACKAGES}", need.module.line)


def builds(code: Code | None, trial: Trial, found: Sequence[Need] = ()) -> Check:
    """It is built, by whatever it finds; of packages that are missing all are named."""
    findings = []
    for asked in trial.asked("program"):
        what = f"starts a program while it is built, which is refused here: {asked.what}"
        mend = "build a network of what is installed; build extensions beforehand"
        findings.append(_refused(code, "failed", what, mend, asked))
    if trial.missing:
        needed = [n.module.top for n in found if n.kind == "missing" and not n.module.guard.kind]
        names = list(dict.fromkeys([trial.missing.partition(".")[0], *needed]))
        what = f"cannot be built without {some(names, 5)}, which is not installed here"
        if len(names) > 1:
            what = f"cannot be built without {some(names, 5)}, which are not installed here"
        mend = "install it, or guard the import: what follows is of the source alone"
        findings.append(_placed(code, "failed", what, mend, trial.file, trial.line))
    elif trial.error and not findings:
        mend = "mend that first: what follows is of the source alone"
        what = f"cannot be built here: {trial.error}"
        findings.append(_placed(code, "failed", what, mend, trial.file, trial.line))
    return check("builds", "builds", findings, "the network is built")


def without_gpu(code: Code | None, trial: Trial) -> Check:
    """Neither the constructor nor the file's import needs a GPU."""
    mend = "leave it to the caller: model.to(device) moves all parameters and buffers"
    findings = []
    for asked in trial.asked("gpu"):
        if code is None or not code.of_script(asked.file):  # which moves the network, as it should
            what = f"needs a GPU while it is built, and raises without one: {asked.what}"
            findings.append(_refused(code, "failed", what, mend, asked))
    seen = _places(findings)
    ran = not trial.error and not findings
    if code is not None:
        lines = _unseen(code, calls.gpu_lines(code.source, code.parts), seen)
        findings += [_gpu_line(code, line, ran, mend) for line in lines]
    well = "is built without a GPU"
    if trial.error:
        well = "nothing in its constructor asks for a GPU, as its source says"
    return check("without-gpu", "builds without a GPU", findings, well)


def _places(found: Iterable[Finding | Pass]) -> set[tuple[str, int]]:
    """The lines that a run came to."""
    return {(os.path.realpath(one.file), one.line) for one in found}


def _unseen(
    code: Code, lines: Iterable[calls.Line], seen: Container[tuple[str, int]]
) -> Iterator[calls.Line]:
    """Of lines of the entry's file those that no run came to."""
    file = os.path.realpath(code.source.file)
    yield from (line for line in lines if (file, line.number) not in seen)


def _gpu_line(code: Code, line: calls.Line, ran: bool, mend: str) -> Finding:
    status: Status = "warned"
    what = "puts something on a GPU while it is built"
    if line.guard.kind in {"asked", "caught"}:
        what += ", where there is one"
    elif ran:
        what = f"has a line that {what}, and did not come to it here"
    else:
        status = "failed"
    return code.at(status, what, mend, line.number)


def without_network(code: Code | None, trial: Trial) -> Check:
    """Nothing is fetched."""
    mend = "load weights from the entry's own checkpoint: a machine of the challenge may be offline"
    status: Status = "failed" if trial.error else "warned"
    findings = [
        _refused(code, status, f"asks the network for {a.what} while it is built", mend, a)
        for a in trial.asked("network")
    ]
    if code is not None:
        seen = _places(findings)
        for line in _unseen(code, calls.fetches(code.source, code.parts), seen):
            what = "has a line that fetches something while it is built"
            what += "" if trial.error else ", and did not come to it here"
            guarded = bool(line.guard.kind) or not trial.error
            findings.append(code.at("warned" if guarded else "failed", what, mend, line.number))
    well = "is built without network"
    if trial.error:
        well = "nothing in its constructor fetches anything, as its source says"
    return check("without-network", "builds without network", findings, well)


def _refused(code: Code | None, status: Status, what: str, mend: str, asked: Refusal) -> Finding:
    return _placed(code, status, what, mend, asked.file, asked.line)


def _placed(
    code: Code | None, status: Status, what: str, mend: str, file: str, line: int
) -> Finding:
    if code is not None:
        return code.finding(status, one_line(what), mend, file, line)
    return Finding(status, one_line(what), mend, file, line)


def constructor(code: Code | None, trial: Trial, year: Year) -> Check:
    """No call of the network while it is built."""
    mend = "take it out of the constructor" + _counted(year)
    own = [p for p in trial.passes if code is None or not code.of_script(p.file)]
    findings = list(_passes(code, trial, own, "the constructor", "failed", mend))
    seen = _places(own)
    if code is not None:
        lines = _unseen(code, calls.passes(code.source, code.parts), seen)
        findings += [_unseen_pass(code, line, trial, mend) for line in lines]
    well = "no module is called while the network is built"
    if trial.error:
        well = "nothing in its constructor calls the network, as its source says"
    return check("constructor", "no warm-up in the constructor", findings, well)


def _unseen_pass(code: Code, line: calls.Line, trial: Trial, mend: str) -> Finding:
    """A line that calls the network, by its syntax, and that no run came to."""
    condition = f" (if {line.guard.test})" if line.guard.test else ""
    if trial.followed:
        what = f"has a line that calls the network while it is built{condition}, and did not come "
        return code.at("warned", f"{what}to it here", mend, line.number)
    what = f"calls the network while it is built{condition}"
    return code.at("failed", what, mend, line.number)


def script(code: Code, trial: Trial, year: Year) -> Check:
    """No call of the network in the script's own part for the team."""
    assert code.script is not None
    assert code.script_part is not None
    name = os.path.basename(code.script.file)
    mend = "not the network's: take it out of the script's part for the team" + _counted(year)
    own = [p for p in trial.passes if code.of_script(p.file)]
    findings = list(_passes(code, trial, own, name, "warned", mend))
    seen = {p.line for p in own}
    lines = () if trial.followed else calls.passes(code.script, (code.script_part,))
    for line in (line for line in lines if line.number not in seen):
        what = f"{name} calls the network before the first image"
        findings.append(code.finding("warned", what, mend, code.script.file, line.number))
    well = f"{name} calls nothing before the first image"
    return check("script", "no warm-up in the script", findings, well)


def _counted(year: Year) -> str:
    early = year.script.from_start
    return ": the challenge's counter of memory begins before it" if early else ""


def _passes(
    code: Code | None,
    trial: Trial,
    found: Sequence[Pass],
    where: str,
    status: Status,
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
            what += f": {alive} of it are on the GPU at the peak of building"
        yield _placed(code, status, what, mend, file, line)


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


def size(results: Mapping[tuple[int, int], tuple[int, ...] | str], scale: int) -> Check:
    """The result is as large as the image times the scale: its shape, or how it failed, by size."""
    title = f"x{scale} of any size"
    if not results:
        return Check("size", title, (NOT_BUILT,))
    findings, well = [], []
    for (height, width), result in results.items():
        wanted = (1, 3, scale * height, scale * width)
        lr = f"{height}x{width}"
        if result == wanted:
            well.append(f"{shape_text(wanted[-2:])} of {lr}")
            continue
        status: Status = "warned" if min(height, width) < _SMALLEST else "failed"
        if isinstance(result, str):
            what = f"raises at {lr}: {result}"
        else:
            shown = shape_text(result) or "no tensor"
            what = f"gives {shown} of {lr}, and not {shape_text(wanted)}"
        mend = "pad the image to what is needed, and crop the result"
        findings.append(Finding(status, one_line(what), mend))
    if well:
        findings.append(passed(f"gives {', '.join(well)}"))
    return Check("size", title, tuple(findings))


def values(found: Found, said: float | None, trained: bool) -> Finding:
    """Of a result that is finite: of which range. `said` is the script's, if it says one."""
    note = one_line(found.note.partition("; --range")[0])
    if not trained:
        return passed("finite; without weights nothing is known of its range")
    if not note:
        return passed("finite, and the same image from 0 to 1 and from 0 to 255")
    if said in found.like:
        _, _, against = note.partition(": ")
        return passed(
            f"finite, and like the picture from 0 to {said:g}, as the script has it: {against}"
        )
    if not found.sure:
        mend = "see whether the weights are the network's, and what range it was trained on"
        return Finding("warned", f"finite; {note}", mend)
    if said is not None:
        what = f"the script gives values of 0 to {said:g}, and {note}"
        return Finding("failed", what, "correct data_range in the script")
    return passed(f"finite; {note}")


def quality(year: Year, measured: Sequence[tuple[str, str, float]]) -> Check:
    """PSNR of evaluations against the floors: of each its file, its set ("" unknown) and dB."""
    findings = [_quality(year, *one) for one in measured]
    if not findings:
        sets = " and ".join(f"{floor:.2f} dB on {name}" for name, floor in year.floors.items())
        findings = [skipped(f"give --record, what srprof evaluate wrote; {year.title} asks {sets}")]
    return Check("quality", "quality floor", tuple(findings))


def _quality(year: Year, path: str, images: str, psnr: float) -> Finding:
    name = short_path(path)
    if not images:
        sets = ", ".join(f"{floor:.2f} dB on {which}" for which, floor in year.floors.items())
        what = f"{psnr:.2f} dB ({name}), of images that are not {year.title}'s: {sets}"
        return Finding("warned", what, f"evaluate on its images, {year.script.images}")
    floor = year.floors[images]
    what = f"{psnr:.2f} dB on {images}, where the floor is {floor:.2f} dB ({name})"
    if round(psnr, 2) >= floor:  # published figures have as many decimals
        return passed(what)
    missing = f"{floor - psnr:.2f} dB are missing"
    if not year.strict:
        return Finding("warned", what, f"{missing} to what rows aim at")
    return Finding("failed", what, f"{missing}: below it no row is ranked")
