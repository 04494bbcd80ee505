"""Finding a learning rate: train for a hundred steps with a rate that grows, and see where the loss falls fastest.

Source: L. Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3; the choice of the
steepest fall is that of the library fastai.
"""

import copy
import math
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import numpy as np

from ..checks import number_in_range, whole_number
from ..errors import ValidationError
from ..notebook import Html, picture
from ..random import get_rng_state, set_rng_state
from .evaluation import device_of, split_batch
from .loop import make_step

SMOOTHING = 0.9  # of the exponential mean of the losses
TOO_LARGE = 4.0  # times the lowest smooth loss: there the search ends


class RateSearch(NamedTuple):
    """The loss by learning rate.

    rates        learning rates that were tried, in rising order
    losses       smooth loss after the step with each
    suggestion   the rate at which the loss falls fastest; for OneCycleLR's highest rate, take up to 5 times as much
    """

    rates: list[float]
    losses: list[float]
    suggestion: float

    def _repr_html_(self) -> Html:
        """What a notebook shows: the curve."""
        from ..viz.curves import lr_curve  # imported here, because matplotlib takes a while

        return picture(lr_curve(self))


def find_lr(
    model: Any, loader: Any, loss: Any, optimizer: Any, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
) -> RateSearch:
    """Train with a learning rate that grows from step to step, and put everything back.

    model, loader, loss, optimizer   as for fit
    lowest, highest                  learning rates of the first and the last step, which grow by a constant factor
    steps                            training steps; the loader begins again if it has fewer batches
    returns                          a RateSearch; viz.lr_curve draws it

    The search ends early where the loss is four times its lowest value.

    Raises   ValidationError   a number is out of range, or the loss is never finite
    Example
    >>> import minigrad as mg
    >>> from minigrad.nn import functional as F
    >>> batches = [(mg.tensor([[1.0], [2.0]]), mg.tensor([[2.0], [4.0]]))]
    >>> model = mg.nn.Linear(1, 1)
    >>> search = find_lr(model, batches, F.mse_loss, mg.optim.SGD(model.parameters(), lr=0.1), highest=10.0)
    >>> 1e-6 < search.suggestion < 1
    True
    """
    number_in_range("find_lr", "lowest", lowest, 0)
    number_in_range("find_lr", "highest", highest, lowest)
    whole_number("find_lr", "steps", steps, least=2)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    random, epoch, training = get_rng_state(), getattr(loader, "epoch", None), model.training
    try:
        model.train()
        rates, losses = _try_rates(model, loader, loss, optimizer, np.geomspace(lowest, highest, steps).tolist())
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        optimizer.zero_grad()
        set_rng_state(random)
        model.train(training)
        if epoch is not None:
            loader.epoch = epoch
    return RateSearch(rates, losses, _steepest(rates, losses))


def _try_rates(
    model: Any, loader: Any, loss: Any, optimizer: Any, rates: list[float]
) -> tuple[list[float], list[float]]:
    """Take a step with each rate until the loss explodes; return the rates and the smooth losses."""
    step, device, losses = make_step(model, model, loss, optimizer, [], None), device_of(model), list[float]()
    batches = chain.from_iterable(repeat(loader))
    mean = 0.0
    for number, (rate, batch) in enumerate(zip(rates, islice(batches, len(rates)), strict=False), 1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = step(*split_batch("find_lr", batch, device), None, None, True, True)[0].item()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smooth = mean / (1 - SMOOTHING**number)
        if not math.isfinite(smooth) or (losses and smooth > TOO_LARGE * min(losses)):
            break
        losses.append(smooth)
    return rates[: len(losses)], losses


def _steepest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest by the logarithm of the rate."""
    if len(losses) < 3:
        raise ValidationError(
            f"find_lr: the loss was finite for {len(losses)} rates only, expected 3 or more; give a smaller lowest"
        )
    slopes = np.gradient(losses, np.log(rates))
    return rates[int(slopes.argmin())]
