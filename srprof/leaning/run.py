"""`srprof.lean`: a network in its lean form, and what each pass saves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from srprof.analysis import Analysis, analyze
from srprof.call import call_of
from srprof.copying import copied_model
from srprof.cost.profiles import Profile, read_profile
from srprof.leaning.backends import check_backend
from srprof.leaning.capture import Kwargs, RefusedError, sizes_forgotten
from srprof.leaning.choosing import Choice, Trials, choose, without
from srprof.leaning.forming import FORMING, Form
from srprof.leaning.levels import (
    LEVELS,
    OBJECTIVES,
    Backend,
    Objective,
    check_level,
    check_one,
)
from srprof.leaning.module import Lean, for_plans
from srprof.leaning.plan import Plan, capture_call
from srprof.leaning.record import Savings, Stage
from srprof.networks import frozen, parameters, put_in_mode
from srprof.running import aside
from srprof.tiling.locality import Locality, locality
from srprof.tiling.tiled import Tiled, TileProgress
from srprof.tracing.isolation import collector_resting
from srprof.tracing.run import run_trace
from srprof.workload import Workload, resolve


def lean(
    model: Any,
    *example: Any,
    level: str | None = None,
    weights: str | None = None,
    dtype: str | None = None,
    tiles: tuple[int, int] | None = None,
    progress: TileProgress | None = None,
    profile: str | Profile | None = None,
    objective: Objective = "both",
    backend: Backend = "eager",
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
            error of some 1e-7 in float32), for a lower peak where the network has fusions. With a
            profile "equivalent" is the default, else "exact".
        weights: a checkpoint for the network that a SPEC names.
        dtype: of parameters and inputs; the model's own by default.
        tiles: run larger images in tiles of this LR height and width, halo included. The halo is
            the network's own, and proved; a network that is not local is refused.
        progress: called after each tile, with how many are done and of how many.
        profile: of the device that it is to be fast on, as for `srprof.analyze`: at level
            "equivalent" it is given the widths, the layout and the calls that this wants, where
            what is predicted of the whole says that they pay.
        objective: what is to be least there, "memory", "time", or "both", their product.
        backend: what runs the plans: "eager", each call by itself; "inductor", compiled by
            `torch.compile`; "cudagraph", captured on the GPU for each size.

    Raises:
        InputError: the SPEC, the level, the profile, the objective or the example is wrong, a
            backend is missing, or tiles are asked of a network that is not local.
        ModelError: building the model raised.
    """
    device_profile = read_profile(profile)
    level = level or default_level(device_profile)
    check_level(level)
    check_one("objective", objective, OBJECTIVES)
    check_backend(backend)
    call = call_of(model, example, weights=weights, dtype=dtype)
    model, workload = call.spec, resolve(call)
    with for_plans(workload.name), workload.environment():
        own = isinstance(model, str)
        built = workload.instance("cpu").model if own else copied_model(model, {})
        put_in_mode(built, training=False)
        module = Lean(frozen(built), level, backend=backend)
        tiling = tiles and _local(module.network, workload.name, tiles)
        device = next((str(p.device) for p in parameters(module)), "cpu")
        args, kwargs = workload.arguments(device)
        module.eval()
        if device_profile is not None:
            chosen, module.plans = _chosen(
                workload, module.network, device, level, device_profile, objective
            )
            module.passes, module.form = chosen.passes, chosen.form
        try:
            module.prepare(*args, **kwargs)
        except RefusedError as refusal:
            warnings.warn(f"{workload.name} cannot be lean: {refusal}", stacklevel=2)
    module.train(mode=not own and model.training)
    if tiles is None or tiling is None:
        return module
    return Tiled(module, tiles, tiling.halo, tiling.multiple, progress)


def default_level(profile: Profile | None) -> str:
    """That of a network that is asked for with a profile, or without one."""
    return "exact" if profile is None else "equivalent"


