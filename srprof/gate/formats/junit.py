"""JUnit XML, which CI servers show as test results: one case for each check."""

from __future__ import annotations

from xml.etree import ElementTree

from srprof.gate.formats import location
from srprof.gate.record import Report, Result
from srprof.words import printable_lines


def render(report: Report, root: str) -> str:
    """A `testsuites` element with one suite."""
    errors = sum(not result.rows for result in report.results)
    failures = sum(result.failed for result in report.results) - errors + len(report.gone)
    tests = len(report.results) + len(report.gone)
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    suites = ElementTree.Element("testsuites", {"name": "srprof", **counts})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": "srprof check", **counts, "skipped": "0", "time": "0"}
    )
    for result in report.results:
        _case(suite, result, root)
    for name, reason in zip(report.gone, report.gone_reasons, strict=True):
        case = ElementTree.SubElement(suite, "testcase", _named(name))
        ElementTree.SubElement(case, "failure", {"message": _legal(reason), "type": "baseline"})
    ElementTree.indent(suites)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _named(name: str) -> dict[str, str]:
    return {"classname": "srprof.check", "name": _legal(name), "time": "0"}


def _case(suite: ElementTree.Element, result: Result, root: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", _named(result.name))
    if result.failed:
        tag = "failure" if result.rows else "error"
        kind = {"message": _legal(result.reasons[0]), "type": "srprof"}
        file, line = location(result, root)
        where = (f"{file}:{line}",) if file else ()
        body = "\n".join((*result.reasons, *result.explanation, *where))
        ElementTree.SubElement(case, tag, kind).text = _legal(body)
    elif result.warnings:
        ElementTree.SubElement(case, "system-out").text = _legal("\n".join(result.warnings))


def _legal(text: str) -> str:
    """Text without what XML 1.0 cannot hold, escaped or not, and what a terminal should not see."""
    return printable_lines(text)
