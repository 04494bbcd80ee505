"""What all transforms share: calls, random parameters, and transforms made of others.

A random transform draws all parameters of one call from one seed, so that they do not depend on anything else.  The
seed is the next one of the current stream (streams.next_seed): random transform number t of a Compose has the seed
mix(seed of the stream, t).  A DataLoader reads each sample with a stream of its own, so a sample has the same random
parameters for every number of workers and batch size, and after a resumed epoch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import number_in_range, type_with_article
from ..errors import DtypeError, ValidationError
from ..ops.noise import uniform_noise
from ..runtime.device import CPU
from ..streams import mix, next_seed
from .images import InterpolationMode, get_dimensions

Parameters = dict[str, Any]
CALLS_AT_ONCE = 3  # of Draws, beyond those needed, whose words are hashed together
DROPPED = np.uint64(11)  # of 64 random bits; 53 make a float64


class Draws:
    """Random numbers for N images, all of which follow from the seeds (N,) uint64; each call gives new ones."""

    def __init__(self, seeds: Any):
        self.seeds = np.atleast_1d(np.asarray(seeds, np.uint64))
        self._count = 0
        self._mixed = np.empty((0, len(self.seeds)), np.uint64)  # a row for each call, several made at once

    def _rows(self, count: int) -> np.ndarray:
        """64 random bits in (count, N)."""
        first, self._count = self._count, self._count + count
        if self._count > len(self._mixed):
            calls = np.arange(len(self._mixed), self._count + CALLS_AT_ONCE, dtype=np.uint64)
            more = mix(self.seeds, calls[:, None])
            self._mixed = np.concatenate([self._mixed, more]) if first else more
        return self._mixed[first : self._count]

    def _words(self, *shape: int) -> np.ndarray:
        """64 random bits in (N, *shape)."""
        words = self._rows(1)[0]
        if not shape:
            return words
        numbers = np.arange(int(np.prod(shape)), dtype=np.uint64)
        return mix(words[:, None], numbers).reshape(len(words), *shape)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, *, shape: Sequence[int] = ()) -> np.ndarray:
        """(N, *shape) numbers from low to high, high excluded; both may be (N,)."""
        return low + (high - low) * ((self._words(*shape) >> DROPPED) * 2.0**-53)

    def uniforms(self, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
        """(K, N) numbers: for each image K numbers, number k from low[k] to high[k]."""
        least, most = np.array(low)[:, None], np.array(high)[:, None]
        return least + ((most - least) * 2.0**-53) * (self._rows(len(least)) >> DROPPED)

    def integers(self, low: Any, high: Any) -> np.ndarray:
        """(N,) whole numbers from low to high, high excluded; both may be (N,)."""
        return np.floor(self.uniform(low, high)).astype(np.int64)

    def happens(self, p: float) -> np.ndarray:
        """(N,) bools, which are true with probability p."""
        return self.uniform() < p

    def normal(self, shape: Sequence[int] = ()) -> np.ndarray:
        """(N, *shape) numbers of the standard normal distribution, by Box and Muller's method."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(shape=shape)))
        return radius * np.cos(2 * np.pi * self.uniform(shape=shape))

    def noise(self, pixels: int) -> np.ndarray:
        """(2, pixels, N) float32 numbers from -1 to 1, two of each pixel."""
        return uniform_noise(CPU, self._words(), pixels)

    def order(self, n: int) -> np.ndarray:
        """(N, n) permutations of 0 ... n-1."""
        return np.argsort(self.uniform(shape=(n,)), axis=1)


def draw_one() -> Draws:
    """Draws for one image, from the next seed of the current stream."""
    return Draws(next_seed())


class Transform:
    """The base of transforms: a call transforms one image.

    A subclass defines `forward`, and names in `_shown` the settings that its repr shows.
    """

    _shown: tuple[str, ...] = ()

    def __call__(self, img: Any) -> Any:
        return self.forward(img)

    def forward(self, img: Any) -> Any:
        where = type(self).__name__
        raise NotImplementedError(f"{where}: forward is missing; define it to return the transformed image")

    def __repr__(self) -> str:
        settings = ((name, getattr(self, name)) for name in self._shown)
        return f"{type(self).__name__}({', '.join(f'{name}={show(value)}' for name, value in settings)})"


def show(value: Any) -> str:
    """A setting as in torchvision's representations."""
    return value.value if isinstance(value, InterpolationMode) else str(value)


class RandomTransform(Transform):
    """The base of transforms with random parameters.

    A subclass defines `draw`, which returns the parameters of N images, (N, ...) each, by name, and `apply`, which
    transforms one image with the parameters of one.
    """

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        where = type(self).__name__
        raise NotImplementedError(f"{where}: draw is missing; define it to return the random parameters")

    def apply(self, img: Any, *arguments: Any, **parameters: Any) -> Any:
        where = type(self).__name__
        raise NotImplementedError(f"{where}: apply is missing; define it to return the transformed image")

    def forward(self, img: Any) -> Any:
        return self.apply(img, **self._draw_for(img))

    def _draw_for(self, img: Any) -> Parameters:
        """The parameters for one image."""
        return {name: values[0] for name, values in self.draw(draw_one(), get_dimensions(img)).items()}


