"""The state of a training run: everything on which its next step depends, and its checkpoints."""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from copy import copy, deepcopy
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from ..errors import DataError, MinigradError, StateError, ValidationError
from ..random import get_rng_state, set_rng_state
from ..runtime.files import printable_path
from ..serialization import load, save
from ..tensors import Tensor, tensor
from .evaluation import device_of
from .history import History

FORMAT = "minigrad.train checkpoint, version 1"
LOG = "log.csv"
POSITION = ("epoch", "batch", "seconds", "samples", "first_epoch")  # attributes of a Run that a checkpoint holds


class Run:
    """A training run, which callbacks get.

    model, optimizer, loader, validation   as given to fit
    history                    the History so far
    epochs                     number of epochs in all
    epoch                      number of finished epochs
    batch                      number of batches of the present epoch that have been learned from
    settings                   what a run that resumes must have in common with this one
    """

    def __init__(
        self, model: Any, optimizer: Any, schedulers: dict[str, Any], loader: Any, validation: Any, epochs: int,
        settings: dict[str, Any],
    ):  # fmt: skip
        self.model, self.optimizer, self.schedulers = model, optimizer, schedulers
        self.loader, self.validation, self.epochs = loader, validation, epochs
        rules = _describe_optimizer(optimizer, schedulers)
        self.settings = {**settings, **_describe_loader(loader), **rules, "validation": validation is not None}
        self.first_epoch = getattr(loader, "epoch", 0)  # of the loader, which may have been used before
        self.history = History()
        self.epoch = self.batch = 0
        self.totals: dict[str, float] = {}  # of the present epoch, over its samples
        self.samples, self.seconds = 0, 0.0
        self.random_at_start: list[Tensor] = []  # of the present epoch
        self.resumed: dict[str, list[Tensor]] | None = None  # random numbers of a checkpoint, until the first step

    @property
    def step(self) -> int:
        """The number of steps of the optimiser so far."""
        return len(self.history.loss)

    def batches(self) -> Iterator[Any]:
        """Iterate over the rest of the present epoch, as if it had not been interrupted."""
        if self.resumed is None:
            self.random_at_start = self.random_states()
            return self._iterate()
        self.random_at_start = self.resumed["at_start" if self.batch else "now"]
        self.set_random_states(self.random_at_start)  # the order of the samples may be drawn from it
        batches = self._iterate()
        if self.batch:
            first = list(islice(batches, 1))  # now the order is drawn
            batches = chain(first, batches)
            self.set_random_states(self.resumed["now"])
        self.resumed = None
        return batches

    def _iterate(self) -> Iterator[Any]:
        if not hasattr(self.loader, "iterate_from"):
            return islice(iter(self.loader), self.batch, None)
        self.loader.epoch = self.first_epoch + self.epoch
        return self.loader.iterate_from(self.batch)

    def random_states(self) -> list[Tensor]:
        """The states of the program's random numbers, and of the generators that the loader draws from."""
        return [get_rng_state(), *[source.get_state() for source in _generators_of(self.loader)]]

    def set_random_states(self, states: list[Tensor]) -> None:
        set_rng_state(states[0])
        for source, state in zip(_generators_of(self.loader), states[1:], strict=True):
            source.set_state(state)

    def end_epoch(self) -> dict[str, float]:
        """Begin the next epoch; return the means of this one's training metrics."""
        means = {f"train_{name}": total / max(1, self.samples) for name, total in self.totals.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"epoch": self.epoch + 1, "step": self.step, "seconds": self.seconds, "lr": rate, **means}
        self.epoch, self.batch, self.totals, self.samples, self.seconds = self.epoch + 1, 0, {}, 0, 0.0
        return row

    def state(self) -> dict[str, Any]:
        """Everything that another process needs to continue with the same bits."""
        return {
            "format": FORMAT,
            "settings": self.settings,
            "epochs": self.epochs,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
            "position": {name: getattr(self, name) for name in POSITION},
            "totals": self.totals,
            "loss": tensor(self.history.loss, "float64"),
            "rows": self.history.rows,
            "seeds": [getattr(loader, "seed", None) for loader in (self.loader, self.validation)],
            "random": {"at_start": self.random_at_start, "now": self.random_states()},
        }

    def restore(self, state: dict[str, Any], where: str) -> None:
        """Take over a state, or change nothing.

        Raises   StateError        it is of another model or another kind of run; the message says what differs
                 ValidationError   it has more epochs
        """
        self._compare(state["settings"], where)
        begun = state["position"]["epoch"] + (state["position"]["batch"] > 0)
        if self.epochs < begun:
            raise ValidationError(f"{where} has begun {begun} epochs, but epochs is {self.epochs}; use {begun} or more")
        before = deepcopy(self.model.state_dict())
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except MinigradError as error:
            self.model.load_state_dict(before)
            raise StateError(f"{where} is of another model: {error}") from None
        for name, scheduler in self.schedulers.items():
            own = {key: value for key, value in vars(scheduler).items() if key == "total_steps"}  # as for more epochs
            scheduler.load_state_dict({**state["schedulers"][name], **own})
        for name, value in state["position"].items():
            setattr(self, name, value)
        self.totals, self.history.rows = state["totals"], state["rows"]
        self.history.loss = state["loss"].tolist()
        for loader, seed in zip((self.loader, self.validation), state["seeds"], strict=True):
            if seed is not None:
                loader.seed = seed
        self.resumed = state["random"]

    def _compare(self, saved: dict[str, Any], where: str) -> None:
        names = dict.fromkeys([*saved, *self.settings])
        pairs = [(name, self.settings.get(name), saved.get(name)) for name in names]
        differing = [f"{name} is {now}, but it was {then}" for name, now, then in pairs if now != then]
        if differing:
            raise StateError(
                f"{where} is of another run: {'; '.join(differing)}.  Use the same, or train in another folder"
            )


