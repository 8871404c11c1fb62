"""What a reader of an evaluation must know: whose weights they are, and what looks wrong."""

from __future__ import annotations

from typing import Any

from srprof import registry
from srprof import spec as specs
from srprof.loading import recognised
from srprof.quality.record import Evaluation
from srprof.weights import AS_BUILT, as_built, read_state_dict

#: A network that is so many dB below bicubic is probably given other values than it was trained on.
_FAR_BELOW = 3.0


def weights_notes(model: Any, weights: str | None, parameters: int) -> list[str]:
    """Lines on the weights; `parameters` is how many the network has."""
    if as_built(model, weights, parameters):
        return [AS_BUILT]
    checkpoint = specs.parse(model).checkpoint if isinstance(model, str) and not weights else ""
    if not checkpoint:
        return []
    known = recognised(read_state_dict(checkpoint), checkpoint)
    if known is None or not known[0].merge:
        return []
    network, trained = known
    merged = registry.load(network.merge)(trained)
    if len(merged.state_dict()) == len(trained.state_dict()):
        return []
    return [
        f"{checkpoint} is the training form, and so are runtime and peak: `srprof merge "
        f"{checkpoint} -o OUT` makes the inference form"
    ]


def doubts(evaluation: Evaluation, halo: int | None) -> list[str]:
    """What the figures themselves give reason to say; `halo` if one was given."""
    mean = evaluation.mean
    words = []
    ours, bicubics = mean.rgb.psnr_dB, mean.bicubic_rgb_dB
    below = 0.0 if ours is None or bicubics is None else bicubics - ours
    if below > _FAR_BELOW and AS_BUILT not in evaluation.notes:
        other = 1 if evaluation.pixel_range == 255 else 255
        words.append(
            f"{below:.1f} dB below bicubic: are these the weights, and are its values "
            f"0 to {evaluation.pixel_range}? --range {other} is the other way"
        )
    same = max(mean.same_rgb, mean.same_y)
    if same:
        rest = "" if same == len(evaluation.images) else ": the mean is of the others"
        words.append(
            f"{same} of {len(evaluation.images)} images are the same as their HR image, of "
            f"infinite PSNR{rest}"
        )
    if evaluation.tile is not None and halo is not None:
        words.append(f"the halo of {halo} was given: in tiles the result may be another one")
    return words
