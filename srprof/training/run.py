"""A training run: from its configuration to trained and merged weights."""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srprof import registry, spec
from srprof.errors import InputError, SrprofError
from srprof.output import say
from srprof.progress import Progress, silent
from srprof.temporary import clear
from srprof.timeout import begin, limited
from srprof.tracing.step import adam, training_step
from srprof.training import checkpoint
from srprof.training.config import TrainingConfig, read_training
from srprof.training.data import batch_of
from srprof.training.log import Log, LogRow
from srprof.training.plan import TrainingPlan, alone_in_run, prepare
from srprof.training.record import Merged, Score, TrainingResult
from srprof.training.validation import score_network, to_input
from srprof.weights import write_state_dict
from srprof.workload import Instance

MERGED = "merged.pth"


class StoppedError(SrprofError):
    """The user interrupted a run, which can go on."""

    exit_code = 130


def train(config: TrainingConfig | str, progress: Progress = silent) -> TrainingResult:
    """Train, from the beginning or from where the run's folder says; see `srprof train`.

    Args:
        config: the run, or the path of its TOML file.
        progress: told what is done, how many steps of it, and of how many.

    Raises:
        InputError, ModelError: as `prepare`; or the checkpoint in the folder is of another run.
        StoppedError: the user interrupted it.
    """
    if isinstance(config, str):
        config = read_training(config)
    return run(prepare(config, progress), progress)


def run(plan: TrainingPlan, progress: Progress = silent) -> TrainingResult:
    """Make the steps that are left, validate and merge."""
    config = plan.config
    folder = _made(Path(config.output))
    devices = [config.device] if config.device != "cpu" else []
    with (
        alone_in_run(folder),
        plan.workload.environment(),
        torch.random.fork_rng(devices=devices),
    ):
        clear(folder)
        begun = _begin(plan, folder)
        try:
            with _stops() as stop, limited(config.model):
                return _go_on(plan, begun, stop, progress)
        except KeyboardInterrupt:
            if begun.undone() and begun.saved != begun.iteration:
                _save(begun)
            raise StoppedError(_stopped(begun.path)) from None
        finally:
            begun.log.close()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {folder}: cannot be made: {error.strerror}") from error
    return folder


@dataclass
class _Run:
    """A run while it goes on.

    Attributes:
        losses: those that are not in the log yet.
        saved: the iteration of its checkpoint; None if there is none yet.
        before: what the step that is being made changes before the optimizer does: random states
            and buffers as they were. None between two steps.
        stepped: the optimizer has begun to change the weights.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    path: Path
    identity: checkpoint.Identity
    iteration: int
    losses: list[Tensor | float]
    log: Log
    saved: int | None
    before: tuple[Tensor, list[Tensor], list[Tensor]] | None = None
    stepped: bool = False

    def begin_step(self) -> None:
        """Keep what is needed to undo a step that is interrupted."""
        on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.before, self.stepped = (torch.get_rng_state(), on_gpus, buffers), False

    def begins(self, phase: str) -> None:
        """Told by the step which part of it begins."""
        self.stepped = phase == "update"

    def undone(self) -> bool:
        """Whether the run stands between two steps, or has been put back there."""
        if self.before is None or self.stepped:
            return self.before is None
        random, on_gpus, buffers = self.before
        torch.set_rng_state(random)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(value)
        return True


def _save(state: _Run) -> None:
    losses = [*map(float, state.losses)]
    parts = state.model, state.optimizer, state.iteration, losses, state.identity
    checkpoint.save(state.path, *parts)
    state.saved = state.iteration


class _Stop:
    """What Ctrl-C asks for: `asked` to stop behind this step, or, the second time, at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        say("srprof: stopping behind this step, with a checkpoint; the next Ctrl-C stops at once")


@contextmanager
def _stops() -> Iterator[_Stop]:
    """Have Ctrl-C, and SIGTERM, wait for the end of a step, unless the program has its own ways."""
    stop, before = _Stop(), dict[int, Any]()
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    if threading.current_thread() is threading.main_thread():
        for number, handler in usual.items():
            if signal.getsignal(number) == handler:
                before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(path: Path) -> str:
    if not path.exists():
        return "stopped before the first checkpoint; the same command begins anew"
    return f"stopped; the same command goes on from {path}"


#: Layers whose weights `he_` draws.
_DRAWN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def he_(model: nn.Module, gain: float = 1.0) -> None:
    """Draw the weights of convolutions and linear layers by He et al. (ICCV 2015, equation 10).

    Normal, with the variance 2 / fan-in, times the gain; biases 0. What is frozen stays.
    """
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, _DRAWN):
                continue
            if module.weight.requires_grad:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                module.weight.mul_(gain)
            if module.bias is not None and module.bias.requires_grad:
                module.bias.zero_()