class OccasionalTransform(RandomTransform):
    """The base of transforms that change an image with probability p, always in the same way.

    p   0 to 1
    """

    _shown: tuple[str, ...] = ("p",)

    def __init__(self, p: float = 0.5):
        number_in_range(type(self).__name__, "p", p, 0, 1)
        self.p = p

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        return {"happens": draws.happens(self.p)}

    def apply(self, img: Any, happens: bool) -> Any:
        return self.change(img) if happens else img

    def change(self, img: Any) -> Any:
        """Return the changed image."""
        where = type(self).__name__
        raise NotImplementedError(f"{where}: change is missing; define it to return the changed image")


# ---- transforms made of others


class Container(Transform):
    """The base of transforms made of others."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        where = type(self).__name__
        if not isinstance(transforms, Sequence):
            raise DtypeError(f"{where}: transforms is {type_with_article(transforms)}; give a list of transforms")
        for transform in transforms:
            if isinstance(transform, type):
                raise DtypeError(f"{where}: {transform.__name__} is a class; give an object, {transform.__name__}(...)")
            if not callable(transform):
                raise DtypeError(f"{where}: {transform!r} is no transform; give objects that can be called")
        self.transforms = transforms

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n{self._lines()}\n)"

    def _lines(self) -> str:
        return "\n".join(f"    {transform}" for transform in self.transforms)


class Compose(Container):
    """Apply transforms one after the other.

    transforms   a list of transforms, or of other functions of an image

    A DataLoader that reads images in memory applies many such lists to whole batches, see transforms.batch.
    Raises   DtypeError   transforms is no list of objects that can be called
    Example
    >>> from minigrad.transforms import CenterCrop, ToTensor
    >>> Compose([ToTensor(), CenterCrop(2)])(np.zeros((4, 4), np.uint8)).shape
    (1, 2, 2)
    """

    def forward(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img


class RandomApply(Container):
    """Apply a list of transforms with probability p.

    Raises   ValidationError   p is not from 0 to 1
    Example
    >>> from minigrad.transforms import ToTensor
    >>> RandomApply([ToTensor()], p=1)(np.zeros((4, 4), np.uint8)).shape
    (1, 4, 4)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5):
        super().__init__(transforms)
        number_in_range("RandomApply", "p", p, 0, 1)
        self.p = p

    def forward(self, img: Any) -> Any:
        if draw_one().happens(self.p)[0]:
            for transform in self.transforms:
                img = transform(img)
        return img

    def _lines(self) -> str:
        return f"    p={self.p}\n{super()._lines()}"


class RandomChoice(Container):
    """Apply one of the transforms, chosen at random.

    p   a weight of 0 or more for each transform; None: equal ones

    Raises   ValidationError   p has another length, or no weight above 0
    Example
    >>> from minigrad.transforms import ToTensor
    >>> RandomChoice([ToTensor(), ToTensor()], p=[0, 1])(np.zeros((4, 4), np.uint8)).shape
    (1, 4, 4)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None):
        super().__init__(transforms)
        if p is not None and (len(p) != len(transforms) or min(p) < 0 or sum(p) <= 0):
            raise ValidationError(
                f"RandomChoice: p is {p} for {len(transforms)} transforms; give each a weight of 0 or more, not all 0"
            )
        self.p = p

    def forward(self, img: Any) -> Any:
        weights = np.ones(len(self.transforms)) if self.p is None else np.asarray(self.p, float)
        place = draw_one().uniform(0, weights.sum())[0]
        chosen = np.searchsorted(np.cumsum(weights), place, side="right")
        return self.transforms[min(int(chosen), len(weights) - 1)](img)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomOrder(Container):
    """Apply all transforms, in a random order.

    Example
    >>> from minigrad.transforms import CenterCrop, Pad
    >>> RandomOrder([CenterCrop(2), Pad(1)])(np.zeros((1, 4, 4), np.uint8)).shape[0]
    1
    """

    def forward(self, img: Any) -> Any:
        for number in draw_one().order(len(self.transforms))[0]:
            img = self.transforms[number](img)
        return img


class Lambda(Transform):
    """Apply a function of one's own.

    Raises   DtypeError   lambd cannot be called
    Example
    >>> Lambda(lambda x: x + 1)(1)
    2
    """

    def __init__(self, lambd: Callable[[Any], Any]):
        if not callable(lambd):
            raise DtypeError(f"Lambda: lambd is {type_with_article(lambd)}; give a function")
        self.lambd = lambd

    def forward(self, img: Any) -> Any:
        return self.lambd(img)
