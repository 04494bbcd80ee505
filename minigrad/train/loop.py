"""fit: the training loop.  Copy it into a script of your own when you need another one."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import brief, number_in_range, whole_number
from ..data import IterableDataset
from ..distributed import DistributedDataParallel, expect_agreement, get_local_rank
from ..errors import DivergenceError, DtypeError, StateError, ValidationError
from ..nn import Module
from ..nn.formula import NotAFormulaError, hold, read_formulas
from ..nn.utils import clip_grad_norm_
from ..optim import Optimizer
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..precompile import warmup
from ..replay import graph as record, map_tensors
from ..tape import no_grad
from ..tensors import Tensor, tensor
from .evaluation import device_of, evaluate, split_batch
from .history import History, direction
from .interruption import StopRequest
from .log import ProgressBar, TensorBoard, print_row
from .metrics import Metric, accuracy, named, summed
from .ranks import Part, as_share, join
from .run import Checkpoints, Run, first_batch

Callback = Callable[[Run], object]


def fit(
    model: Any, loader: Any, loss: Callable[[Tensor, Tensor], Tensor], optimizer: Any, epochs: int, *,
    validation: Any = None, metrics: Iterable[Metric] | Mapping[str, Metric] = (accuracy,), scheduler: Any = None,
    epoch_scheduler: Any = None, accumulate: int = 1, clip_norm: float | None = None, patience: int | None = None,
    monitor: str | None = None, monitor_mode: str | None = None, folder: str | Path | None = None,
    resume: bool | str | Path = False, checkpoint_every: int | None = None, settings: Mapping[str, Any] | None = None,
    on_step: Callback | None = None, on_epoch: Callback | None = None, graph: bool | None = None,
    progress: bool = True, tensorboard: bool = False, distributed: bool = False,
) -> History:  # fmt: skip
    """Train a model, and return what was measured.

    model, optimizer   of the same parameters; batches are moved to the model's device
    loader             batches (inputs, targets), as of a DataLoader
    loss               a function of (outputs, targets) that returns one number, as F.cross_entropy
    epochs             passes over the loader, in all
    validation         batches to measure after each epoch, which are not learned from
    metrics            functions of (outputs, targets), as train.accuracy and train.top_k(5)
    scheduler          a learning-rate schedule, stepped after each step of the optimiser, as OneCycleLR
    epoch_scheduler    one stepped after each epoch; ReduceLROnPlateau gets the loss, or with mode="max" the value of
                       `monitor`
    accumulate         number of batches per step of the optimiser, which gets the mean of their gradients
    clip_norm          largest norm of all gradients together; None: no limit
    patience           stop after so many epochs without improvement of `monitor`; None: never
    monitor            the column of the history that tells the best epoch; None: the first of "val_accuracy",
                       "val_loss", "train_loss" that there is
    monitor_mode       "min" or "max": which value of it is best; None: the lowest loss, the highest accuracy
    folder             for checkpoints last.safetensors and best.safetensors, and log.csv; None: nothing is written.
                       Those of an earlier run are moved to "earlier-1" in it
    resume             True: continue from last.safetensors in the folder; or the path of another checkpoint
    checkpoint_every   steps between checkpoints within an epoch; None: one after each epoch
    settings           notes kept in the checkpoint, as {"lr": 0.1}; resume refuses if they differ
    on_step, on_epoch  functions of the Run, called after each step and epoch; if on_epoch returns True, training stops
    graph              record a step with mg.graph, and replay it, which is faster: True always, False never; None:
                       where the texts of the model, the loss and the metrics only compute tensors.  With True, plain
                       numbers that they read elsewhere keep the values of the first step
    progress           show a bar in each epoch, and print a line after it
    tensorboard        also write the numbers of each epoch for TensorBoard
    distributed        True: train on all ranks of an MPI job, which `mpiexec -n 4 python script.py` starts.  Each rank
                       calls fit, and learns from a part of every batch; the first one prints and writes

    Ctrl-C ends the run after the present step, with a checkpoint.  A run that resumes, after that or after any crash,
    continues from its last checkpoint with the same bits as one that was never stopped: weights, state of the
    optimiser and of schedules, order of samples, random numbers of minigrad.  Numbers that the caller draws from other
    libraries are not restored.  If the last batches of an epoch are fewer than `accumulate`, they are a step too.

    At the end the model has the weights of the last epoch; load_best(model, folder) loads those of the best.

    With `distributed`, batches are divided among N ranks.  They get the weights, to the last bit, of one process whose
    batches are as small as the parts and which has accumulate=N, if N divides the size of all batches.  Dropout draws
    other numbers on each rank, and running statistics of batch normalisation are those of the first rank.  The loss
    must be a mean over samples.  With batch normalisation, use drop_last=True, so that no part has one sample.  A run
    can be resumed with another number of ranks.  Functions given here are called on every rank; run.ranks tells them
    which one this is.

    Raises   ValidationError   a setting is out of range; this is raised before training
             StateError        the optimiser has none of the model's parameters; or, in resume, the checkpoint is of
                               another model or run; the message says what differs
             DataError         resume: there is no checkpoint, or it is damaged; the last good one is named
             DivergenceError   the loss is nan or infinite; the message names the step and the last checkpoint
             DeviceError       distributed: no MPI launcher started this program
             RankError         distributed: the ranks differ in what must be equal, or a rank does not come in time
    Example
    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> batches = [(mg.tensor([[1.0], [2.0]]), mg.tensor([[2.0], [4.0]]))]
    >>> model = mg.nn.Linear(1, 1)
    >>> optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    >>> history = fit(model, batches, F.mse_loss, optimizer, 50, metrics=(), progress=False)
    >>> history["train_loss"][-1] < 0.1
    True
    """
    measures = named(metrics)
    _check_objects(model, loader, loss, optimizer, scheduler, epoch_scheduler)
    _check(epochs, accumulate, clip_norm, patience, folder, resume, checkpoint_every, tensorboard)
    _check_monitor(monitor, monitor_mode, list(measures), validation is not None)
    _check_length(scheduler, loader, epochs, accumulate)
    ranks = join("fit", distributed, loader, validation)
    plan = _Plan(
        loss, measures, accumulate, patience, monitor, monitor_mode,
        None if folder is None else Checkpoints(folder), checkpoint_every, on_step, on_epoch,
        progress and ranks.is_first,
        TensorBoard(Path(folder)) if folder is not None and tensorboard and ranks.is_first else None,
    )  # fmt: skip
    schedulers = {"scheduler": scheduler, "epoch_scheduler": epoch_scheduler}
    schedulers = {name: value for name, value in schedulers.items() if value is not None}
    settings = {"accumulate": accumulate, "clip_norm": clip_norm, "metrics": list(measures), **(settings or {})}
    run = Run(model, optimizer, schedulers, loader, validation, epochs, settings, ranks)
    if ranks.size > 1:
        own = {"patience": patience, "checkpoint_every": checkpoint_every, "folder": folder and str(folder)}
        expect_agreement("fit", epochs=epochs, setting=run.settings | own)
    shared = DistributedDataParallel(model) if ranks.size > 1 else model
    if plan.checkpoints and resume:
        plan.checkpoints.resume(run, None if resume is True else resume)
    step = make_step(model, shared, loss, optimizer, list(measures.values()), clip_norm)
    if graph or graph is None:
        step = record(step) if graph else _record_where_same(step, model, [loss, *measures.values()])
    if run.epoch < epochs:
        _compile_in_turn(run, plan, clip_norm)
    elif ranks.is_first:
        print(f"nothing is left to train after {run.epoch} epochs")
    with StopRequest(is_alone=ranks.size == 1) as stop:
        while not (run.epoch >= epochs or stop.is_due or _is_over(run.history, plan)):
            if _train_epoch(run, step, plan, stop):
                _end_epoch(run, plan)
    if stop.is_due:
        run.history.stopped = "stopped by a signal"
    if plan.checkpoints and run.batch:
        plan.checkpoints.save(run)
    return run.history


class _Plan(NamedTuple):
    """What fit was asked for."""

    loss: Any
    measures: dict[str, Metric]
    accumulate: int
    patience: int | None
    monitor: str | None
    monitor_mode: str | None
    checkpoints: Checkpoints | None
    checkpoint_every: int | None
    on_step: Callback | None
    on_epoch: Callback | None
    progress: bool
    board: TensorBoard | None


# ---- one step


def make_step(
    model: Any, shared: Any, loss: Any, optimizer: Any, metrics: list[Metric], clip_norm: float | None
) -> Any:  # fmt: skip
    """Return the function that learns from a batch, which mg.graph can record.

    shared   the model, or the DistributedDataParallel of it

    The function takes the batch; the share that the loss is multiplied by, None for 1; the number of batches whose mean
    gradient makes a step of the optimiser, None for one; and whether this is the first and the last of them.  It
    returns the loss and the sum of each metric over the samples.
    """

    def step(
        inputs: list[Tensor], targets: Tensor, share: Tensor | None, together: Tensor | None, first: bool, last: bool
    ) -> list[Tensor]:
        with nullcontext() if last or shared is model else shared.no_sync():
            outputs = shared(*inputs)
            value = loss(outputs, targets)
            if first:
                optimizer.zero_grad()
            (value if share is None else value * share).backward()
        if last:
            if together is not None:
                _divide_gradients(model, together)
            if clip_norm is not None:
                clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
        outputs = map_tensors(Tensor.detach, outputs)
        return [value.detach(), *[summed(metric(outputs, targets), len(targets)) for metric in metrics]]

    return step


@no_grad()
def _divide_gradients(model: Any, number: Tensor) -> None:
    for p in model.parameters():
        if p.grad is not None:
            p.grad.div_(number)


def _record_where_same(step: Any, model: Any, functions: list[Any]) -> Any:
    """Return the step recorded, if the texts of a model and of functions show that it makes no difference."""
    try:
        guards = read_formulas(model, functions)
    except NotAFormulaError:
        return step
    recorded = record(step)
    return lambda *batch: (recorded if hold(guards) else step)(*batch)


def _compile_in_turn(run: Run, plan: _Plan, clip_norm: float | None) -> None:
    """Let the first rank of each machine compile, and then the others, which find the kernels on disk."""
    is_first = run.ranks.size == 1 or get_local_rank() == 0
    for is_mine in (is_first, not is_first):
        if is_mine:
            _compile_ahead(run, plan, clip_norm)
        run.ranks.wait()


def _compile_ahead(run: Run, plan: _Plan, clip_norm: float | None) -> None:
    """Compile the kernels of the run that are not on disk, on all cores, which must happen before threads begin."""
    if isinstance(getattr(run.loader, "dataset", None), IterableDataset):
        return  # whose samples may come only once
    random = run.random_states()
    with suppress(Exception):  # a model that cannot be copied, or a function that reads values: compiled when they run
        model, loss, optimizer = deepcopy((run.model, plan.loss, run.optimizer))
        metrics = list(plan.measures.values())

        def rehearse() -> None:
            device = device_of(model)
            batch = split_batch("fit", first_batch(run.loader), device)
            step = make_step(model, model, loss, optimizer, metrics, clip_norm)
            step(*batch, None, _together(plan, plan.accumulate), True, True)
            if run.validation is not None:
                evaluate(model, [first_batch(run.validation)], loss, plan.measures)

        warmup(rehearse)
    run.set_random_states(random)


def _learn(run: Run, step: Any, group: list[Part], plan: _Plan, stop: StopRequest) -> int:
    """Take one step of the optimiser on a group of batches, and note what it measured; return the samples."""
    start, device, together = time.perf_counter(), device_of(run.model), _together(plan, len(group))
    losses, totals, samples, check = [], [0.0] * (1 + len(plan.measures)), 0.0, 0
    for number, part in enumerate(group):
        inputs, targets = split_batch("fit", part.batch, device)
        share = as_share(part.share)
        value, *sums = step(inputs, targets, share, together, number == 0, number + 1 == len(group))
        losses.append(_as_finite(value, run, plan))
        N = len(targets) * (part.share > 0)
        if N:
            totals = [total + _number(new) for total, new in zip(totals, [losses[-1] * N, *sums], strict=True)]
        samples, check = samples + N, check ^ part.check
    mean = sum(losses) / len(losses)
    if run.ranks.size > 1:
        *totals, samples, stops = run.ranks.add([*totals, samples, stop.requested], check)
        mean, stop.agreed = totals[0] / samples, stops > 0
    run.note(mean, int(samples), dict(zip(["loss", *plan.measures], totals, strict=True)))
    run.batch += len(group)
    run.seconds += time.perf_counter() - start
    return int(samples)


def _number(value: Tensor | float) -> float:
    return value if isinstance(value, float) else value.item()


def _together(plan: _Plan, batches: int) -> Tensor | None:
    """The number of batches of a step, as a tensor, which a recording reads anew in each replay."""
    return None if plan.accumulate == 1 else tensor(float(batches))


def _as_finite(loss: Tensor, run: Run, plan: _Plan) -> float:
    """Return the loss as a number.

    Raises   DivergenceError   it is nan or infinite
    """
    value = loss.item()
    if math.isfinite(value):
        return value
    where, kept = f"step {run.batch + 1} of epoch {run.epoch + 1}", plan.checkpoints
    good = f"the last checkpoint is {kept.last}, {kept.written}" if kept and kept.written else "there is no checkpoint"
    rate = run.optimizer.param_groups[0]["lr"]
    raise DivergenceError(f"fit: the loss is {value} at {where}; {good}.  Try a learning rate smaller than {rate:g}")


# ---- one epoch


def _train_epoch(run: Run, step: Any, plan: _Plan, stop: StopRequest) -> bool:
    """Learn from the rest of an epoch; return whether it came to its end."""
    run.model.train()
    before = run.batch
    with ProgressBar(run, plan.progress) as bar:
        for group in _in_groups(run.batches(), plan.accumulate):
            if stop.is_due:
                return False
            bar.update(run, _learn(run, step, group, plan, stop))
            if "scheduler" in run.schedulers:
                run.schedulers["scheduler"].step()
            if plan.on_step is not None:
                plan.on_step(run)
            if plan.checkpoints and plan.checkpoint_every and run.step % plan.checkpoint_every == 0:
                plan.checkpoints.save(run)
    if not (before or run.batch):
        sizes = {name: run.settings.get(name) for name in ("samples", "batch_size")}
        raise ValidationError(f"fit: the loader has no batches ({sizes}); with drop_last, a batch must not be larger")
    return True


def _in_groups(batches: Iterator[Part], size: int) -> Iterator[list[Part]]:
    """Yield lists of `size` batches; the last list has the rest."""
    while group := list(islice(batches, size)):
        yield group


def _end_epoch(run: Run, plan: _Plan) -> None:
    """Measure the model on the validation data, and write what is to be kept of the epoch."""
    row = run.end_epoch()
    if run.validation is not None:
        if hasattr(run.validation, "epoch"):
            run.validation.epoch = run.epoch  # for random numbers that its samples draw
        measured = evaluate(run.model, run.validation, plan.loss, plan.measures, run.ranks.size > 1)
        row |= {f"val_{name}": value for name, value in measured.items()}
    run.history.rows.append(row)
    column = _monitored(run.history, plan)
    if "epoch_scheduler" in run.schedulers:
        schedule = run.schedulers["epoch_scheduler"]
        schedule.step(*_value_for_plateau(schedule, row, column))
    if plan.progress:
        print_row(row, run.epochs)
    answer = None if plan.on_epoch is None else plan.on_epoch(run)
    if run.ranks.gather([isinstance(answer, bool | np.bool_) and bool(answer)]).any():
        run.history.stopped = "on_epoch returned True"
    if plan.checkpoints:
        plan.checkpoints.save(run, is_best=row is run.history.best(column, plan.monitor_mode))
    if plan.board:
        plan.board.write(row)


def _value_for_plateau(scheduler: Any, row: dict[str, float], column: str) -> list[float]:
    """The argument of a schedule's step: the loss, or with mode "max" the monitored value, for ReduceLROnPlateau."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        return []
    return [row[column] if scheduler.mode == "max" else row.get("val_loss", row["train_loss"])]


