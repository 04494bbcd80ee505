"""Whole batches of images in memory: a Compose of supported transforms becomes one launch of a kernel.

`plan_batch` returns a plan for a list of transforms, or None where images must be transformed one by one.  A list is
supported if it has, in any order that the transforms allow,

    Pad, CenterCrop, RandomCrop with a constant margin, flips
    at most one of RandomRotation, RandomAffine, RandomPerspective, ElasticTransform; not with BICUBIC, or expand=True
    one conversion to float32: ToTensor; or PILToTensor or ToImage, and then ConvertImageDtype or ToDtype
    Normalize

with one colour of new pixels, for images of 1 or 3 channels.  The colour must be in whole grey levels if pads come
before bilinear resampling.  Results are those of the transforms one by one, each image being a Pillow image (C = 1: L,
C = 3: RGB) read in the stream of its seed, with the same parameters: random transform number t of the list draws from
mix(seed, t).  Whole and nearest pixels are equal, up to the rounding of normalisation; bilinear means can differ by one
grey level, where rounding decides.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops import warp as kernels
from ..ops.warp import ACROSS, AX, CY, DOWN, HIGH, LEFT, SX, TX, TY, WIDE, X0
from ..streams import mix
from . import functional as F
from .base import Compose, Draws, Parameters, RandomTransform
from .conversion import per_channel
from .converting import ConvertImageDtype, Normalize, PILToTensor, ToDtype, ToImage, ToTensor
from .geometry import (
    CenterCrop,
    ElasticTransform,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomRotation,
    RandomVerticalFlip,
    corners,
)
from .images import InterpolationMode

ONE, POINT = kernels.ONE, kernels.POINT
PICTURE, BYTES, FLOATS = "picture", "bytes", "floats"  # what an image is, between two transforms
PILLOW_POINT = 16  # bits after the point of Pillow's places of nearest pixels
SMALLEST_SCALE, LARGEST_SHEAR = 1e-3, 80.0  # degrees; beyond, places would not fit in 64 bits


class Unsupported(Exception):  # noqa: N818 - never seen by callers
    """A list of transforms that has no plan."""


# ---- whole pixels


class PixelMap:
    """Crops, pads and flips of N images as one map: pixel c of a line comes from place sign*c + start of the image.

    Pixels from outside of first ... end-1 are new.  Each of these is (2, N), along x and along y; or (2, 1), of all.
    """

    def __init__(self, sides: Any):
        height, width = sides
        self.sides = np.array([[width], [height]])
        self.sign, self.start, self.first, self.end = ONES, ZEROS, ZEROS, self.sides

    def pad(self, left: int, top: int, right: int, bottom: int) -> None:
        self.start = self.start - self.sign * np.array([[left], [top]])
        self.sides = self.sides + np.array([[left + right], [top + bottom]])

    def crop(self, top: Any, left: Any, size: Sequence[int]) -> None:
        self.start = self.start + self.sign * np.array([left, top]).reshape(2, -1)
        self.sides = np.array([[size[1]], [size[0]]])
        last = self.start + self.sign * (self.sides - 1)
        self.first = np.maximum(self.first, np.minimum(self.start, last))
        self.end = np.minimum(self.end, np.maximum(self.start, last) + 1)

    def flip(self, axis: int, happens: np.ndarray) -> None:
        flipped = np.zeros((2, len(happens)), np.int64)
        flipped[axis] = happens
        self.start = self.start + flipped * self.sign * (self.sides - 1)
        self.sign = self.sign * (1 - 2 * flipped)

    @property
    def moved(self) -> bool:
        return self.start is not ZEROS

    def visible(self) -> tuple[np.ndarray, np.ndarray]:
        """The first pixel of the result that comes from the image, and the number of such pixels."""
        if not self.moved:
            return ZEROS, self.sides
        low, high = self.sign * (self.first - self.start), self.sign * (self.end - 1 - self.start)
        first = np.maximum(np.minimum(low, high), 0)
        return first, np.maximum(np.minimum(np.maximum(low, high) + 1, self.sides) - first, 0)


ZEROS, ONES = np.zeros((2, 1), np.int64), np.ones((2, 1), np.int64)
Step = Callable[[PixelMap, Parameters], None]


def _pad(transform: Pad) -> Step:
    sides = F.four_sides("Pad", transform.padding)
    if transform.padding_mode != "constant" or min(sides) < 0:
        raise Unsupported
    return lambda pixels, drawn: pixels.pad(*sides)


def _center_crop(transform: CenterCrop) -> Step:
    height, width = transform.size

    def step(pixels: PixelMap, drawn: Parameters) -> None:
        W, H = pixels.sides[:, 0].tolist()
        x, y = max(width - W, 0), max(height - H, 0)
        pixels.pad(x // 2, y // 2, (x + 1) // 2, (y + 1) // 2)
        pixels.crop(round((H + y - height) / 2), round((W + x - width) / 2), (height, width))

    return step


def _random_crop(transform: RandomCrop) -> Step:
    if transform.padding_mode != "constant" or min(transform.margins) < 0:
        raise Unsupported

    def step(pixels: PixelMap, drawn: Parameters) -> None:
        W, H = pixels.sides[:, 0].tolist()
        for margins in transform.margins_for(H, W):
            pixels.pad(*margins)
        pixels.crop(drawn["top"], drawn["left"], transform.size)

    return step


def _flip(axis: int) -> Callable[[Any], Step]:
    return lambda transform: lambda pixels, drawn: pixels.flip(axis, drawn["happens"])


STEPS: dict[type, Callable[[Any], Step]] = {
    Pad: _pad,
    CenterCrop: _center_crop,
    RandomCrop: _random_crop,
    RandomHorizontalFlip: _flip(0),
    RandomVerticalFlip: _flip(1),
}


# ---- resampling: places in the image, from parameters of N images.  A map is a, b, c of x, and of y


def _affine_map(transform: RandomAffine, drawn: Parameters, sides: Sequence[int], picture: bool) -> list[Any]:
    height, width = sides
    x, y = width * 0.5, height * 0.5
    cx, cy = (x, y) if transform.center is None else transform.center
    shears = (0.0, 0.0) if transform.shear is None else (drawn["shear_x"], drawn["shear_y"])
    center = (cx, cy) if picture else (cx - x, cy - y)
    matrix = F.inverse_affine(center, drawn["angle"], (drawn["tx"], drawn["ty"]), drawn["scale"], shears)
    return matrix if picture else _from_corner(matrix, x, y)


def _rotation_map(transform: RandomRotation, drawn: Parameters, sides: Sequence[int], picture: bool) -> list[Any]:
    height, width = sides
    x, y = width / 2, height / 2
    cx, cy = (x, y) if transform.center is None else transform.center
    if not picture:
        matrix = F.inverse_affine((cx - x, cy - y), -drawn["angle"], (0, 0), 1.0, (0.0, 0.0))
        return _from_corner(matrix, x, y)
    angle = -np.radians(drawn["angle"] % 360.0)
    cosine, sine = np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)  # as Pillow
    return [cosine, sine, -cx * cosine - cy * sine + cx, -sine, cosine, cx * sine - cy * cosine + cy]


def _from_corner(matrix: list[Any], x: float, y: float) -> list[Any]:
    """A map of places that count from the middle (x, y) of the image, for places that count from its corner."""
    a, b, c, d, e, f = matrix
    return [a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y]


def _fixed(matrix: list[Any], nearest_in_picture: bool, N: int) -> np.ndarray:
    """A map (6, N) from numbers of pixels to places of their centres, in whole numbers with 32 bits after the point.

    For nearest pixels Pillow keeps 16 bits, except where lines stay parallel to the sides.
    """
    numbers = np.empty((6, N))
    for row, values in enumerate(matrix):
        numbers[row] = values
    numbers[2::3] += (numbers[::3] + numbers[1::3]) * 0.5
    if nearest_in_picture:
        inclined = (numbers[1] != 0) | (numbers[3] != 0)
        unit = 1 << PILLOW_POINT
        numbers = np.where(inclined, np.floor(numbers * unit + 0.5) / unit, numbers)
    return np.rint(numbers * ONE).astype(np.int64)


def _projection(transform: RandomPerspective, drawn: Parameters, sides: Sequence[int]) -> np.ndarray:
    height, width = sides
    numbers = F.perspective_coefficients(np.array(corners(width, height)), drawn["endpoints"])
    identity = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    return np.ascontiguousarray(np.where(drawn["happens"], numbers.T, identity[:, None]))


MAPS: dict[type, Any] = {RandomAffine: _affine_map, RandomRotation: _rotation_map}
MOVED = (RandomPerspective, ElasticTransform)
NO_PROJECTION, NO_FIELD = np.empty((8, 0)), np.empty((2, 0, 0, 0), np.float32)
IDENTITY = np.array([ONE, 0, ONE // 2, 0, ONE, ONE // 2])[:, None]


# ---- the plan


class Plan:
    """A list of transforms, ready for batches of images of one size.

    shape   (C, H, W) of the results
    """

    def __init__(self, transforms: Sequence[Any], dimensions: Sequence[int], dtype: np.dtype):
        self.dimensions = tuple(dimensions)
        C = self.dimensions[0]
        self.scale, self.shift = np.ones(C), np.zeros(C)
        self.fill: Any = None
        self.warp: Any = None
        self.state, self.sampling = PICTURE, kernels.NEAREST
        self.steps: list[tuple[Any, int, Step | None]] = []  # (transform, its random number or -1, step)
        randoms = 0
        for transform in transforms:
            self._add(transform, randoms)
            randoms += isinstance(transform, RandomTransform)
        if self.state != FLOATS:
            raise Unsupported
        self.fill = np.zeros(C) if self.fill is None else self.fill
        self.host_colours = [numbers.astype(dtype) for numbers in (self.fill, self.scale, self.shift)]
        self.colours: dict[Any, Any] = {}  # the same on each device
        _, after, _ = self._trace(np.zeros(1, np.uint64))
        self.shape = (C, *after.sides[::-1, 0].tolist())

    # what each transform adds

    def _add(self, transform: Any, number: int) -> None:
        kind = _plain_type(transform)
        if kind in STEPS:
            if kind in (Pad, RandomCrop):
                self._add_fill(transform.fill)
            elif kind is CenterCrop:
                self._add_fill(0)
            self.steps.append((transform, number, STEPS[kind](transform)))
        elif kind in MAPS or kind in MOVED:
            self._add_warp(transform, kind)
            self.steps.append((transform, number, None))
        elif kind is Normalize and self.state == FLOATS:
            mean, std = per_channel(transform.mean, transform.std, len(self.scale), np.float64)
            self.scale, self.shift = self.scale / std, (self.shift - mean) / std
        else:
            self._convert(transform, kind)

    def _convert(self, transform: Any, kind: type) -> None:
        if kind in (PILToTensor, ToTensor) and self.state == PICTURE:
            self.state = BYTES if kind is PILToTensor else FLOATS
        elif kind is ToImage and self.state in (PICTURE, BYTES):
            self.state = BYTES
        elif kind in (ConvertImageDtype, ToDtype) and self.state == BYTES and transform.dtype == np.float32:
            self.state = FLOATS
        else:
            raise Unsupported
        if self.state == FLOATS and getattr(transform, "scale", True):
            self.scale = self.scale / 255

    def _add_fill(self, fill: Any) -> None:
        """Take note of a colour of new pixels, in the units that pixels have at this place of the list."""
        numbers = np.atleast_1d(np.asarray(0 if fill is None else fill, float))
        if len(numbers) not in (1, len(self.scale)):
            raise Unsupported
        if self.state != FLOATS and (numbers.min() < 0 or numbers.max() > 255):
            raise Unsupported
        numbers = numbers if self.state == FLOATS else np.trunc(numbers)
        colour = (numbers - self.shift) / self.scale
        if self.fill is not None and not np.allclose(colour, self.fill, rtol=0, atol=1e-9):
            raise Unsupported
        self.fill = colour

    def _add_warp(self, transform: Any, kind: type) -> None:
        mode = transform.interpolation
        as_pixels = self.state != PICTURE or kind is ElasticTransform  # torchvision has no Pillow version of that one
        smallest = getattr(transform, "scale", None) or (1.0,)
        if self.warp is not None or self.shift.any() or getattr(transform, "expand", False):
            raise Unsupported
        if kind is RandomPerspective and as_pixels and mode is InterpolationMode.NEAREST:
            raise Unsupported  # many places lie between two pixels, where the rounding of float32 decides
        if max(map(abs, getattr(transform, "shear", None) or (0.0,))) > LARGEST_SHEAR:
            raise Unsupported
        if smallest[0] < SMALLEST_SCALE or mode not in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR):
            raise Unsupported
        frame_has_fill = self.fill is not None
        self._add_fill(transform.fill)
        self.warp, self.warps_picture = transform, self.state == PICTURE
        if mode is InterpolationMode.BILINEAR:
            soft = kernels.SOFT if self.state == FLOATS else kernels.SOFT_ROUNDED
            self.sampling = soft if as_pixels else kernels.PILLOW
            if frame_has_fill and not np.allclose(self.fill, np.rint(self.fill).clip(0, 255), rtol=0, atol=1e-9):
                raise Unsupported  # frames are bytes

    # a batch

    def __call__(self, device: Any, images: Any, numbers: np.ndarray, seeds: np.ndarray) -> Any:
        """Return the batch (N, C, H, W), batch-innermost in memory.

        images   (M, C, H, W) uint8   on the device
        numbers  (N,) int64           of the images
        seeds    (N,) uint64          of their streams: streams.sample_seeds
        """
        before, after, drawn = self._trace(np.asarray(seeds, np.uint64))
        sides = before.sides[::-1, 0].tolist()
        maps, kind = self._maps(before, after, drawn, len(numbers)), _plain_type(self.warp)
        projection = _projection(self.warp, drawn, sides) if kind is RandomPerspective else NO_PROJECTION
        field = drawn["displacement"].transpose(3, 1, 2, 0) if kind is ElasticTransform else NO_FIELD
        numbers = np.ascontiguousarray(numbers, np.int64)
        colours, size = self._colours_on(device), self.shape[1:]
        return kernels.warp_images(
            device, images, numbers, maps, projection, field, *colours, sides[::-1], self.sampling, size
        )

    def _colours_on(self, device: Any) -> tuple[Any, Any, Any]:
        """fill, scale and shift on a device."""
        if device not in self.colours:
            self.colours[device] = tuple(device.from_host(numbers) for numbers in self.host_colours)
        return self.colours[device]

    def _trace(self, seeds: np.ndarray) -> tuple[PixelMap, PixelMap, Parameters]:
        """Return the whole-pixel maps before and after the resampling, and the parameters of that."""
        before = after = PixelMap(self.dimensions[1:])
        warp_drawn: Parameters = {}
        for transform, number, step in self.steps:
            drawn = {}
            if isinstance(transform, RandomTransform):
                drawn = transform.draw(Draws(mix(seeds, number)), (self.dimensions[0], *after.sides[::-1, 0].tolist()))
            if step is None:
                before, warp_drawn = after, drawn
                after = PixelMap(before.sides[::-1, 0])
            else:
                step(after, drawn)
        if self.warp is None:
            before = PixelMap(self.dimensions[1:])
        return before, after, warp_drawn

    def _maps(self, before: PixelMap, after: PixelMap, drawn: Parameters, N: int) -> np.ndarray:
        """Return maps, as warp_images takes them."""
        maps, matrix = np.empty((kernels.ROWS, N), np.int64), IDENTITY
        if _plain_type(self.warp) in MAPS:
            find, sides = MAPS[_plain_type(self.warp)], before.sides[::-1, 0].tolist()
            nearest = self.warps_picture and self.sampling == kernels.NEAREST
            matrix = _fixed(find(self.warp, drawn, sides, self.warps_picture), nearest, N)
        maps[AX : CY + 1] = matrix
        if after.moved:
            along_x, along_y, constant = maps[AX : CY + 1].reshape(2, 3, N).swapaxes(0, 1)
            constant += along_x * after.start[0] + along_y * after.start[1]
            along_x *= after.sign[0]
            along_y *= after.sign[1]
        maps[LEFT : HIGH + 1 : 2], maps[WIDE : HIGH + 1 : 2] = after.visible()
        maps[SX : TY + 1 : 2], maps[TX : TY + 1 : 2] = before.sign, before.start
        maps[X0 : DOWN + 1 : 2], maps[ACROSS : DOWN + 1 : 2] = before.visible()
        return maps


def _plain_type(transform: Any) -> type:
    """The class of a transform in transforms, also for that of transforms.v2; other subclasses stand for themselves."""
    kind = type(transform)
    return kind.__bases__[1] if kind.__module__.endswith("transforms.v2") and len(kind.__bases__) == 2 else kind


def plan_batch(transform: Any, images_shape: Sequence[int], dtype: Any = np.float32) -> Plan | None:
    """Return a plan for batches of images in memory, or None where images must be transformed one by one.

    transform      a Compose, or one transform
    images_shape   (M, C, H, W), or (C, H, W)
    dtype          of the results: float32 or float64

    Example
    >>> from minigrad.transforms import RandomCrop, ToTensor
    >>> plan_batch(Compose([RandomCrop(28, padding=4), ToTensor()]), (1, 28, 28)).shape
    (1, 28, 28)
    >>> plan_batch(Compose([RandomCrop(28, padding=4)]), (1, 28, 28)) is None
    True
    """
    transforms = transform.transforms if _plain_type(transform) is Compose else [transform]
    if images_shape[-3] not in (1, 3):
        return None
    try:
        return Plan(transforms, images_shape[-3:], np.dtype(dtype))
    except Unsupported:
        return None
