"""Transforms that move pixels: sizes, crops, flips, rotations and other changes of shape."""

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..checks import brief, number_in_range
from ..errors import DtypeError, ValidationError
from ..ops.matmul import matmul
from ..runtime.device import CPU
from . import array_geometry, functional as F
from .base import Draws, OccasionalTransform, Parameters, RandomTransform, Transform, draw_one, show
from .images import InterpolationMode, get_dimensions, get_size, known_mode

BILINEAR, NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST


def interval(where: str, name: str, value: Any, least: float = -math.inf, most: float | None = None) -> Any:
    """Return (low, high), given as a pair; refuse a pair out of the range or in the wrong order."""
    if np.ndim(value) != 1 or len(value) != 2:
        raise ValidationError(f"{where}: {name} is {brief(value)}; give (lowest, highest)")
    for number in value:
        number_in_range(where, name, number, least, most)
    if value[0] > value[1]:
        raise ValidationError(f"{where}: {name} is {brief(value)}; exchange the numbers, the lowest comes first")
    return value


def degrees_around_0(where: str, name: str, value: Any, lengths: Sequence[int] = (2,)) -> list[float]:
    """Return [-value, value] of a number of 0 or more, or the numbers that are given."""
    if isinstance(value, Real):
        number_in_range(where, name, value, 0)  # type: ignore[arg-type]
        value = (-value, value)  # type: ignore[operator]
    if np.ndim(value) != 1 or len(value) not in lengths:
        raise ValidationError(f"{where}: {name} is {brief(value)}; give a number of 0 or more, or (lowest, highest)")
    return [float(number) for number in value]


class Resize(Transform):
    """Change the number of pixels; see resize.

    size            pixels   (height, width); or one number, for the shorter side
    interpolation   InterpolationMode
    max_size        pixels   limit of the longer side, if size is one number
    antialias       smooth where the image shrinks; Pillow always does

    Raises   ValidationError   a setting is out of its range
    Example
    >>> Resize(2)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 2, 3)
    """

    _shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(
        self, size: Any, interpolation: Any = BILINEAR, max_size: int | None = None, antialias: bool | None = True
    ):
        F.resized_size((1, 1), size, max_size)
        self.size, self.max_size, self.antialias = size, max_size, antialias
        self.interpolation = known_mode("Resize", interpolation)

    def forward(self, img: Any) -> Any:
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)


class CenterCrop(Transform):
    """Cut out the middle; see center_crop.

    size   pixels   one number, or (height, width)

    Example
    >>> CenterCrop(2)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 2, 2)
    """

    _shown = ("size",)

    def __init__(self, size: Any):
        self.size = F.two_sides("CenterCrop", size)

    def forward(self, img: Any) -> Any:
        return F.center_crop(img, self.size)


class Pad(Transform):
    """Add a margin; see pad.

    padding        pixels   one number; (left and right, top and bottom); or (left, top, right, bottom)
    fill           number, or one for each channel
    padding_mode   'constant', 'edge', 'reflect' or 'symmetric'

    Example
    >>> Pad(1)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 6, 8)
    """

    _shown = ("padding", "fill", "padding_mode")

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant"):
        F.four_sides("Pad", padding)
        self.padding, self.fill, self.padding_mode = padding, fill, known_padding("Pad", padding_mode)

    def forward(self, img: Any) -> Any:
        return F.pad(img, self.padding, self.fill, self.padding_mode)


def known_padding(where: str, mode: str) -> str:
    """Return a padding_mode; refuse an unknown one."""
    if mode not in array_geometry.PAD_MODES:
        raise ValidationError(f"{where}: padding_mode is {brief(mode)}; use {', '.join(array_geometry.PAD_MODES)}")
    return mode


class FiveCrop(Transform):
    """Return five parts as a tuple: the corners and the middle; see five_crop.

    Example
    >>> len(FiveCrop(2)(np.zeros((3, 4, 6), np.uint8)))
    5
    """

    _shown: tuple[str, ...] = ("size",)

    def __init__(self, size: Any):
        self.size = F.two_sides(type(self).__name__, size)

    def forward(self, img: Any) -> tuple[Any, ...]:
        return F.five_crop(img, self.size)


