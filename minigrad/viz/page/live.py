"""live: serve the page while a model trains.  The page shows the weights as they change, and steers the training."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.checks import brief, number_in_range, whole_number
from minigrad.errors import ValidationError
from minigrad.notebook import Html, escape, frame, stack
from minigrad.runtime.threads import local
from minigrad.viz.inputs import as_array, as_loss, uses_model_info
from minigrad.viz.page.bundle import make_html
from minigrad.viz.page.encoding import to_base64
from minigrad.viz.page.filters import Convolution, Filters, describe_gradient
from minigrad.viz.page.payload import make_payload, make_subject
from minigrad.viz.page.program import Program
from minigrad.viz.page.server import Server

INTERVAL = 0.2  # seconds between two pictures of the convolution that is watched
HEIGHT = 900  # pixels of the page in a notebook
WHOLE_INTERVAL = 2.0  # seconds between two pictures of all weights
LARGEST_SEED = 2**32 - 1


@uses_model_info
def live(
    model: Any,
    images: Any,
    *,
    labels: Any = None,
    optimizer: Any = None,
    classes: Iterable[Any] | None = None,
    normalize: Any = None,
    title: str | None = None,
    restart: Callable[[int], Any] | None = None,
    port: int = 0,
    paused: bool = False,
    open_browser: bool = False,
) -> "Live":
    """Serve the page of a model on this computer while it trains.

    model, images, labels, classes, normalize, title   as for viz.page
    optimizer      of the model, so that the page can change the learning rate; None: it cannot
    restart        a function of a seed, a whole number from 0 to 4294967295, that gives model and optimiser their state
                   from before the training; called inside step() or wait() when the reader asks for it.  None: the page
                   cannot restart the training
    port           of the server; 0: any free one
    paused         whether training waits until the page says "play"
    open_browser   open the page
    returns        Live, whose `url` is to be opened in a browser; call its step(loss) after each training step

    The server listens on 127.0.0.1 only, and answers only who knows the random token in the address.  Five times a
    second at most it sends the weights of one convolution, every two seconds all weights; without a reader it sends
    nothing.

    The page can pause the training, change the learning rate, freeze single filters, and put filters of the reader's
    own into the model.  It takes effect in step().  A frozen filter keeps its weights and its bias; its momentum is 0,
    so that it starts from rest when it is released.  A filter that is put in starts from rest, too.

    A notebook on the same computer shows the page where `Live` is the last value of a cell; train in a later cell.  A
    notebook on another computer, such as a cluster's, cannot reach it.

    Raises   ValidationError   as viz.page; or port is out of range, or another program uses it
    Example
    >>> import minigrad as mg
    >>> from minigrad.models import LeNet5
    >>> with live(LeNet5(), mg.rand(2, 1, 28, 28)) as page:
    ...     page.step(2.3)
    ...     page.url.startswith("http://127.0.0.1:")
    True
    """
    port = whole_number("live", "port", port, 0, 65535)
    subject = make_subject("live", model, images, labels, classes, normalize)
    title = type(model).__name__ if title is None else title
    payload = make_payload(subject, None, title)
    controls = {"paused": paused, "rate": optimizer is not None, "restart": restart is not None}
    filters = Filters(_find_convolutions(subject.program, model), optimizer)
    session = Live(model, optimizer, list(payload["weights"]), filters, restart, paused)
    session.serve(make_html(title, payload | {"live": controls}, live=True).encode(), port)
    if open_browser:
        import webbrowser

        webbrowser.open(session.url)
    return session


def _find_convolutions(program: Program, model: Any) -> dict[str, Convolution]:
    """Return the convolutions whose weights are parameters, by the names of these."""
    parameters = dict(model.named_parameters())
    found: dict[str, Convolution] = {}
    for call in program.calls:
        if call.op == "conv2d":
            weight, bias = (program.names.get(id(array)) for array in call.inputs[1:3])
            if weight is not None and weight in parameters:
                found.setdefault(weight, Convolution(call.layer, parameters[weight], parameters.get(bias)))
    return found


class Live:
    """A page that shows and steers a training; made by viz.live.

    url   address of the page, with its token
    """

    def __init__(
        self, model: Any, optimizer: Any, names: list[str], filters: Filters, restart: Any, paused: bool
    ):  # fmt: skip
        self._parameters = {name: p for name, p in (*model.named_parameters(), *model.named_buffers()) if name in names}
        self._optimizer, self._filters, self._restart = optimizer, filters, restart
        self._watched = next(iter(filters.convolutions), None)  # name of the weight that is sent most often
        self._changed = threading.Condition()
        self._asked: list[Callable[[], None]] = []  # what the page asked for, to be done by the training's thread
        self._paused, self._single, self._finished, self._closed = paused, False, False, False
        self._stopped = False  # the training ended by an exception, such as Ctrl-C
        self._count, self._run, self._loss = 0, 0, None
        self._next, self._next_whole = 0.0, 0.0
        self._server: Server | None = None

    def serve(self, html: bytes, port: int) -> None:
        """Start the server in threads of its own."""
        try:
            self._server = Server(html, self.control, port, self._filters.longest)
        except OSError as error:
            raise ValidationError(
                f"live: port {port} cannot be opened: {error.strerror}; use another one, or 0 for any that is free"
            ) from error

    @property
    def url(self) -> str:
        """The address of the page."""
        return "" if self._server is None else self._server.url

    def __repr__(self) -> str:
        return f"Live({self.url}, {self._count} steps)"

    def _repr_html_(self) -> Html | None:
        """The page in a frame, and its address, for a notebook on this computer; nothing after close()."""
        if self._closed or not self.url:
            return None
        link = f'<a href="{escape(self.url)}" target="_blank" rel="noreferrer">{escape(self.url)}</a>'
        note = Html(f"{link} opens in a browser on the computer that runs Python, until the program ends.")
        return stack(frame("the model while it trains", HEIGHT, src=self.url), note)

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped = kind is not None and not self._finished
        self.close()

    def __call__(self, run: Any) -> None:
        """Count a step of train.fit: pass the object as its on_step."""
        self.step(run.history.loss[-1])

    # ---- called by the training

    def step(self, loss: Any) -> None:
        """Count one training step, show it, do what the page asks for, and wait while it says "pause".

        loss   number, or Tensor of one element; read only when the page is updated

        Raises   GraphError        called inside a function that mg.graph records, where it would run only once
                 ValidationError   loss is no number
        """
        local.observer.refuse("Live.step", "call it outside, with the loss that the function returns")
        self._count += 1
        self._loss = loss
        self._filters.restore()
        self._obey()
        if self._paused:
            self.wait()
        elif time.monotonic() >= self._next:
            self._publish()

    def wait(self) -> None:
        """Wait while the page says "pause"; call it before the first step, too.

        After finish(), wait until the reader restarts the training, or until close().
        """
        self._publish()
        while self._must_wait():
            with self._changed:  # half a second, so that Ctrl-C is noticed
                self._changed.wait_for(lambda: self._asked or not self._must_wait(), 0.5)
            if self._obey():
                self._publish()
        self._single = False
        self._next = 0.0

    def finish(self) -> None:
        """Tell the page that the training is finished.  The server goes on until close()."""
        if not self._finished:
            self._finished = True
            self._publish()

    def close(self) -> None:
        """Tell the page that the training is finished, and stop the server."""
        self.finish()
        if self._server is not None and not self._closed:
            self._server.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _must_wait(self) -> bool:
        return not self._closed and (self._finished or (self._paused and not self._single))

    def _obey(self) -> bool:
        """Do what the page asked for; return whether there was something."""
        with self._changed:
            asked, self._asked = self._asked, []
        for action in asked:
            action()
        if asked:
            self._next = self._next_whole = 0.0  # show it at once
        return bool(asked)

    def _publish(self) -> None:
        """Give the server what it sends to those who watch, and to those who come while nothing changes."""
        now = time.monotonic()
        self._next = now + INTERVAL
        rests = self._paused or self._finished
        if self._server is None or not (self._server.watchers or rests or not self._server.has_message):
            return
        whole = rests or now >= self._next_whole or not self._server.has_message
        if whole:
            self._next_whole = now + WHOLE_INTERVAL
        watched = [] if self._watched is None else [self._watched]
        names = (list(self._parameters), list(self._filters.convolutions)) if whole else (watched, watched)
        self._server.publish(json.dumps(self._describe(*names) | {"whole": whole}), keep=whole)

    def _describe(self, names: list[str], convolutions: list[str]) -> dict[str, Any]:
        """Return a message with the weights of these names, and the gradients of these convolutions."""
        loss, self._loss = self._loss, None  # one that is no number is refused once, not by close() again
        self._loss = loss = None if loss is None else as_loss("Live.step", loss)
        return {
            "run": self._run,
            "step": self._count,
            "loss": loss if loss is not None and np.isfinite(loss) else None,
            "paused": self._paused,
            "finished": self._finished,
            "stopped": self._stopped,
            "lr": None if self._optimizer is None else float(self._optimizer.param_groups[0]["lr"]),
            "watched": self._watched,
            "frozen": self._filters.frozen_numbers,
            "weights": {name: _encode(self._parameters[name]) for name in names},
            "gradients": {name: self._describe_gradient(name) for name in convolutions},
        }

    def _describe_gradient(self, name: str) -> dict[str, str]:
        gradient, reason = describe_gradient(self._filters.convolutions[name].weight, self._count)
        return {"none": reason} if gradient is None else {"float32": _encode(gradient)}

    # ---- called by the server's threads

    def control(self, command: Any) -> str | None:
        """Do what the page asks for, at once or at the next step; return what is wrong with it, or None."""
        if not isinstance(command, dict):
            return "a command is an object"
        actions = {
            "play": self._play, "pause": self._pause, "step": self._one_step, "rate": self._ask_rate,
            "watch": self._watch, "freeze": self._ask_freeze, "put": self._ask_put, "restart": self._ask_restart,
        }  # fmt: skip
        name = command.get("command")
        if not isinstance(name, str) or name not in actions:
            return f"there is no command {brief(name)}; use {', '.join(actions)}"
        if self._finished and name in ("rate", "freeze", "put"):
            return "the training is finished"
        with self._changed:
            wrong = actions[name](command)
            self._changed.notify_all()
        return wrong

    def _play(self, _: Any) -> None:
        self._paused = False

    def _pause(self, _: Any) -> None:
        self._paused = True

    def _one_step(self, _: Any) -> None:
        self._paused = self._single = True

    def _ask_rate(self, command: dict[str, Any]) -> str | None:
        if self._optimizer is None:
            return "the page cannot change the learning rate: viz.live got no optimizer"
        value = command.get("value")
        try:
            number_in_range("live", "rate", value, 0, 1e6)  # type: ignore[arg-type]  # it is checked there
        except ValidationError as error:
            return str(error)
        self._asked.append(lambda: self._set_rate(float(value)))  # type: ignore[arg-type]
        return None

    def _set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _watch(self, command: dict[str, Any]) -> str | None:
        wrong = self._filters.find_fault(command.get("name"), 0)
        self._watched = self._watched if wrong else command["name"]
        return wrong

    def _ask_freeze(self, command: dict[str, Any]) -> str | None:
        name, number, value = (command.get(key) for key in ("name", "filter", "value"))
        wrong = self._filters.find_fault(name, number)
        if wrong or not isinstance(value, bool):
            return wrong or f"value is {brief(value)}; use true to freeze the filter, false to release it"
        change = self._filters.freeze if value else self._filters.release
        self._asked.append(lambda: change(name, number))  # type: ignore[arg-type]
        return None

    def _ask_put(self, command: dict[str, Any]) -> str | None:
        name, number = command.get("name"), command.get("filter")
        wrong = self._filters.find_fault(name, number)
        weights = wrong or self._filters.read_weights(name, command.get("weights"))  # type: ignore[arg-type]
        if isinstance(weights, str):
            return weights
        self._asked.append(lambda: self._filters.put(name, number, weights))  # type: ignore[arg-type]
        return None

    def _ask_restart(self, command: dict[str, Any]) -> str | None:
        if self._restart is None:
            return "the page cannot restart the training: viz.live got no restart"
        try:
            seed = whole_number("live", "seed", command.get("value"), 0, LARGEST_SEED)
        except ValidationError as error:
            return str(error)
        self._asked.append(lambda: self._start_again(seed))
        return None

    def _start_again(self, seed: int) -> None:
        """Forget the run so far, and let the caller's function begin another one.  No filter is frozen then."""
        self._filters.frozen.clear()
        self._restart(seed)
        self._count, self._loss, self._finished = 0, None, False
        self._run += 1


def _encode(tensor: Any) -> str:
    return to_base64(as_array(tensor).astype("<f4"))