def _describe_loader(loader: Any) -> dict[str, Any]:
    """What decides which samples a batch has."""
    found: dict[str, Any] = {name: getattr(loader, name, None) for name in ("batch_size", "shuffle", "drop_last")}
    for name, part in (("samples", getattr(loader, "dataset", None)), ("batches", loader)):
        with suppress(TypeError, NotImplementedError):  # no length
            found[name] = len(part)  # type: ignore[arg-type]
    return found


def _describe_optimizer(optimizer: Any, schedulers: dict[str, Any]) -> dict[str, Any]:
    """The rule of the optimiser and of its schedules: their names, and the numbers that training does not change."""
    found: dict[str, Any] = {"optimizer": type(optimizer).__name__}
    groups = [{**group, "lr": group.get("initial_lr", group["lr"])} for group in map(dict, optimizer.param_groups)]
    changing = {"params", "initial_lr"}
    if any("initial_lr" not in group for group in optimizer.param_groups) and schedulers:
        changing |= {"lr"}  # as ReduceLROnPlateau does
    if any(getattr(scheduler, "cycle_momentum", False) for scheduler in schedulers.values()):
        changing |= {"momentum", "betas"}
    for setting in groups[0]:
        if setting not in changing:
            found[f"optimizer.{setting}"] = [_plain(group.get(setting)) for group in groups]
    for name, scheduler in schedulers.items():
        found |= {name: type(scheduler).__name__, **_describe_schedule(name, scheduler)}
    return found


def _describe_schedule(name: str, scheduler: Any) -> dict[str, Any]:
    """The settings of a schedule: the attributes that its class takes as arguments."""
    known = vars(scheduler)
    names = [key for key in inspect.signature(type(scheduler)).parameters if key in known and key not in NOT_COMPARED]
    return {f"{name}.{key}": _plain(known[key]) for key in names}


NOT_COMPARED = {"optimizer", "last_epoch", "total_steps"}  # total_steps: a run may get more epochs


