"""The public checkpoints of Table 4 on four photographs, and what FMEN-S's HFABs do there.

    python benchmarks/quality.py --repositories DIR    # evaluates, and writes the record
    python benchmarks/quality.py                       # the record as tables of docs/quality.md
    python benchmarks/quality.py --photographs DIR     # the photographs, DIR/hr, and LR, DIR/lr

DIR has `ntire2022`, the tree of ofsoundof/NTIRE2022_ESR, of which the checkpoints in `model_zoo`
are read, into the zoo's networks, and the range of values that `test_demo.py` gives each.

The photographs are the upper left 400x400 pixels, or what there is of them, of four that come
inside scikit-image; LR images are made of them by bicubic, x4.

Section 4.3 of FMEN observes three things of its HFABs (warmup.1, HFABs.0 to 3, by when they run).
What they are taken to say was set down before any was measured. A map is the mean over channels
of an HFAB's input (before) or result (after). Frequencies above 0.25 cycles a pixel, half of the
highest that rows and columns have, are high, the others low; shares are of all the power, or of
the power without the constant (zero frequency).

1. An HFAB suppresses low and strengthens high frequencies: the share of high ones is larger after
   it than before.
2. Inputs grow richer in high frequencies with depth: their share in an HFAB's input is larger than
   in the input of the one before, at each of the four steps.
3. The last separates most: of the five it moves the largest share of the power to another ring.

That the boundary decides nothing is looked at with 0.125 and 0.375.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from itertools import chain, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from h200_peaks import OF_ZOO

import srprof
from srprof.quality.images import read_image, to_bits8, write_image
from srprof.quality.metrics import modcrop
from srprof.quality.resize import bicubic
from srprof.quality.spectrum import HIGH, Spectrum, spectra

RECORD = Path(__file__).parent / "records" / "quality.json"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SIDE, SCALE = 400, 4
#: The challenge's number of each of the zoo's networks that were in it.
NUMBERS = {name: int(key.removeprefix("2022 ")) for key, name in OF_ZOO.items()}
#: Cycles a pixel above which a frequency is high; the middle one is srprof's.
BOUNDARIES = (0.125, HIGH, 0.375)
#: Shares of the power: of all of it, or without the constant.
WAYS = ("with", "without")


def make_photographs(folder: Path) -> dict[str, Any]:
    """Write the HR and LR images; what the HR images are, by name."""
    import skimage.data

    there, made = Path(skimage.data.__file__).parent, {}
    for part in ("hr", "lr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for file in PHOTOGRAPHS:
        pixels = modcrop(read_image(there / file).bits8[:SIDE, :SIDE], SCALE)
        name = f"{Path(file).stem}.png"
        write_image(pixels, folder / "hr" / name)
        write_image(to_bits8(bicubic(pixels, Fraction(1, SCALE))), folder / "lr" / name)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        made[Path(file).stem] = {"file": file, "size": pixels.shape[:2], "sha256": digest}
    return made


def declared(repository: Path, number: int) -> tuple[float, Path]:
    """The range of values that the challenge's script gives a network, and its checkpoint."""
    script = (repository / "test_demo.py").read_text()
    values, join = r"data_range = .*?, ([\d.]+)\n", r"join\([\"']model_zoo[\"'], [\"'](.+?)[\"']\)"
    found = re.search(rf"model_id == {number}:.*?{values}.*?{join}", script, re.DOTALL)
    if found is None:
        raise SystemExit(f"{repository / 'test_demo.py'} has no network {number} with a checkpoint")
    return float(found[1]), repository / "model_zoo" / found[2]