def _monitored(history: History, plan: _Plan) -> str:
    """The column of the history that tells which epoch is best."""
    wanted = ["val_accuracy", "val_loss", "train_loss"] if plan.monitor is None else [plan.monitor]
    return next(column for column in wanted if column in history.columns)


def _is_over(history: History, plan: _Plan) -> bool:
    """Whether the run stops before its last epoch."""
    if plan.patience is not None and history.rows:
        column = _monitored(history, plan)
        since = history.rows[-1]["epoch"] - history.best(column, plan.monitor_mode)["epoch"]
        if since >= plan.patience:
            history.stopped = f"{column} has not improved for {since:.0f} epochs"
    return history.stopped is not None


def _check_objects(
    model: Any, loader: Any, loss: Any, optimizer: Any, scheduler: Any, epoch_scheduler: Any
) -> None:  # fmt: skip
    """Refuse objects with which nothing would be learned, before anything runs."""
    for name, value, fits in (
        ("model", model, isinstance(model, Module)), ("loss", loss, callable(loss)),
        ("optimizer", optimizer, isinstance(optimizer, Optimizer)),
    ):  # fmt: skip
        if not fits:
            raise DtypeError(
                f"fit: {name} is {brief(value)}; give a Module, a function of (outputs, targets), and an Optimizer"
            )
    if isinstance(model, DistributedDataParallel):
        raise ValidationError("fit: model is a DistributedDataParallel; give model.module, and distributed=True")
    own = {id(parameter) for parameter in model.parameters()}
    if own.isdisjoint(id(parameter) for group in optimizer.param_groups for parameter in group["params"]):
        raise StateError("fit: the optimizer has none of the model's parameters; make it of model.parameters()")
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValidationError("fit: ReduceLROnPlateau is stepped after each epoch; give it as epoch_scheduler")
    for value in (scheduler, epoch_scheduler):
        if getattr(value, "optimizer", optimizer) is not optimizer:
            raise StateError("fit: the schedule changes the learning rate of another optimizer; make it of this one")
    if isinstance(loader, Iterator):
        raise ValidationError("fit: the loader is an iterator, which ends after one epoch; give the loader itself")