def savings(
    workload: Workload,
    level: str = "exact",
    tiles: tuple[int, int] | None = None,
    *,
    profile: Profile | None = None,
    objective: Objective = "both",
    backend: Backend = "eager",
) -> Savings:
    """What each pass of a level saves, and running in tiles of this LR height and width.

    With a profile, which passes for that device pay is found out, and time is predicted too.

    Raises:
        RefusedError: the network cannot be lean, or not run in tiles; says why.
        InputError, ModelError: as `srprof.analyze`.
    """
    check_level(level)
    check_one("objective", objective, OBJECTIVES)
    check_backend(backend)
    before = after = _before(workload, profile)
    stages = [_stage("eager", before)]
    forked = torch.random.fork_rng(devices=[])
    with forked, sizes_forgotten(), collector_resting():
        with workload.environment():
            torch.manual_seed(0)
            model, args, kwargs, _ = workload.instance("cpu")
            tiling = tiles and _local(model, workload.name, tiles)
            trials = _trials(workload, frozen(model), args, kwargs, before)
        chosen = _choice(trials, level, objective)
        prefixes = [chosen.passes[:count] for count in range(1, len(chosen.passes) + 1)]
        modules = []
        for passes in prefixes:
            form = without(chosen.form, passes) if profile is not None else None
            modules.append(trials.module(form, passes, level))
        module = modules[-1]
        after = trials.analysis(module)
        known = {_lines(module): after}  # a pass that changes nothing gives the same lines
        for made in modules:
            if _lines(made) not in known:
                known[_lines(made)] = trials.analysis(made, holders=False)
            stages.append(_stage(made.passes[-1], known[_lines(made)]))
    module.backend = backend
    found = Savings(
        tuple(stages),
        before,
        after,
        module,
        objective=objective,
        ended=chosen.ended,
        bound=bound_of(module.plans[0], after),
    )
    if tiles is None or tiling is None:
        return found
    after = trials.analysis(Tiled(module, tiles, tiling.halo, tiling.multiple))
    stages.append(_stage("tiles", after))
    return replace(found, stages=tuple(stages), after=after, tiling=tiling, bound=None)


def _lines(module: Lean) -> tuple[tuple[str, ...], ...]:
    plan = module.plans[0]
    return plan.first, plan.lines


def bound_of(plan: Plan, analysis: Analysis) -> int | None:
    """Bytes that the eager peak is not below, whatever the order of the plan's calls.

    Args:
        analysis: of the lean network in the call that the plan was made for.
    """
    return None if plan.least is None else analysis.memory.net + plan.least


def _before(workload: Workload, profile: Profile | None) -> Analysis:
    """The network as it is; what its constructor left stays."""
    return analyze(run_trace(workload, constructor=False), profile=profile)


def _trials(
    workload: Workload, model: nn.Module, args: Sequence[Any], kwargs: Kwargs, before: Analysis
) -> Trials:
    try:
        captured = capture_call(model, args, kwargs)
    except RefusedError as refusal:
        raise RefusedError(f"{workload.name} cannot be lean: {refusal}") from refusal
    return Trials(workload, model, captured, args, kwargs, before)


def _choice(trials: Trials, level: str, objective: Objective) -> Choice:
    """What is done at a level; for a device what pays there."""
    passes = LEVELS[level]
    if trials.before.profile is None:
        return Choice(Form(), passes)
    if level == "exact":  # what is made once is the same to the bit
        return Choice(Form(constants=True), (*passes, FORMING[0]))
    return choose(trials, passes, objective)


def _chosen(
    workload: Workload,
    network: nn.Module,
    device: str,
    level: str,
    profile: Profile,
    objective: Objective,
) -> tuple[Choice, list[Plan]]:
    """The choice for a network of the caller's, with its plan.

    The level's passes, and no plan, where it cannot be lean.
    """
    with aside():
        before = _before(workload, profile)
        with workload.environment(), _disable_current_modes(), torch.inference_mode(False):
            model = copied_model(network, {})
            args, kwargs = workload.arguments(device)
            try:
                trials = _trials(workload, model, args, kwargs, before)
            except RefusedError:
                return Choice(Form(), LEVELS[level]), []
        chosen = _choice(trials, level, objective)
        return chosen, trials.module(chosen.form, chosen.passes, level).plans


def _stage(name: str, analysis: Analysis) -> Stage:
    latency = analysis.latency
    return Stage(name, _peaks(analysis), None if latency is None else latency.seconds)


def _local(network: nn.Module, name: str, tiles: tuple[int, int]) -> Locality:
    """The network's halo, with which tiles of this size can be cut; found before all other work."""
    tiling = locality(network)
    if not tiling.local:
        raise RefusedError(f"{name} cannot run in tiles with the same result: {tiling.reason}")
    Tiled(network, tiles, tiling.halo, tiling.multiple)  # refuses a size that cannot be cut
    return tiling


def _peaks(analysis: Analysis) -> dict[str, int]:
    return {name: peak.nbytes for name, peak in analysis.peaks.items()}