def evaluated(repository: Path, name: str, hr: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network's figures by image, and bicubic's."""
    as_declared, path = declared(repository, NUMBERS[name])
    found = srprof.evaluate(name, hr=hr, weights=str(path), device="cpu")
    images = {
        image.name: {
            "psnr_rgb_dB": image.rgb.psnr_dB,
            "ssim_rgb": image.rgb.ssim,
            "psnr_y_dB": image.y.psnr_dB,
            "ssim_y": image.y.ssim,
        }
        for image in found.images
    }
    facts = {
        "checkpoint": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "range": found.pixel_range,
        "declared_range": as_declared,
        "images": images,
    }
    return facts, {
        image.name: {"psnr_rgb_dB": image.bicubic_rgb_dB, "psnr_y_dB": image.bicubic_y_dB}
        for image in found.images
    }


def shares(spectrum: Spectrum) -> dict[str, Any]:
    """The constant's share, and the shares of high frequencies by way and boundary."""
    high = {
        way: [spectrum.above(boundary, constant=way == "with") for boundary in BOUNDARIES]
        for way in WAYS
    }
    return {"constant": spectrum.constant, "high": high}


def blocks(repository: Path, image: Path) -> list[dict[str, Any]]:
    """What FMEN-S's HFABs do to an LR image's frequencies, by when they run."""
    _, weights = declared(repository, NUMBERS["fmen_s"])
    return [
        {
            "module": item.module,
            "before": shares(item.before),
            "after": shares(item.after),
            "moved": {"with": item.moved, "without": item.moved_of_rest},
        }
        for item in spectra("fmen_s", str(image), weights=str(weights)).modules
    ]


def measured(repository: Path) -> dict[str, Any]:
    """The whole record."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photographs = make_photographs(folder)
        networks, enlarged = {}, {}
        for name in NUMBERS:
            networks[name], enlarged = evaluated(repository, name, folder / "hr")
            print(f"{name}: values 0 to {networks[name]['range']}", file=sys.stderr, flush=True)
        of_images = {n: blocks(repository, folder / "lr" / f"{n}.png") for n in photographs}
    versions = {name: version(name) for name in ("scikit-image", "pillow", "torch")}
    return {
        "versions": versions,
        "scale": SCALE,
        "boundaries": BOUNDARIES,
        "photographs": photographs,
        "bicubic": enlarged,
        "networks": networks,
        "blocks": of_images,
    }


def rounded(value: Any) -> Any:
    """What JSON keeps of a record: six decimals are more than machines agree on."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


# -- what is observed -----------------------------------------------------------------------------

Blocks = Sequence[Mapping[str, Any]]


def high(block: Mapping[str, Any], side: str, way: str, boundary: int) -> float:
    """The share of high frequencies before or after a block."""
    share: float = block[side]["high"][way][boundary]
    return share


def strengthened(of_image: Blocks, way: str, boundary: int = 1) -> list[bool]:
    """Of each block: whether it has more of high frequencies after it (observation 1)."""
    return [
        high(block, "after", way, boundary) > high(block, "before", way, boundary)
        for block in of_image
    ]


def richer(of_image: Blocks, way: str, boundary: int = 1) -> list[bool]:
    """Of each step: whether the next block's input has more of them (observation 2)."""
    inputs = [high(block, "before", way, boundary) for block in of_image]
    return [later > earlier for earlier, later in pairwise(inputs)]


def separates_most(of_image: Blocks, way: str) -> str:
    """The block that moves the largest share of the power (observation 3)."""
    module: str = max(of_image, key=lambda block: block["moved"][way])["module"]
    return module


# -- the tables -----------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 2) -> str:
    """A table in Markdown, so many columns of texts to the left and figures to the right."""
    ruler = [*["---"] * texts, *["---:"] * (len(heads) - texts)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ruler, *rows))


def quality_table(record: Mapping[str, Any]) -> str:
    """A row for each network, by its mean PSNR, and bicubic's."""
    names = list(record["photographs"])

    def mean(images: Mapping[str, Any], figure: str) -> float:
        return fmean(images[name][figure] for name in names)

    least = mean(record["bicubic"], "psnr_rgb_dB")
    networks = sorted(
        record["networks"].items(), key=lambda item: -mean(item[1]["images"], "psnr_rgb_dB")
    )
    rows = []
    for network, facts in networks:
        images = facts["images"]
        average = mean(images, "psnr_rgb_dB")
        rows.append((
            f"`{network}`", f"`{facts['checkpoint']}`", f"0 to {facts['range']}",
            *(f"{images[name]['psnr_rgb_dB']:.2f}" for name in names),
            f"{average:.2f}", f"+{average - least:.2f}", f"{mean(images, 'psnr_y_dB'):.2f}",
            f"{mean(images, 'ssim_y'):.4f}",
        ))  # fmt: skip
    each = (f"{record['bicubic'][name]['psnr_rgb_dB']:.2f}" for name in names)
    luma = f"{mean(record['bicubic'], 'psnr_y_dB'):.2f}"
    rows.append(("bicubic", "", "", *each, f"{least:.2f}", "", luma, ""))
    heads = ("network", "checkpoint", "values", *names, "mean RGB", "above bicubic", "Y", "SSIM Y")
    return table(heads, rows, texts=3)


def counted(hits: Sequence[bool]) -> str:
    """How many of how many."""
    return f"{sum(hits)} of {len(hits)}"


