"""Fit a device profile to the runtimes of FMEN's Table 4, and print it with its errors.

    python benchmarks/fit_ntire2022.py

The runtimes are the NTIRE 2022 challenge's (the table's figures are its figures): CUDA events
around one call for each image, batch 1, cudnn.benchmark off, averaged over the DIV2K validation
and test images. The challenge's page names a Titan Xp as its common GPU, FMEN's caption a
1080 Ti; no source settles which. Both cards are fitted; the profile starts from the 1080 Ti's
datasheet, and what is fitted makes up for the difference.

The sizes of the validation images are not public, those of the test images are. The fit runs at
339x510, the size of nearly half of them, whose area is within 0.4 % of their mean; `--all-sizes`
checks it against the mean over all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from srprof import trace
from srprof.cost.classes import node_costs
from srprof.cost.estimate import estimate, estimate_costs
from srprof.cost.fitting import Fit, Parameter, Sample, fit, mean_error, rms_error, spearman
from srprof.cost.profiles import Profile, load_profile, to_toml
from srprof.models import ZOO

NETWORKS = ("imdn", "e_rfdn", "rlfn", "neesr", "repafdn", "megsr", "rainbow", "fmen_s")
SIZE = (339, 510)
COMMAND = "python benchmarks/fit_ntire2022.py"

#: Three figures with a physical meaning; the priors say how far each may stray from them. What
#: tells one width from another is the table of a Tesla P4's kernels, which is not fitted.
PARAMETERS = (
    # All shares of the peak together: a card's clock is not its datasheet's boost clock.
    Parameter("compute", prior=1.0, spread=0.10, lower=0.5, upper=1.5),
    # All shares of the bandwidth together.
    Parameter("bandwidth_share", prior=1.0, spread=0.10, lower=0.5, upper=1.3),
    # From one kernel to the next.
    Parameter("gap", prior=2e-6, spread=0.5, lower=5e-7, upper=3e-5),
)

#: Runtimes that FMEN's authors measured themselves, in ms (Tables 1 and 2, section 4.5): not
#: fitted. The table's card is a 1080 Ti. MemNet is left out: which of its forms ran is not known.
NOT_FITTED = {
    "fmen": 46.13,
    "fmen_baseline": 45.25,
    "fmen_baseline(attention='cca')": 50.55,
    "fmen_baseline(attention='esa')": 52.11,
    "edsr_baseline": 99.8,
    "edsr_baseline(block='erb')": 90.6,
    "latticenet": 68,
}

#: Sizes of the DIV2K test images at x4 (bytedance/RLFN, data/DIV2K_test_LR): (H, W, how many).
TEST_SIZES = (
    (231, 510, 1),
    (249, 510, 1),
    (255, 510, 1),
    (258, 510, 1),
    (261, 510, 1),
    (270, 510, 1),
    (288, 510, 5),
    (318, 510, 3),
    (327, 510, 1),
    (330, 510, 4),
    (333, 510, 1),
    (339, 510, 48),
    (342, 510, 7),
    (345, 510, 1),
    (354, 510, 1),
    (360, 510, 1),
    (363, 510, 1),
    (375, 510, 1),
    (384, 510, 5),
    (405, 510, 1),
    (408, 510, 1),
    (510, 339, 8),
    (510, 354, 1),
    (510, 375, 1),
    (510, 384, 2),
    (510, 486, 1),
)


def samples() -> list[Sample]:
    """Table 4's eight networks at `SIZE`, with their published runtimes."""
    published = {n.name: n.published[4]["runtime_ms"] for n in ZOO if n.name in NETWORKS}
    return [
        Sample(name, node_costs(trace(name, (1, 3, *SIZE))), 1e-3 * published[name])
        for name in NETWORKS
    ]


def report(title: str, found: Fit) -> None:
    """Print a fit's figures."""
    print(f"{title}:")
    for key, value in found.values.items():
        print(f"  {key} = {value:.4g}")
    print(
        f"  mean error {found.mean_error:.1%}, leave-one-out {found.leave_one_out:.1%} "
        f"(root mean square {rms_error(found.left_out, found.measured):.1%})"
    )
    print(
        f"  Spearman {spearman(found.predicted, found.measured):.3f}, "
        f"leave-one-out {spearman(found.left_out, found.measured):.3f}"
    )


def datasheet(runs: list[Sample], name: str) -> list[float]:
    """Seconds by the profile of a datasheet, with the priors alone."""
    card = load_profile(name)
    return [estimate_costs(run.costs, card).seconds for run in runs]


def others(profile: Profile) -> None:
    """Print the networks that no fit saw."""
    seconds = [estimate(trace(spec, (1, 3, *SIZE)), profile).seconds for spec in NOT_FITTED]
    measured = [1e-3 * published for published in NOT_FITTED.values()]
    print(f"\nms                              published  {profile.name}, not fitted to these")
    for spec, here, there in zip(NOT_FITTED, seconds, measured, strict=True):
        print(f"{spec:31s} {1e3 * there:9.2f} {1e3 * here:9.2f} {here / there - 1:+8.1%}")
    error, rank = mean_error(seconds, measured), spearman(seconds, measured)
    print(f"mean error {error:.1%}, Spearman {rank:.3f}")


def mean_over_sizes(name: str, profile: Profile) -> float:
    """Mean seconds of a network over the DIV2K test images."""
    total = sum(
        images * estimate(trace(name, (1, 3, height, width)), profile).seconds
        for height, width, images in TEST_SIZES
    )
    return total / sum(images for *_, images in TEST_SIZES)


def main() -> None:
    """Fit, print the figures by network, and the profile for `profiles.toml`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all-sizes", action="store_true", help="check the mean over all sizes")
    arguments = parser.parse_args()

    runs = samples()
    measured = [run.seconds for run in runs]
    fits = {}
    for name in ("gtx1080ti", "titanxp"):
        plain = datasheet(runs, name)
        error, rank = mean_error(plain, measured), spearman(plain, measured)
        print(f"{name}, datasheet and priors alone: mean error {error:.1%}, Spearman {rank:.3f}")
        fits[name] = fit(runs, load_profile(name), PARAMETERS)
        report(f"{name}, fitted", fits[name])
    best, plain = fits["gtx1080ti"], datasheet(runs, "gtx1080ti")
    print("\nms       published  datasheet     fitted   left out")
    for name, *row in zip(NETWORKS, measured, plain, best.predicted, best.left_out, strict=True):
        print(f"{name:7s}" + "".join(f"{1e3 * seconds:11.2f}" for seconds in row))
    others(load_profile("gtx1080ti"))
    others(replace(best.profile, name="fitted"))
    if arguments.all_sizes:
        print("\nmean over the test sizes against the fit's one size:")
        for name, one in zip(NETWORKS, best.predicted, strict=True):
            print(f"  {name:7s} {mean_over_sizes(name, best.profile) / one:.3f}")
    fitted_to = "Fitted to the eight runtimes of FMEN's Table 4"
    profile = replace(
        best.profile,
        title="The NTIRE 2022 challenge's card (GTX 1080 Ti or Titan Xp), fitted to Table 4",
        command=COMMAND,
        allocates_workspaces=False,
        source={
            **dict.fromkeys(("compute", "bandwidth_share", "gap"), fitted_to),
            "allocates_workspaces": (
                "The challenge ran before torch 1.13, whose cuBLAS workspace is the first from "
                "torch's allocator (pytorch/pytorch, pull request 83461)"
            ),
        },
    )
    print(f"\n{to_toml(profile, load_profile('gtx1080ti'), 'ntire2022')}", end="")


if __name__ == "__main__":
    main()
