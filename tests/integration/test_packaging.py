"""What is on the disk is in the package, and `srprof.models` is the zoo of `models/`."""

from __future__ import annotations

import configparser
import re
from importlib.metadata import entry_points
from pathlib import Path

import srprof
import srprof.models

ROOT = Path(__file__).parents[2]


def listed() -> dict[str, list[str]]:
    """The multi-line options of setup.cfg that name packages."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return {key: value.split("\n")[1:] for key, value in config["options"].items()}


def test_every_package_on_the_disk_is_listed():
    """An unlisted one works from the repository and is missing from the wheel."""
    found = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("srprof/**/__init__.py")
    }
    assert sorted(found | {"srprof.models"}) == sorted(listed()["packages"])


def test_the_zoo_is_mapped():
    assert "srprof.models = models" in listed()["package_dir"]
    assert not (ROOT / "srprof" / "models").exists()  # even an empty one shadows the zoo
    assert Path(srprof.models.__file__).parent in (
        ROOT / "models",
        Path(srprof.__file__).parent / "models",
    )


def test_the_zoo_is_announced():
    (entry,) = (e for e in entry_points(group="srprof.models") if e.name == "srprof")
    assert entry.load() is srprof.models.ZOO


def test_the_zoo_imports_no_engine():
    """A network's file imports torch and its neighbours; the registry and errors are public."""
    for path in (ROOT / "models").glob("*.py"):
        engine = re.findall(r"^(?:import|from) (srprof[.\w]*)", path.read_text(), re.MULTILINE)
        assert set(engine) <= {"srprof.registry", "srprof.errors"}, path


def test_typed_and_licensed():
    assert (ROOT / "srprof" / "py.typed").exists()
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert srprof.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_every_data_file_is_in_the_wheel():
    """A file of data beside the code is left out unless its package's pattern names it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = {
        package: [pattern.strip() for pattern in value.split(",")]
        for package, value in config["options.package_data"].items()
    }
    for path in ROOT.glob("srprof/**/*"):
        if path.suffix in {".toml", ".json", ".html", ".css"}:
            assert any(
                path in (ROOT / package.replace(".", "/")).glob(pattern)
                for package, found in patterns.items()
                for pattern in found
            ), path