def _begin(plan: TrainingPlan, folder: Path) -> _Run:
    """The run at its first step, or where its checkpoint left it."""
    config = plan.config
    torch.manual_seed(config.seed)
    model = plan.workload.build("cpu")
    if config.init == "he":
        he_(model, config.init_gain)
    model.to(config.device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = adam(trained, config.lr, config.betas, config.eps)
    identity = {**config.identity(), "images": plan.data.fingerprint}
    path = folder / checkpoint.NAME
    iteration, losses, saved = 0, list[float](), None
    if path.exists():
        iteration, losses = checkpoint.restore(path, model, optimizer, identity)
        saved = iteration
    log = Log(folder, iteration, config.log == "tensorboard")
    return _Run(model, optimizer, path, identity, iteration, [*losses], log, saved)


def _go_on(plan: TrainingPlan, state: _Run, stop: _Stop, progress: Progress) -> TrainingResult:
    config, started = plan.config, state.iteration
    if started > config.iterations:
        what = f"{state.path} has made {started} iterations already"
        mend = "raise it, or name another output"
        raise InputError(f"{what}, and iterations = {config.iterations}: {mend}")
    loss = score = None
    tell = _with_time_left(progress, config.iterations)
    facts = plan.data.training, plan.data.scale, config.patch, config.batch, config.seed
    for iteration in range(started, config.iterations):
        begin()
        for group in state.optimizer.param_groups:
            group["lr"] = config.lr_at(iteration)
        batch = batch_of(*facts, iteration)
        image, target = (to_input(x, config.value_range, config.device) for x in batch)
        state.begin_step()
        step = training_step(
            Instance(state.model, (image,), {}), state.optimizer, (target,), state.begins
        )
        state.losses.append(step)
        state.iteration = iteration + 1
        at_end = state.iteration == config.iterations
        row = blank = LogRow(state.iteration, config.lr_at(iteration))
        if at_end or state.iteration % config.log_every == 0:
            loss = _mean_loss(state, config)
            row = replace(row, loss=loss)
        if at_end or state.iteration % config.validate_every == 0:
            score = _score(plan, state.model)
            row = replace(row, validation_psnr=score.psnr, validation_l1=score.l1)
        if row != blank:
            state.log.add(row)
        state.before = None
        if at_end or state.iteration % config.checkpoint_every == 0:
            _save(state)
        tell(state.iteration, loss)
        if stop.asked:
            raise KeyboardInterrupt
    score = score or _score(plan, state.model)
    merged = _merge(plan, state.model, score)
    return TrainingResult(plan, started, loss, score, state.path, merged)


def _mean_loss(state: _Run, config: TrainingConfig) -> float:
    """Mean of the losses since the last row of the log, as a share of the range."""
    mean = sum(map(float, state.losses)) / len(state.losses) / config.value_range
    state.losses.clear()
    if not isfinite(mean):
        what = f"the loss is {mean} after {state.iteration} iterations"
        raise InputError(f"{what}: lower lr or init_gain; {_stopped(state.path)}")
    return mean


def _score(plan: TrainingPlan, model: nn.Module) -> Score:
    config, data = plan.config, plan.data
    return score_network(model, data.validation, data.scale, config.value_range, config.device)


def _merge(plan: TrainingPlan, model: nn.Module, score: Score) -> Merged | None:
    """Merge the training form, write it and hold its score against the training form's."""
    network = spec.parse(plan.config.model).network
    if network is None or not network.merge:
        return None
    merge: Callable[[nn.Module], nn.Module] = registry.load(network.merge)
    merged = merge(copy.deepcopy(model).cpu())
    path = Path(plan.config.output) / MERGED
    write_state_dict(merged.state_dict(), str(path))
    merged_score = _score(plan, merged.to(plan.config.device))
    one, other = merged_score.psnr_unrounded, score.psnr_unrounded
    return Merged(path, merged_score, 0.0 if one == other else one - other)  # inf is inf


def _with_time_left(progress: Progress, total: int) -> Callable[[int, float | None], None]:
    """A progress that says the loss and for how long the run will go on."""
    began: list[tuple[int, float]] = []

    def say(done: int, loss: float | None) -> None:
        now = time.monotonic()
        if not began:
            began.append((done, now))
        first, start = began[0]
        words = ["training"] if loss is None else [f"training, loss {loss:.4f}"]
        if done > first:
            left = (now - start) / (done - first) * (total - done)
            words.append(f"{_duration(left)} left")
        progress(", ".join(words), done, total)

    return say


def _duration(seconds: float) -> str:
    """`12 s`, `3 min`, `5.2 h` or `4.1 days`."""
    for length, unit in ((86400, "days"), (3600, "h")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