def _plain(value: Any) -> Any:
    """A setting as a checkpoint keeps it: numbers and texts, in lists; of everything else its class."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__


def first_batch(loader: Any) -> Any:
    """The first batch of a loader, read without its threads and without beginning an epoch."""
    quiet = copy(loader)
    for name in ("prefetch", "num_workers"):
        if hasattr(quiet, name):
            setattr(quiet, name, 0)
    return next(iter(quiet))


def _generators_of(loader: Any) -> list[Any]:
    """The mg.Generators of a loader and of its samplers."""
    samplers = [getattr(loader, name, None) for name in ("_sampler", "batch_sampler")]
    samplers.append(getattr(samplers[1], "sampler", None))
    found = [getattr(owner, "generator", None) for owner in (loader, *samplers)]
    return [generator for generator in found if generator is not None]


# ---- checkpoints


class Checkpoints:
    """The files of a run in a folder: last.safetensors to resume from, and best.safetensors after the best epoch."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.last, self.best = self.folder / "last.safetensors", self.folder / "best.safetensors"
        self.written = ""  # the moment of the last checkpoint, in words
        self.resumes = False

    def save(self, run: Run, is_best: bool = False) -> None:
        """Write the state of a run; an interrupted save leaves the file before it."""
        state = run.state()
        if not (self.written or self.resumes):
            self._set_aside()
        save(state, self.last)
        if is_best:
            save(state, self.best)
        self.written = f"after step {run.batch} of epoch {run.epoch + 1}" if run.batch else f"after epoch {run.epoch}"

    def _set_aside(self) -> None:
        """Move the files of an earlier run into a folder of their own."""
        files = [path for path in (self.best, self.folder / LOG, self.last) if path.exists()]
        if not files:
            return
        place = next(path for n in count(1) if not (path := self.folder / f"earlier-{n}").exists())
        place.mkdir()
        for path in files:
            path.rename(place / path.name)
        print(f"{printable_path(self.folder)} had an earlier run; its checkpoints and log are now in {place.name}")

    def resume(self, run: Run, path: str | Path | None = None) -> None:
        """Continue from last.safetensors, or from another checkpoint.

        Raises   DataError    there is no such file, it is damaged or no checkpoint; the last good one is named
                 StateError   as Run.restore
        """
        path = self.last if path is None else Path(path)
        self.resumes = True
        run.restore(self._read(path), f"checkpoint {printable_path(path)}")

    def _read(self, path: Path) -> dict[str, Any]:
        _check_exists(path)
        try:
            return read_checkpoint(path)
        except DataError as error:
            raise DataError(f"resume: {error}{self._advise(path)}") from None

    def _advise(self, path: Path) -> str:
        """Say which other checkpoint is good."""
        with suppress(DataError):
            if path != self.best and self.best.exists():
                epoch = read_checkpoint(self.best)["position"]["epoch"]
                good = printable_path(self.best)
                return f".  The last good checkpoint is {good}, after epoch {epoch}: give resume='{good}'"
        return ".  There is no other checkpoint in its folder; train again without resume"


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise DataError(f"resume: there is no {printable_path(path)}; train without resume first")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint.

    Raises   DataError   the file is damaged, or no checkpoint of this version
    """
    state = load(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise DataError(f"{printable_path(path)}: is no checkpoint of this version ({found!r}, expected {FORMAT!r})")
    return state


def saved_settings(folder: str | Path) -> dict[str, Any]:
    """Return the settings of the run in a folder, and its "epochs", so that a script can resume it without being told.

    Raises   DataError   there is no checkpoint, or it is damaged
    """
    path = Checkpoints(folder).last
    _check_exists(path)
    state = read_checkpoint(path)
    return {**state["settings"], "epochs": state["epochs"]}


def load_best(model: Any, folder: str | Path) -> int:
    """Load the weights of the best epoch of a run into its model; return the number of the epoch, from 1.

    folder   as given to fit
    """
    state = read_checkpoint(Checkpoints(folder).best)
    model.to(device_of(model)).load_state_dict(state["model"])
    return state["position"]["epoch"]