def by_image(hits: Sequence[Sequence[bool]]) -> tuple[str, ...]:
    """How many of each photograph, and of all."""
    return (*map(counted, hits), counted(list(chain.from_iterable(hits))))


def observations_table(record: Mapping[str, Any]) -> str:
    """The three observations by photograph, with the constant and without."""
    images = list(record["blocks"].values())
    ways = [(way, f"{way} the constant") for way in WAYS]
    rows = [
        (
            "1: blocks with more of high after",
            named,
            *by_image([strengthened(b, way) for b in images]),
        )
        for way, named in ways
    ]
    for way, named in ways:
        steps = [richer(of_image, way) for of_image in images]
        rows.append(("2: steps to an input with more of high", named, *by_image(steps)))
    for way, named in ways:
        most = [separates_most(of_image, way) for of_image in images]
        last = [name == of[-1]["module"] for name, of in zip(most, images, strict=True)]
        rows.append(("3: the block that moves most", named, *most, f"the last: {counted(last)}"))
    grown = [[b["after"]["constant"] > b["before"]["constant"] for b in of] for of in images]
    rows.append(("blocks with more of the constant after", "", *by_image(grown)))
    return table(("observation", "shares", *record["blocks"], "all"), rows)


def boundaries_table(record: Mapping[str, Any]) -> str:
    """The first two with other boundaries of what is high."""
    images, rows = record["blocks"].values(), []
    for what, hits in (("1, of blocks", strengthened), ("2, of steps", richer)):
        for way in WAYS:
            cells = [
                counted([hit for of in images for hit in hits(of, way, boundary)])
                for boundary in range(len(BOUNDARIES))
            ]
            rows.append((what, f"{way} the constant", *cells))
    heads = ("observation", "shares", *(f"above {b}" for b in record["boundaries"]))
    return table(heads, rows)


def blocks_table(record: Mapping[str, Any]) -> str:
    """Every block on every photograph: shares before and after it, in percent."""

    def change(values: Sequence[float]) -> str:
        return " to ".join(f"{100 * value:.2f}" for value in values)

    rows = []
    for image, of_image in record["blocks"].items():
        for block in of_image:
            both = [block["before"], block["after"]]
            rows.append((
                image, block["module"], change([side["constant"] for side in both]),
                *(change([side["high"][way][1] for side in both]) for way in WAYS),
                *(f"{100 * block['moved'][way]:.2f}" for way in WAYS),
            ))  # fmt: skip
    heads = (
        "photograph", "HFAB", "constant, %", "high, %", "high without the constant, %",
        "moved, %", "moved without the constant, %",
    )  # fmt: skip
    return table(heads, rows)


def summary(record: Mapping[str, Any]) -> str:
    """What the first table comes to, in a line."""
    names = list(record["photographs"])
    least = fmean(record["bicubic"][name]["psnr_rgb_dB"] for name in names)
    means = [
        fmean(facts["images"][name]["psnr_rgb_dB"] for name in names)
        for facts in record["networks"].values()
    ]
    gains = f"{min(means) - least:.2f} to {max(means) - least:.2f} dB above"
    all_of_them = f"All {len(means)} have between {min(means):.2f} and {max(means):.2f} dB"
    return f"{all_of_them} (R, G and B), {gains} bicubic's {least:.2f} dB:"


def tables() -> Iterator[str]:
    """What docs/quality.md says of the checkpoints, from the committed record."""
    record = json.loads(RECORD.read_text())
    yield summary(record)
    yield quality_table(record)


def observed() -> Iterator[str]:
    """And of Section 4.3."""
    record = json.loads(RECORD.read_text())
    yield observations_table(record)
    yield "With other boundaries of what is high:"
    yield boundaries_table(record)
    yield "Each HFAB on each photograph, before it and after, in percent of the power:"
    yield blocks_table(record)


def main() -> None:
    """Evaluate, or print the tables of what was evaluated, or write the photographs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repositories", type=Path, help="the folder of the public repositories")
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="write the images there")
    parser.add_argument("-o", "--output", type=Path, default=RECORD, help="the record")
    arguments = parser.parse_args()
    if arguments.photographs is not None:
        make_photographs(arguments.photographs)
    elif arguments.repositories is not None:
        record = rounded(measured(arguments.repositories / "ntire2022"))
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    else:
        print("\n\n".join([*tables(), *observed()]))


if __name__ == "__main__":
    main()
