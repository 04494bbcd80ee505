"""live: serve the page while a model trains.  The page shows the weights as they change, and can pause the training."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.checks import number_in_range, whole_number
from minigrad.errors import ValidationError
from minigrad.notebook import Html, escape, frame, stack
from minigrad.runtime.threads import local
from minigrad.viz.inputs import as_array, uses_model_info
from minigrad.viz.page.bundle import make_html
from minigrad.viz.page.encoding import to_base64
from minigrad.viz.page.payload import make_payload, make_subject
from minigrad.viz.page.server import Server

INTERVAL = 0.2  # seconds between two pictures of the first convolution
HEIGHT = 900  # pixels of the page in a notebook
WHOLE_INTERVAL = 2.0  # seconds between two pictures of all weights


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
    port: int = 0,
    paused: bool = False,
    open_browser: bool = False,
) -> "Live":
    """Serve the page of a model on this computer while it trains.

    model, images, labels, classes, normalize, title   as for viz.page
    optimizer      of the model, so that the page can change the learning rate; None: it cannot
    port           of the server; 0: any free one
    paused         whether training waits until the page says "play"
    open_browser   open the page
    returns        Live, whose `url` is to be opened in a browser; call its step(loss) after each training step

    The server listens on 127.0.0.1 only, and answers only who knows the random token in the address.  Five times a
    second at most it sends the weights of the first convolution, every two seconds all weights; without a reader it
    sends nothing.

    A notebook on the same computer shows the page where `Live` is the last value of a cell; train in a later cell.  A
    notebook on another computer, such as a cluster's, cannot reach it.

    Raises   ValidationError   as viz.page; or port is out of range
             OSError           the port is taken
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
    payload = make_payload(subject, None, title) | {"live": {"paused": paused, "rate": optimizer is not None}}
    session = Live(subject.model, optimizer, list(payload["weights"]), paused)
    session.serve(make_html(title, payload, live=True).encode(), port)
    if open_browser:
        import webbrowser

        webbrowser.open(session.url)
    return session


class Live:
    """A page that shows a training; made by viz.live.

    url   address of the page, with its token
    """

    def __init__(self, model: Any, optimizer: Any, names: list[str], paused: bool):
        self._parameters = {name: p for name, p in (*model.named_parameters(), *model.named_buffers()) if name in names}
        self._first = next((n for n, p in self._parameters.items() if p.ndim == 4), None)  # of the first convolution
        self._optimizer = optimizer
        self._changed = threading.Condition()
        self._paused, self._single, self._finished, self._closed = paused, False, False, False
        self._rate: float | None = None  # that the page asked for
        self._count, self._loss = 0, None
        self._next, self._next_whole = 0.0, 0.0
        self._server: Server | None = None

    def serve(self, html: bytes, port: int) -> None:
        """Start the server in threads of its own."""
        self._server = Server(html, self.control, port)

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, run: Any) -> None:
        """Count a step of train.fit: pass the object as its on_step."""
        self.step(run.history.loss[-1])

    # ---- called by the training

    def step(self, loss: Any) -> None:
        """Count one training step, show it, and wait while the page says "pause".

        loss   number, or Tensor of one element; read only when the page is updated

        Raises   GraphError   called inside a function that mg.graph records, where it would run only once
        """
        local.observer.refuse("Live.step", "call it outside, with the loss that the function returns")
        self._count += 1
        self._loss = loss
        self._apply_rate()
        if self._paused:
            self.wait()
        elif time.monotonic() >= self._next:
            self._publish()

    def wait(self) -> None:
        """Wait while the page says "pause"; call it before the first step, too."""
        self._publish()
        with self._changed:
            while self._paused and not self._single and not self._closed:
                self._changed.wait(0.5)  # so that Ctrl-C is noticed
            self._single = False
        self._apply_rate()
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

    def _apply_rate(self) -> None:
        rate, self._rate = self._rate, None
        if rate is not None:
            for group in self._optimizer.param_groups:
                group["lr"] = rate

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
        names = list(self._parameters) if whole else [self._first] if self._first else []
        self._server.publish(json.dumps(self._describe(names) | {"whole": whole}), keep=whole)

    def _describe(self, names: list[str]) -> dict[str, Any]:
        loss = None if self._loss is None else float(self._loss)
        gradient = None if self._first is None else self._parameters[self._first].grad
        return {
            "step": self._count,
            "loss": loss if loss is not None and np.isfinite(loss) else None,
            "paused": self._paused,
            "finished": self._finished,
            "lr": None if self._optimizer is None else float(self._optimizer.param_groups[0]["lr"]),
            "weights": {name: _encode(self._parameters[name]) for name in names},
            "gradients": {} if gradient is None else {self._first: _encode(gradient)},
        }

    # ---- called by the server's threads

    def control(self, command: Any) -> str | None:
        """Do what the page asks for; return what is wrong with it, or None."""
        actions: dict[str, Callable[[Any], None]] = {"play": self._play, "pause": self._pause, "step": self._one_step}
        if not isinstance(command, dict):
            return "a command is an object"
        name, value = command.get("command"), command.get("value")
        if name == "rate":
            return self._ask_rate(value)
        if name not in actions:
            return f"there is no command {name!r}; use play, pause, step or rate"
        with self._changed:
            actions[name](value)
            self._changed.notify_all()
        return None

    def _play(self, _: Any) -> None:
        self._paused = False

    def _pause(self, _: Any) -> None:
        self._paused = True

    def _one_step(self, _: Any) -> None:
        self._paused = self._single = True

    def _ask_rate(self, value: Any) -> str | None:
        if self._optimizer is None:
            return "the page cannot change the learning rate: viz.live got no optimizer"
        try:
            number_in_range("live", "rate", value, 0, 1e6)
        except ValidationError as error:
            return str(error)
        self._rate = float(value)
        return None


def _encode(tensor: Any) -> str:
    return to_base64(as_array(tensor).astype("<f4"))
