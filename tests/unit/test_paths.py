"""File names as they are told, here and on other machines."""

from __future__ import annotations

import os

import pytest

from srprof.paths import short_path, without_folders


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/opt/env/lib/python3.11/site-packages/net/arch.py", "net/arch.py"),
        ("/home/me/dist-packages/old/site-packages/net.py", "net.py"),
        ("/elsewhere/net.py", "/elsewhere/net.py"),
    ],
)
def test_a_file_is_told_from_where_packages_are(path, told):
    assert short_path(path.replace("/", os.sep)) == told.replace("/", os.sep)


def test_a_file_is_told_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_path(str(tmp_path / "models" / "net.py")) == os.path.join("models", "net.py")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raised at /home/me/nets/net.py:12 in f", "raised at net.py:12 in f"),
        ("raised at models/net.py:12, 1/2 of float16/float32", None),
        (r"'C:\Users\me\net.py' is none", "'net.py' is none"),
        ("see https://example.org/a/b/c.html", None),
    ],
)
def test_other_machines_are_told_no_folders(text, told):
    assert without_folders(text) == (told or text)
