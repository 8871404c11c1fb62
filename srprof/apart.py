"""A network in a process of its own, which may crash or never end: one question, one answer.

The process is a program: the question on stdin, the answer on what was stdout, both JSON; what the
network prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srprof.errors import ModelError, user_raised
from srprof.failures import failure
from srprof.words import one_line


def ask(
    module: str, question: object, seconds: float | None = None, folder: Path | None = None
) -> Any:
    """What a module's program answers.

    Args:
        question: as JSON can have it. seconds: after which the process is ended; None is no limit.
        folder: where it runs; here by default.

    Raises:
        ModelError: there is no answer; it says why, in a line.
    """
    try:
        ended = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=folder,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"its process did not end within {seconds:g} s") from error
    try:
        answer, failed = json.loads(ended.stdout)
    except ValueError:
        raise ModelError(died(ended.returncode, ended.stderr)) from None
    if failed:
        raise ModelError(failed)
    return answer


def died(code: int, stderr: str) -> str:
    """Why a process gave no answer."""
    last = one_line((stderr.strip().splitlines() or [""])[-1])
    if code == ModelError.exit_code and last:  # the watcher's own line
        return last.removeprefix("srprof: ")
    name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"its process died with {name}{last and f': {last}'}"


def serve(respond: Callable[[Any], object]) -> None:
    """The program: its question answered, or why it is not; it ends the process."""
    import torch

    torch.set_num_threads(1)
    question = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        try:
            answer = [respond(question), ""]
        except user_raised() as raised:  # wherever it came from: no answer, not the end of all
            answer = [None, one_line(failure(raised))]
        json.dump(answer, answers)
        answers.flush()
        os._exit(0)  # a network's threads and exit handlers may not end
