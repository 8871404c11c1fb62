"""`srprof.lean`: a network in its lean form, and what each pass saves."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from srprof.analysis import Analysis, analyze
from srprof.call import call_of
from srprof.copying import copied_model
from srprof.leaning.capture import RefusedError, sizes_forgotten
from srprof.leaning.levels import LEVELS, check_level
from srprof.leaning.module import Lean, for_plans
from srprof.leaning.plan import Plan, capture_call, planner
from srprof.leaning.record import Savings, Stage
from srprof.networks import frozen, parameters, put_in_mode
from srprof.placing import copy_model
from srprof.tiling.locality import Locality, locality
from srprof.tiling.tiled import Tiled, TileProgress
from srprof.tracing.isolation import collector_resting
from srprof.tracing.run import run_trace
from srprof.workload import Workload, resolve


def lean(
    model: Any,
    *example: Any,
    level: str = "exact",
    weights: str | None = None,
    dtype: str | None = None,
    tiles: tuple[int, int] | None = None,
    progress: TileProgress | None = None,
) -> nn.Module:
    """A module with the model's call, state dict and outputs, and a lower peak.

    The model is copied and stays as it is. If it cannot be lean in the example's call, there is a
    warning with the reason, and the module runs the network as it is. What the network's code
    changes of the caller's settings is put back, and named in a warning.

    Args:
        model: an `nn.Module`, whose device and dtype stay what they are, or a SPEC string.
        example: the inputs for which memory is to be lowest, as for `srprof.trace`. Other sizes
            work too.
        level: "exact", every bit of the result stays, or "equivalent", up to rounding (relative
            error of some 1e-7 in float32), for a lower peak where the network has fusions.
        weights: a checkpoint for the network that a SPEC names.
        dtype: of parameters and inputs; the model's own by default.
        tiles: run larger images in tiles of this LR height and width, halo included. The halo is
            the network's own, and proved; a network that is not local is refused.
        progress: called after each tile, with how many are done and of how many.

    Raises:
        InputError: the SPEC, the level or the example is wrong, or tiles are asked of a network
            that is not local.
        ModelError: building the model raised.
    """
    check_level(level)
    call = call_of(model, example, weights=weights, dtype=dtype)
    model, workload = call.spec, resolve(call)
    with for_plans(workload.name), workload.environment():
        own = isinstance(model, str)
        built = workload.instance("cpu").model if own else copied_model(model, {})
        put_in_mode(built, training=False)
        module = Lean(frozen(built), level)
        tiling = tiles and _local(module.network, workload.name, tiles)
        device = next((str(p.device) for p in parameters(module)), "cpu")
        args, kwargs = workload.arguments(device)
        try:
            module.eval().prepare(*args, **kwargs)
        except RefusedError as refusal:
            warnings.warn(f"{workload.name} cannot be lean: {refusal}", stacklevel=2)
    module.train(mode=not own and model.training)
    if tiles is None or tiling is None:
        return module
    return Tiled(module, tiles, tiling.halo, tiling.multiple, progress)


def savings(
    workload: Workload, level: str = "exact", tiles: tuple[int, int] | None = None
) -> Savings:
    """What each pass of a level saves, and running in tiles of this LR height and width.

    Raises:
        RefusedError: the network cannot be lean, or not run in tiles; says why.
        InputError, ModelError: as `srprof.analyze`.
    """
    check_level(level)
    passes = LEVELS[level]
    before = after = analyze(run_trace(workload, constructor=False))  # what it left stays
    stages = [Stage("eager", _peaks(before))]
    forked = torch.random.fork_rng(devices=[])
    with workload.environment(), forked, sizes_forgotten(), collector_resting():
        torch.manual_seed(0)
        model, args, kwargs = workload.instance("cpu")
        tiling = tiles and _local(model, workload.name, tiles)
        choices = [passes[: count + 1] for count in range(len(passes))]
        try:
            captured = capture_call(frozen(model), args, kwargs)
            plans = [*map(planner(model, captured, args, kwargs), choices)]
        except RefusedError as refusal:
            raise RefusedError(f"{workload.name} cannot be lean: {refusal}") from refusal
    module = _with_plan(model, level, passes, plans[-1])
    after = _analyzed(workload, module)
    known = {plans[-1].lines: after}  # a pass that changes nothing gives the same lines
    for plan, chosen in zip(plans, choices, strict=True):
        if plan.lines not in known:
            made = _with_plan(model, level, chosen, plan)
            known[plan.lines] = _analyzed(workload, made, holders=False)
        stages.append(Stage(chosen[-1], _peaks(known[plan.lines])))
    if tiles is None or tiling is None:
        return Savings(tuple(stages), before, after, module, bound=bound_of(plans[-1], after))
    after = _analyzed(workload, Tiled(module, tiles, tiling.halo, tiling.multiple))
    return Savings((*stages, Stage("tiles", _peaks(after))), before, after, module, tiling)


def bound_of(plan: Plan, analysis: Analysis) -> int | None:
    """Bytes that the eager peak is not below, whatever the order of the plan's calls.

    Args:
        analysis: of the lean network in the call that the plan was made for.
    """
    return None if plan.least is None else analysis.memory.net + plan.least


def _with_plan(model: nn.Module, level: str, passes: tuple[str, ...], plan: Plan) -> Lean:
    module = Lean(model, level, passes)
    module.plans = [plan]
    return module


def _analyzed(workload: Workload, module: nn.Module, holders: bool = True) -> Analysis:
    """The analysis of another module in the workload's call; `holders` as for `run_trace`."""
    called = replace(workload, build=lambda device: copy_model(module, device))
    return analyze(run_trace(called, holders=holders))


def _local(network: nn.Module, name: str, tiles: tuple[int, int]) -> Locality:
    """The network's halo, with which tiles of this size can be cut; found before all other work."""
    tiling = locality(network)
    if not tiling.local:
        raise RefusedError(f"{name} cannot run in tiles with the same result: {tiling.reason}")
    Tiled(network, tiles, tiling.halo, tiling.multiple)  # refuses a size that cannot be cut
    return tiling


def _peaks(analysis: Analysis) -> dict[str, int]:
    return {name: peak.nbytes for name, peak in analysis.peaks.items()}