class TenCrop(FiveCrop):
    """Return ten parts as a tuple: those of FiveCrop, and those of the flipped image; see ten_crop.

    Example
    >>> len(TenCrop(2)(np.zeros((3, 4, 6), np.uint8)))
    10
    """

    _shown = ("size", "vertical_flip")

    def __init__(self, size: Any, vertical_flip: bool = False):
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def forward(self, img: Any) -> tuple[Any, ...]:
        return F.ten_crop(img, self.size, self.vertical_flip)


class RandomHorizontalFlip(OccasionalTransform):
    """Exchange left and right with probability p.

    Example
    >>> RandomHorizontalFlip(p=1)(np.array([[1, 2]]))
    array([[2, 1]])
    """

    def change(self, img: Any) -> Any:
        return F.hflip(img)


class RandomVerticalFlip(OccasionalTransform):
    """Exchange top and bottom with probability p.

    Example
    >>> RandomVerticalFlip(p=1)(np.array([[1], [2]]))
    array([[2],
           [1]])
    """

    def change(self, img: Any) -> Any:
        return F.vflip(img)


class RandomCrop(RandomTransform):
    """Cut out a part at a random place.

    size            pixels   one number, or (height, width)
    padding         pixels   margin that is added first, as in Pad; None: none
    pad_if_needed   add the missing pixels on both sides of an image that is too small
    fill, padding_mode       of the margins, as in Pad

    Raises   ValidationError   a setting is out of its range, or the image is smaller than size
    Example
    >>> RandomCrop(2)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 2, 2)
    """

    _shown = ("size", "padding")

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant"
    ):
        self.size = F.two_sides("RandomCrop", size)
        self.padding, self.pad_if_needed, self.fill = padding, pad_if_needed, fill
        self.margins = (0, 0, 0, 0) if padding is None else F.four_sides("RandomCrop", padding)
        self.padding_mode = known_padding("RandomCrop", padding_mode)

    def margins_for(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """The margins (left, top, right, bottom) that are added, one after the other."""
        left, top, right, bottom = self.margins
        steps = [] if self.padding is None else [self.margins]
        missing_x, missing_y = self.size[1] - (width + left + right), self.size[0] - (height + top + bottom)
        if self.pad_if_needed and missing_x > 0:
            steps.append((missing_x, 0, missing_x, 0))
        if self.pad_if_needed and missing_y > 0:
            steps.append((0, missing_y, 0, missing_y))
        return steps

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        height, width = dimensions[-2:]
        for left, top, right, bottom in self.margins_for(height, width):
            height, width = height + top + bottom, width + left + right
        return draw_corner(draws, (height, width), self.size)

    def apply(self, img: Any, top: int, left: int) -> Any:
        for margins in self.margins_for(*get_size(img)):
            img = F.pad(img, margins, self.fill, self.padding_mode)
        return F.crop(img, int(top), int(left), *self.size)

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return random (top, left, height, width) for functional.crop."""
        corner = draw_corner(draw_one(), get_size(img), output_size)
        return int(corner["top"][0]), int(corner["left"][0]), *output_size


def draw_corner(draws: Draws, sides: Sequence[int], size: Sequence[int]) -> Parameters:
    """Random places of a part in an image of (height, width)."""
    height, width = sides
    if size[0] > height or size[1] > width:
        raise ValidationError(
            f"RandomCrop: size is {tuple(size)} for an image of {(height, width)}; use a smaller size, padding, or "
            "pad_if_needed=True"
        )
    top, left = draws.uniforms([0, 0], [height - size[0] + 1, width - size[1] + 1]).astype(np.int64)
    return {"top": top, "left": left}


class RandomResizedCrop(RandomTransform):
    """Cut out a part of random area and ratio, and resize it.

    size            pixels    of the result: one number, or (height, width)
    scale           0 to 1    (lowest, highest) share of the area
    ratio           above 0   (lowest, highest) width / height
    interpolation, antialias  as in Resize

    After ten parts that do not fit, the largest middle part with a possible ratio is taken.
    Raises   ValidationError   a setting is out of its range
    Source   C. Szegedy et al., "Going deeper with convolutions", 2014, section 6
    Example
    >>> RandomResizedCrop(2)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 2, 2)
    """

    def __init__(
        self, size: Any, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: Any = BILINEAR, antialias: bool | None = True,
    ):  # fmt: skip
        self.size = F.two_sides("RandomResizedCrop", size)
        self.scale = interval("RandomResizedCrop", "scale", scale, 0)
        self.ratio = interval("RandomResizedCrop", "ratio", ratio, 1e-9)
        self.interpolation, self.antialias = known_mode("RandomResizedCrop", interpolation), antialias

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        return draw_part(draws, dimensions[-2:], self.scale, self.ratio)

    def apply(self, img: Any, top: int, left: int, height: int, width: int) -> Any:
        part = int(top), int(left), int(height), int(width)
        return F.resized_crop(img, *part, self.size, self.interpolation, self.antialias)

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, ...]:
        """Return random (top, left, height, width) for functional.crop."""
        return tuple(int(values[0]) for values in draw_part(draw_one(), get_size(img), scale, ratio).values())

    def __repr__(self) -> str:
        rounded = [tuple(round(number, 4) for number in pair) for pair in (self.scale, self.ratio)]
        return (
            f"{type(self).__name__}(size={self.size}, scale={rounded[0]}, ratio={rounded[1]}, "
            f"interpolation={self.interpolation.value}, antialias={self.antialias})"
        )


def draw_part(
    draws: Draws, sides: Sequence[int], scale: Sequence[float], ratio: Sequence[float]
) -> Parameters:  # fmt: skip
    """Random parts of an image of (height, width): the first of ten that fits, otherwise the middle."""
    height, width = sides
    h, w = (np.full(len(draws.seeds), side) for side in _middle_part(height, width, ratio))
    found = np.zeros(len(draws.seeds), bool)
    for tall, wide in _ten_sizes(draws, height * width, scale, ratio):
        fits = ~found & (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        h, w, found = np.where(fits, tall, h), np.where(fits, wide, w), found | fits
    top, left = draws.integers(0, height - h + 1), draws.integers(0, width - w + 1)
    return {
        "top": np.where(found, top, (height - h) // 2),
        "left": np.where(found, left, (width - w) // 2),
        "height": h,
        "width": w,
    }


def _ten_sizes(
    draws: Draws, pixels: int, scale: Sequence[float], ratio: Sequence[float]
) -> Iterator[list[np.ndarray]]:  # fmt: skip
    """Yield ten random (heights, widths), which are a share of the pixels, with a ratio width / height."""
    for _ in range(10):
        area, shape = pixels * draws.uniform(scale[0], scale[1]), np.exp(draws.uniform(*np.log(ratio)))
        yield [np.rint(np.sqrt(part)).astype(np.int64) for part in (area / shape, area * shape)]


def _middle_part(height: int, width: int, ratio: Sequence[float]) -> tuple[int, int]:
    """The largest (H, W) in an image whose ratio is allowed."""
    if width / height < min(ratio):
        return round(width / min(ratio)), width
    if width / height > max(ratio):
        return height, round(height * max(ratio))
    return height, width


class RandomRotation(RandomTransform):
    """Rotate by a random angle; see rotate.

    degrees         number of 0 or more, for -degrees to degrees; or (lowest, highest)
    interpolation   NEAREST or BILINEAR; for Pillow images also BICUBIC
    expand          enlarge the result so that it holds the whole image
    center          pixels   (x, y) of the fixed point, in place of the middle
    fill            number   of the pixels from outside the image, or one for each channel

    Raises   ValidationError   degrees is out of its range
    Example
    >>> RandomRotation(10)(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    def __init__(
        self, degrees: Any, interpolation: Any = NEAREST, expand: bool = False, center: Any = None, fill: Any = 0
    ):
        self.degrees = interval("RandomRotation", "degrees", degrees_around_0("RandomRotation", "degrees", degrees))
        self.interpolation, self.expand = known_mode("RandomRotation", interpolation), expand
        self.center, self.fill = center, 0 if fill is None else fill
        if center is not None:
            F.pair("RandomRotation", "center", center, exact=True)
        self._shown = ("degrees", "interpolation", "expand", *(["center"] if center is not None else []), "fill")

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        return {"angle": draws.uniform(*self.degrees)}

    def apply(self, img: Any, angle: float) -> Any:
        return F.rotate(img, float(angle), self.interpolation, self.expand, self.center, self.fill)

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """Return a random angle for functional.rotate."""
        return float(draw_one().uniform(degrees[0], degrees[1])[0])


class RandomAffine(RandomTransform):
    """Rotate, move, scale and shear by random amounts; see affine.

    degrees         number of 0 or more, for -degrees to degrees; or (lowest, highest)
    translate       0 to 1    (x, y): largest moves, as shares of width and height; None: none
    scale           above 0   (lowest, highest); None: 1
    shear           degrees   along x, as `degrees`; or (lowest, highest) along x, or four numbers for x and y
    interpolation   NEAREST or BILINEAR; for Pillow images also BICUBIC
    fill            number    of the pixels from outside the image, or one for each channel
    center          pixels    (x, y) of the fixed point, in place of the middle

    Raises   ValidationError   a setting is out of its range
    Example
    >>> RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))(np.zeros((1, 28, 28), np.uint8)).shape
    (1, 28, 28)
    """

    def __init__(
        self, degrees: Any, translate: Any = None, scale: Any = None, shear: Any = None, interpolation: Any = NEAREST,
        fill: Any = 0, center: Any = None,
    ):  # fmt: skip
        where = "RandomAffine"
        self.degrees = interval(where, "degrees", degrees_around_0(where, "degrees", degrees))
        self.translate, self.scale, self.center = translate, scale, center
        if translate is not None:
            for share in F.pair(where, "translate", translate, exact=True):
                number_in_range(where, "translate", share, 0, 1)
        if scale is not None:
            interval(where, "scale", scale, 1e-9)
        if center is not None:
            F.pair(where, "center", center, exact=True)
        self.shear = None if shear is None else degrees_around_0(where, "shear", shear, (2, 4))
        self.interpolation, self.fill = known_mode(where, interpolation), 0 if fill is None else fill

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        height, width = dimensions[-2:]
        share_x, share_y = self.translate or (0, 0)
        low_x, high_x, low_y, high_y = [*(self.shear or [0.0, 0.0]), 0.0, 0.0][:4]
        reach_x, reach_y = share_x * width, share_y * height
        least, most = self.scale or (1.0, 1.0)
        drawn = draws.uniforms(
            [self.degrees[0], -reach_x, -reach_y, least, low_x, low_y],
            [self.degrees[1], reach_x, reach_y, most, high_x, high_y],
        )
        drawn[1:3] = np.rint(drawn[1:3])
        return dict(zip(("angle", "tx", "ty", "scale", "shear_x", "shear_y"), drawn, strict=True))

    def apply(
        self, img: Any, angle: float, tx: int, ty: int, scale: float, shear_x: float, shear_y: float
    ) -> Any:  # fmt: skip
        moves, shears = (int(tx), int(ty)), (float(shear_x), float(shear_y))
        return F.affine(img, float(angle), moves, float(scale), shears, self.interpolation, self.fill, self.center)

    @staticmethod
    def get_params(
        degrees: Sequence[float], translate: Any, scale_ranges: Any, shears: Any, img_size: Sequence[int]
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """Return random (angle, translate, scale, shear) for functional.affine; img_size is (width, height)."""
        transform = RandomAffine(degrees, translate, scale_ranges, shears)
        drawn = transform.draw(draw_one(), img_size[::-1])
        angle, tx, ty, scale, shear_x, shear_y = (values[0].item() for values in drawn.values())
        return angle, (int(tx), int(ty)), scale, (shear_x, shear_y)

    def __repr__(self) -> str:
        parts = [f"degrees={self.degrees}"]
        parts += [f"{name}={value}" for name in ("translate", "scale", "shear") if (value := getattr(self, name))]
        parts += [f"interpolation={show(self.interpolation)}"] if self.interpolation is not NEAREST else []
        parts += [f"fill={self.fill}"] if self.fill != 0 else []
        parts += [f"center={self.center}"] if self.center is not None else []
        return f"{type(self).__name__}({', '.join(parts)})"


class RandomPerspective(RandomTransform):
    """Look at the image from another point, with probability p; see perspective.

    distortion_scale   0 to 1   how far the corners move, as a share of half the sides
    p                  0 to 1
    interpolation      NEAREST or BILINEAR; for Pillow images also BICUBIC
    fill               number   of the pixels from outside the image, or one for each channel

    Raises   ValidationError   a setting is out of its range
    Example
    >>> RandomPerspective()(np.zeros((3, 4, 6), np.uint8)).shape
    (3, 4, 6)
    """

    _shown = ("p",)

    def __init__(
        self, distortion_scale: float = 0.5, p: float = 0.5, interpolation: Any = BILINEAR, fill: Any = 0
    ):  # fmt: skip
        number_in_range("RandomPerspective", "distortion_scale", distortion_scale, 0, 1)
        number_in_range("RandomPerspective", "p", p, 0, 1)
        self.distortion_scale, self.p = distortion_scale, p
        self.interpolation, self.fill = known_mode("RandomPerspective", interpolation), 0 if fill is None else fill

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        height, width = dimensions[-2:]
        return {
            "happens": draws.happens(self.p),
            "endpoints": draw_corners(draws, width, height, self.distortion_scale),
        }

    def apply(self, img: Any, happens: bool, endpoints: np.ndarray) -> Any:
        if not happens:
            return img
        return F.perspective(img, corners(*get_size(img)[::-1]), endpoints, self.interpolation, self.fill)

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[Any, Any]:
        """Return the corners of the image and random places for them, for functional.perspective."""
        return corners(width, height), draw_corners(draw_one(), width, height, distortion_scale)[0].tolist()


def corners(width: int, height: int) -> list[list[int]]:
    """(x, y) of the corner pixels: top left, top right, bottom right, bottom left."""
    return [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]


def draw_corners(draws: Draws, width: int, height: int, distortion_scale: float) -> np.ndarray:
    """(N, 4, 2) whole numbers: random places of the corners, moved inwards."""
    across, down = (int(distortion_scale * (side // 2)) + 1 for side in (width, height))
    inwards = draws.uniforms([0] * 8, [across, down] * 4).astype(np.int64).T
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return np.array(corners(width, height)) + signs * inwards.reshape(-1, 4, 2)


class ElasticTransform(RandomTransform):
    """Displace every pixel by smoothed noise, as handwriting differs; see elastic_transform.

    alpha           pixels    strength of the displacements; one number, or (x, y)
    sigma           pixels    deviation of the Gaussian window that smooths them; one number, or (x, y)
    interpolation   NEAREST or BILINEAR
    fill            number    of the pixels from outside the image, or one for each channel

    The displacements of x are smoothed in both directions if sigma[0] is above 0, those of y if sigma[1] is.
    Raises   ValidationError   a setting is out of its range, or the window does not fit into the image
    Source   P. Simard, D. Steinkraus & J. Platt, "Best practices for convolutional neural networks applied to visual
             document analysis", 2003
    Example
    >>> ElasticTransform(sigma=1.0)(np.zeros((3, 8, 8), np.uint8)).shape
    (3, 8, 8)
    """

    def __init__(
        self, alpha: Any = 50.0, sigma: Any = 5.0, interpolation: Any = BILINEAR, fill: Any = 0
    ):  # fmt: skip
        self.alpha, self.sigma = (
            [float(number) for number in (value if np.ndim(value) else [value] * 2)] for value in (alpha, sigma)
        )
        for name, numbers in (("alpha", self.alpha), ("sigma", self.sigma)):
            if len(numbers) != 2:
                raise ValidationError(f"ElasticTransform: {name} is {numbers}; give one number, or (x, y)")
            for number in numbers:
                number_in_range("ElasticTransform", name, number, 0)
        self.interpolation, self.fill = known_mode("ElasticTransform", interpolation), fill

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        """displacement (N, H, W, 2), as functional.elastic_transform takes it; in memory (2, H, W, N)."""
        H, W = dimensions[-2:]
        matrices = [
            self._matrices(H, W, sigma, alpha / side)
            for alpha, sigma, side in zip(self.alpha, self.sigma, (W, H), strict=True)
        ]
        down, across = (np.stack(field_matrices) for field_matrices in zip(*matrices, strict=True))
        rows = matmul.forward(CPU, down, draws.noise(H * W).reshape(2, H, -1)).reshape(2, H, W, -1)
        return {"displacement": matmul.forward(CPU, across[:, None], rows).transpose(3, 1, 2, 0)}

    def _matrices(self, H: int, W: int, sigma: float, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """The matrices that smooth columns and rows of a field of noise, and multiply it by a factor."""
        down, across = np.eye(H, dtype=np.float32), np.eye(W, dtype=np.float32)
        if sigma > 0:
            size = int(8 * sigma + 1) | 1
            down, across = array_geometry.blur_matrices((H, W), (size, size), self._sigmas())
        return down * np.float32(factor), across

    def _sigmas(self) -> list[float]:
        """The deviations across and down; a 0 stands for no smoothing in that direction."""
        return [sigma or 1e-3 for sigma in self.sigma]

    def apply(self, img: Any, displacement: np.ndarray) -> Any:
        return F.elastic_transform(img, displacement[None], self.interpolation, self.fill)

    @staticmethod
    def get_params(alpha: Sequence[float], sigma: Sequence[float], size: Sequence[int]) -> np.ndarray:
        """Return random displacements (1, H, W, 2) for functional.elastic_transform; size is (height, width)."""
        return ElasticTransform(alpha, sigma).draw(draw_one(), size)["displacement"]

    def __repr__(self) -> str:
        fill = [float(number) for number in np.atleast_1d(self.fill)]
        return (
            f"{type(self).__name__}(alpha={self.alpha}, sigma={self.sigma}, interpolation={self.interpolation}, "
            f"fill={fill})"
        )


class RandomErasing(RandomTransform):
    """Replace a random rectangle of pixels (..., C, H, W) with probability p.

    p         0 to 1
    scale     0 to 1    (lowest, highest) share of the area
    ratio     above 0   (lowest, highest) height / width
    value     number, one for each channel, or 'random' for numbers of the standard normal distribution
    inplace   change the image itself

    If ten rectangles do not fit, the image stays as it is.
    Raises   ValidationError   a setting is out of its range
    Source   Z. Zhong et al., "Random erasing data augmentation", 2017
    Example
    >>> RandomErasing(p=1, scale=(0.1, 0.2))(np.ones((1, 8, 8), np.float32)).min().item()
    0.0
    """

    _shown = ("p", "scale", "ratio", "value", "inplace")

    def __init__(
        self, p: float = 0.5, scale: Sequence[float] = (0.02, 0.33), ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0, inplace: bool = False,
    ):  # fmt: skip
        number_in_range("RandomErasing", "p", p, 0, 1)
        if value != "random" and not isinstance(value, Real | tuple | list):
            raise DtypeError(
                f"RandomErasing: value is {brief(value)}; give a number, a number for each channel, or 'random'"
            )
        self.p, self.value, self.inplace = p, value, inplace
        self.scale = interval("RandomErasing", "scale", scale, 0, 1)
        self.ratio = interval("RandomErasing", "ratio", ratio, 1e-9)

    def draw(self, draws: Draws, dimensions: Sequence[int]) -> Parameters:
        drawn = {"happens": draws.happens(self.p), **draw_rectangle(draws, dimensions[-2:], self.scale, self.ratio)}
        drawn["happens"] &= drawn["height"] > 0
        noise = draws.normal(dimensions) if self.value == "random" else np.zeros(len(draws.seeds))
        return {**drawn, "noise": noise}

    def apply(
        self, img: Any, happens: bool, top: int, left: int, height: int, width: int, noise: np.ndarray
    ) -> Any:  # fmt: skip
        if not happens:
            return img
        if self.value == "random":
            value = noise[..., :height, :width]
        else:
            value = np.reshape(self.value, (-1, 1, 1))
            self._expect_one_each(value, get_dimensions(img)[0])
        return F.erase(img, int(top), int(left), int(height), int(width), value, self.inplace)

    def _expect_one_each(self, value: np.ndarray, channels: int) -> None:
        if len(value) not in (1, channels):
            raise ValidationError(
                f"RandomErasing: value has {len(value)} numbers for an image of {channels} channels; give 1 or "
                f"{channels}"
            )


def draw_rectangle(
    draws: Draws, sides: Sequence[int], scale: Sequence[float], ratio: Sequence[float]
) -> Parameters:  # fmt: skip
    """Random rectangles smaller than an image: the first of ten that fits, otherwise height and width 0."""
    height, width = sides
    h = w = np.zeros(len(draws.seeds), np.int64)
    for wide, tall in _ten_sizes(draws, height * width, scale, ratio):  # here the ratio is height / width
        fits = (h == 0) & (tall > 0) & (tall < height) & (wide > 0) & (wide < width)
        h, w = np.where(fits, tall, h), np.where(fits, wide, w)
    return {"top": draws.integers(0, height - h + 1), "left": draws.integers(0, width - w + 1), "height": h, "width": w}
