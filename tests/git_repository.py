"""A git repository in the current folder, for tests of revisions and of what changed."""

from __future__ import annotations

import subprocess
from pathlib import Path


def committed(files: dict[str, str]) -> None:
    """Have a repository here, with one more revision that has these files, and all that is here."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q", "."], check=True)
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "more"], check=True)