def _check_length(scheduler: Any, loader: Any, epochs: int, accumulate: int) -> None:
    """Refuse a schedule that ends before the run."""
    with suppress(TypeError, NotImplementedError):  # a loader without a length
        steps = epochs * -(-len(loader) // accumulate)
        if steps > getattr(scheduler, "total_steps", steps):
            raise ValidationError(
                f"fit: {epochs} epochs have {steps} steps, but the schedule has total_steps={scheduler.total_steps}; "
                f"make it with total_steps={steps}"
            )


def _check_monitor(monitor: str | None, mode: str | None, metrics: list[str], validation: bool) -> None:
    kinds = ["train", "val"] if validation else ["train"]
    known = ["step", "lr", *[f"{kind}_{name}" for kind in kinds for name in ["loss", *metrics]]]
    if monitor is not None and monitor not in known:
        raise ValidationError(f"fit: monitor is {brief(monitor)}; use one of {', '.join(known)}")
    direction(monitor or "val_loss", mode)


def _check(
    epochs: int, accumulate: int, clip_norm: float | None, patience: int | None, folder: Any, resume: Any,
    checkpoint_every: int | None, tensorboard: bool,
) -> None:  # fmt: skip
    counts = {"epochs": epochs, "accumulate": accumulate, "patience": patience, "checkpoint_every": checkpoint_every}
    for name, value in counts.items():
        if value is not None:
            whole_number("fit", name, value, least=1)
    if clip_norm is not None:
        number_in_range("fit", "clip_norm", clip_norm, 0)
    for name, wanted in {"resume": resume, "checkpoint_every": checkpoint_every, "tensorboard": tensorboard}.items():
        if wanted and folder is None:
            raise ValidationError(f"fit: {name} needs a folder; give folder='runs/name'")
