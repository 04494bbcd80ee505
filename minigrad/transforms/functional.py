"""Transforms of images as functions, by torchvision's names: their parameters are given, nothing is random.

An image is a Pillow image, or pixels in a tensor or an array (..., C, H, W): uint8 from 0 to 255, or floats from 0 to
1.  The result is of the same kind.  Pillow images are transformed by Pillow, whose results differ a little from those
for pixels, as in torchvision: by rounding, and at the edges of the image.  Pixels are computed on the host, and
gradients are not recorded, except by `normalize`.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ..checks import brief, number_in_range, type_with_article, whole_number
from ..errors import DtypeError, ShapeError, ValidationError
from . import array_color, array_geometry, pictures
from .conversion import convert_image_dtype, normalize, pil_to_tensor, to_pil_image, to_tensor
from .images import (
    InterpolationMode,
    apply,
    get_dimensions,
    get_image_num_channels,
    get_image_size,
    get_size,
    is_picture,
    known_mode,
    like,
    pixels_of,
)

BILINEAR, NEAREST = InterpolationMode.BILINEAR, InterpolationMode.NEAREST

__all__ = [
    "InterpolationMode",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "elastic_transform",
    "equalize",
    "erase",
    "five_crop",
    "gaussian_blur",
    "get_dimensions",
    "get_image_num_channels",
    "get_image_size",
    "hflip",
    "invert",
    "normalize",
    "pad",
    "perspective",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "ten_crop",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]
__dir__ = __all__.copy


# ---- sizes


def two_sides(where: str, size: Any) -> tuple[int, int]:
    """Return (H, W) of a number or of one or two numbers."""
    numbers = [size] * 2 if np.ndim(size) == 0 else list(size) * (2 if len(size) == 1 else 1)
    if len(numbers) != 2:
        raise ValidationError(f"{where}: size is {brief(size)}; give one number, or (height, width)")
    height, width = (whole_number(where, "size", number, least=1) for number in numbers)
    return height, width


def four_sides(where: str, padding: Any) -> tuple[int, int, int, int]:
    """Return the margins (left, top, right, bottom) of a number, of (left and right, top and bottom), or of four."""
    numbers = [padding] if np.ndim(padding) == 0 else list(padding)
    if len(numbers) not in (1, 2, 4):
        raise ValidationError(f"{where}: padding has {len(numbers)} numbers; give 1, 2 or 4 (left, top, right, bottom)")
    left, top, right, bottom = (whole_number(where, "padding", number) for number in numbers * (4 // len(numbers)))
    return left, top, right, bottom


def resized_size(before: Sequence[int], size: Any, max_size: int | None) -> tuple[int, int]:
    """Return (H, W) of the result of resize."""
    if size is not None and np.ndim(size) == 1 and len(size) == 2:
        if max_size is not None:
            raise ValidationError(f"resize: max_size is {max_size} with size {tuple(size)}; give size as one number")
        return two_sides("resize", size)
    height, width = before
    short, long = min(before), max(before)
    if size is None:
        new_short, new_long = int(whole_number("resize", "max_size", max_size, 1) * short / long), max_size
    else:
        new_short = two_sides("resize", size)[0]
        new_long = int(new_short * long / short)
        if max_size is not None and max_size <= new_short:
            raise ValidationError(f"resize: max_size is {max_size} with size {new_short}; use a larger max_size")
        if max_size is not None and new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if width <= height else (new_short, new_long)  # type: ignore[return-value]


# ---- whole pixels


def hflip(img: Any) -> Any:
    """Return the image with left and right exchanged.

    Example
    >>> hflip(np.array([[1, 2, 3]]))
    array([[3, 2, 1]])
    """
    return apply("hflip", img, pictures.hflip, array_geometry.hflip)


def vflip(img: Any) -> Any:
    """Return the image with top and bottom exchanged.

    Example
    >>> vflip(np.array([[1], [2]]))
    array([[2],
           [1]])
    """
    return apply("vflip", img, pictures.vflip, array_geometry.vflip)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """Return a part of the image, in pixels; what lies outside the image is 0.

    Example
    >>> crop(np.array([[1, 2], [3, 4]]), 0, 1, 2, 2)
    array([[2, 0],
           [4, 0]])
    """
    return apply("crop", img, pictures.crop, array_geometry.crop, top, left, height, width)


def center_crop(img: Any, output_size: Any) -> Any:
    """Return the middle of the image; a smaller image gets a margin of 0.

    output_size   pixels   one number, or (height, width)

    Raises   ValidationError   output_size has a number below 1
    Example
    >>> center_crop(np.arange(9).reshape(3, 3), 1)
    array([[4]])
    """
    height, width = two_sides("center_crop", output_size)
    H, W = get_size(img)
    if width > W or height > H:
        margin_x, margin_y = max(width - W, 0), max(height - H, 0)
        img = pad(img, [margin_x // 2, margin_y // 2, (margin_x + 1) // 2, (margin_y + 1) // 2])
        H, W = get_size(img)
    return crop(img, round((H - height) / 2), round((W - width) / 2), height, width)


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """Return the image with a margin.

    padding        pixels       one number; (left and right, top and bottom); or (left, top, right, bottom)
    fill           number       or one for each channel, for 'constant'
    padding_mode   'constant'   the margin is `fill`
                   'edge'       the nearest pixel of the image
                   'reflect'    the image reflected at its outermost pixels
                   'symmetric'  the image reflected at its edges

    Negative numbers cut pixels off.
    Raises   ValidationError   padding or padding_mode is not one of these, a reflection needs a larger image, or
                               nothing would be left of the image
    Example
    >>> pad(np.array([[1, 2]]), [1, 0], padding_mode="symmetric")
    array([[1, 1, 2, 2]])
    """
    sides = four_sides("pad", padding)
    if padding_mode not in array_geometry.PAD_MODES:
        raise ValidationError(f"pad: padding_mode is {brief(padding_mode)}; use {', '.join(array_geometry.PAD_MODES)}")
    height, width = get_size(img)
    if height + sides[1] + sides[3] < 1 or width + sides[0] + sides[2] < 1:
        raise ValidationError(
            f"pad: padding {sides} cuts off all of an image of {(height, width)}; use smaller numbers"
        )
    return apply("pad", img, pictures.pad, array_geometry.pad, sides, 0 if fill is None else fill, padding_mode)


def five_crop(img: Any, size: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the four corners of the image (top left, top right, bottom left, bottom right) and its middle.

    Raises   ValidationError   the image is smaller than size
    Example
    >>> [part.item() for part in five_crop(np.arange(9).reshape(3, 3), 1)]
    [0, 2, 6, 8, 4]
    """
    height, width = two_sides("five_crop", size)
    H, W = get_size(img)
    if height > H or width > W:
        raise ValidationError(f"five_crop: size is {(height, width)} for an image of {(H, W)}; use a smaller size")
    corners = [crop(img, top, left, height, width) for top in (0, H - height) for left in (0, W - width)]
    return (*corners, center_crop(img, (height, width)))  # type: ignore[return-value]


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """Return the five parts of five_crop, and those of the flipped image.

    Example
    >>> len(ten_crop(np.zeros((3, 3)), 2))
    10
    """
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """Return pixels (..., C, H, W) in which a rectangle is replaced.

    i, j      top and left
    h, w      height and width
    v         number, or an array or a tensor that broadcasts to (C, h, w)
    inplace   change the image itself

    Example
    >>> erase(np.ones((1, 2, 2)), 0, 0, 1, 2, 0)
    array([[[0., 0.],
            [1., 1.]]])
    """
    pixels = pixels_of("erase", img, 3).copy()
    pixels[..., i : i + h, j : j + w] = np.asarray(v)
    if not inplace:
        return like(img, pixels)
    img[...] = like(img, pixels)
    return img


# ---- resampling


def resize(
    img: Any, size: Any, interpolation: Any = BILINEAR, max_size: int | None = None, antialias: bool | None = True
) -> Any:
    """Return the image with another number of pixels.

    size            pixels   (height, width); or one number, for the shorter side
    interpolation   InterpolationMode, or its name; for pixels NEAREST, NEAREST_EXACT, BILINEAR or BICUBIC
    max_size        pixels   limit of the longer side, if size is one number
    antialias       smooth where the image shrinks; Pillow always does

    Raises   ValidationError   a size is below 1, or max_size does not fit it, or the interpolation is not for pixels
    Example
    >>> resize(np.array([[0.0, 4.0]]), (1, 1))
    array([[2.]])
    """
    mode, before = known_mode("resize", interpolation), tuple(get_size(img))
    target = resized_size(before, size, max_size)
    if target == before:
        return img
    if min(target) < 1:
        raise ValidationError(f"resize: an image of {before} would become {target}; use a larger size")
    if is_picture(img):
        return pictures.resize(img, target, mode)
    return like(img, array_geometry.resize(pixels_of("resize", img), target, mode, bool(antialias)))


def resized_crop(
    img: Any, top: int, left: int, height: int, width: int, size: Any, interpolation: Any = BILINEAR,
    antialias: bool | None = True,
) -> Any:  # fmt: skip
    """Return a part of the image, as `crop`, with another number of pixels, as `resize`.

    Example
    >>> resized_crop(np.arange(8.0).reshape(2, 4), 0, 0, 2, 2, (1, 1))
    array([[2.5]])
    """
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def inverse_affine(
    center: Sequence[float], angle: Any, translate: Sequence[Any], scale: Any, shear: Sequence[Any]
) -> list[Any]:
    """Return the 6 numbers that map places in the result to places in the image; degrees, also arrays of them.

    The map from the image is: shear along x, shear along y, scale, rotate about the centre, translate.
    """
    turn, along_x, along_y = (np.radians(degrees) for degrees in (angle, *shear))
    (cx, cy), (tx, ty) = center, translate
    cosine, sine, stretch = np.cos(turn - along_y), np.sin(turn - along_y), np.cos(along_y)
    a, c = cosine / stretch, sine / stretch
    b = -cosine * np.tan(along_x) / stretch - np.sin(turn)  # in this order torchvision's numbers, bit for bit
    d = -sine * np.tan(along_x) / stretch + np.cos(turn)
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    return [a, b, a * (-cx - tx) + b * (-cy - ty) + cx, c, d, c * (-cx - tx) + d * (-cy - ty) + cy]


def affine(
    img: Any, angle: float, translate: Sequence[int], scale: float, shear: Any, interpolation: Any = NEAREST,
    fill: Any = None, center: Sequence[int] | None = None,
) -> Any:  # fmt: skip
    """Return the image sheared, scaled, rotated about its middle and moved.

    angle           degrees   clockwise
    translate       pixels    (right, down)
    scale           above 0   2: twice as large
    shear           degrees   along x, or (along x, along y)
    interpolation   NEAREST or BILINEAR; for Pillow images also BICUBIC
    fill            number    of the pixels from outside the image, or one for each channel
    center          pixels    (x, y) of the fixed point, in place of the middle

    Raises   ValidationError   scale is 0 or below, or a sequence has another length
    Example
    >>> affine(np.arange(4).reshape(2, 2), 90, (0, 0), 1, 0)
    array([[2, 0],
           [3, 1]])
    """
    mode, shears = known_mode("affine", interpolation), pair("affine", "shear", shear)
    moved = pair("affine", "translate", translate, exact=True)
    if not scale > 0:
        raise ValidationError(f"affine: scale is {brief(scale)}; use a number above 0")
    H, W = get_size(img)
    middle = (W * 0.5, H * 0.5)
    if is_picture(img):
        return pictures.affine(img, inverse_affine(center or middle, angle, moved, scale, shears), mode, fill)
    matrix = inverse_affine(_from_middle(center, middle), angle, moved, scale, shears)
    return apply("affine", img, pictures.affine, array_geometry.affine, matrix, mode, fill)


def pair(where: str, name: str, value: Any, exact: bool = False) -> tuple[Any, Any]:
    """Return two numbers, of which the second is 0 if only one is given."""
    numbers = [value] if isinstance(value, Real) else list(value) if np.ndim(value) == 1 else []
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) != 1 or exact:
        raise ValidationError(f"{where}: {name} is {brief(value)}; give two numbers{'' if exact else ', or one'}")
    return numbers[0], 0.0 if isinstance(value, Real) else numbers[0]


def _from_middle(center: Sequence[float] | None, middle: Sequence[float]) -> tuple[float, float]:
    """A point counted from the middle of the image."""
    return (0.0, 0.0) if center is None else (center[0] - middle[0], center[1] - middle[1])


def rotate(
    img: Any, angle: float, interpolation: Any = NEAREST, expand: bool = False, center: Sequence[int] | None = None,
    fill: Any = None,
) -> Any:  # fmt: skip
    """Return the image rotated about its middle.

    angle           degrees   counter-clockwise
    interpolation   NEAREST or BILINEAR; for Pillow images also BICUBIC
    expand          enlarge the result so that it holds the whole image
    center          pixels    (x, y) of the fixed point, in place of the middle
    fill            number    of the pixels from outside the image, or one for each channel

    Example
    >>> rotate(np.arange(4).reshape(2, 2), 90)
    array([[1, 3],
           [0, 2]])
    """
    mode = known_mode("rotate", interpolation)
    if not isinstance(angle, Real):
        raise DtypeError(f"rotate: angle is {type_with_article(angle)}; give degrees as a number")
    if is_picture(img):
        return pictures.rotate(img, float(angle), mode, expand, center, fill)
    H, W = get_size(img)
    matrix = inverse_affine(_from_middle(center, (W * 0.5, H * 0.5)), -angle, (0, 0), 1, (0, 0))
    size = array_geometry.rotated_size(matrix, H, W) if expand else (H, W)
    return apply("rotate", img, pictures.affine, array_geometry.affine, matrix, mode, fill, size)


def perspective_coefficients(startpoints: Any, endpoints: Any) -> np.ndarray:
    """Return the 8 numbers of the projective map that takes the end points to the start points.

    startpoints, endpoints   (..., 4, 2)   x and y
    returns                  (..., 8)      float32, as Pillow takes them
    """
    starts, ends = np.asarray(startpoints, float), np.asarray(endpoints, float)
    if starts.shape[-2:] != (4, 2) or ends.shape[-2:] != (4, 2):
        raise ShapeError(f"perspective: points have shapes {starts.shape} and {ends.shape}; give four (x, y) in each")
    starts = np.broadcast_to(starts, ends.shape)
    ones, zeros = np.ones((*ends.shape[:-1], 1)), np.zeros((*ends.shape[:-1], 3))
    across = np.concatenate([ends, ones, zeros, -starts[..., :1] * ends], axis=-1)
    down = np.concatenate([zeros, ends, ones, -starts[..., 1:] * ends], axis=-1)
    rows, targets = np.stack([across, down], axis=-2).reshape(-1, 8, 8), starts.reshape(-1, 8)
    try:
        numbers = np.linalg.solve(rows, targets[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:  # three points on a line: the smallest of the best solutions
        numbers = np.stack([np.linalg.lstsq(*pair, rcond=None)[0] for pair in zip(rows, targets, strict=True)])
    return numbers.reshape(*ends.shape[:-2], 8).astype(np.float32)


def perspective(
    img: Any, startpoints: Any, endpoints: Any, interpolation: Any = BILINEAR, fill: Any = None
) -> Any:  # fmt: skip
    """Return the image as seen from another point: four points move, and straight lines stay straight.

    startpoints     four (x, y)   corners in the image: top left, top right, bottom right, bottom left
    endpoints       four (x, y)   their places in the result
    interpolation   NEAREST or BILINEAR; for Pillow images also BICUBIC
    fill            number        of the pixels from outside the image, or one for each channel

    Raises   ShapeError   not four points
    Example
    >>> corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    >>> perspective(np.array([[1.0, 2.0], [3.0, 4.0]]), corners, corners).round()
    array([[1., 2.],
           [3., 4.]])
    """
    mode, coefficients = (
        known_mode("perspective", interpolation),
        perspective_coefficients(startpoints, endpoints).tolist(),
    )
    return apply("perspective", img, pictures.perspective, array_geometry.perspective, coefficients, mode, fill)


def elastic_transform(img: Any, displacement: Any, interpolation: Any = BILINEAR, fill: Any = None) -> Any:
    """Return the image with each pixel taken from a displaced place.

    displacement    (1, H, W, 2)   x and y, in halves of the width and height of the image
    interpolation   NEAREST or BILINEAR
    fill            number         of the pixels from outside the image, or one for each channel

    Pillow images of mode L or RGB are converted to pixels and back, as in torchvision.
    Raises   ShapeError   displacement has another shape
    Source   P. Simard, D. Steinkraus & J. Platt, "Best practices for convolutional neural networks applied to visual
             document analysis", 2003
    Example
    >>> elastic_transform(np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 1, 3, 2)))
    array([[1., 2., 3.]])
    """
    mode = known_mode("elastic_transform", interpolation)
    if is_picture(img):
        return to_pil_image(elastic_transform(pil_to_tensor(img), displacement, mode, fill), img.mode)
    field, size = np.asarray(displacement, np.float32), tuple(get_size(img))
    if field.shape != (1, *size, 2):
        raise ShapeError(f"elastic_transform: displacement has shape {field.shape}, expected {(1, *size, 2)}")
    return like(img, array_geometry.displace(pixels_of("elastic_transform", img), field[0], mode, fill))


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """Return the image smoothed by a Gaussian window; beyond its edges the image is reflected.

    kernel_size   pixels, odd   one number, or (across, down)
    sigma         pixels        one number, or (across, down); None: 0.3 * ((kernel_size - 1) / 2 - 1) + 0.8

    Raises   ValidationError   kernel_size is even or below 1, sigma is not above 0, or the window does not fit
    Example
    >>> gaussian_blur(np.array([[0.0, 0.0, 9.0, 0.0, 0.0]]), (3, 1), 10).round()
    array([[0., 3., 3., 3., 0.]])
    """
    sizes = two_sides("gaussian_blur", kernel_size)
    if any(size % 2 == 0 for size in sizes):
        raise ValidationError(f"gaussian_blur: kernel_size is {brief(kernel_size)}; use odd numbers")
    default = [0.15 * size + 0.35 for size in sizes]
    given = default if sigma is None else [sigma] * 2 if np.ndim(sigma) == 0 else list(sigma) * (3 - len(sigma))
    if len(given) != 2 or not min(given) > 0:
        raise ValidationError(f"gaussian_blur: sigma is {brief(sigma)}; give one or two numbers above 0")
    widths = [float(width) for width in given]
    if is_picture(img):
        return to_pil_image(gaussian_blur(pil_to_tensor(img), sizes, widths), img.mode)
    return like(img, array_geometry.gaussian_blur(pixels_of("gaussian_blur", img), sizes, widths))


# ---- colours


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """Return the image darker or brighter: 0 is black, 1 the image, 2 twice as bright.

    Raises   ValidationError   brightness_factor is negative
    Example
    >>> adjust_brightness(np.full((1, 1, 2), 100, np.uint8), 2)
    array([[[200, 200]]], dtype=uint8)
    """
    number_in_range("adjust_brightness", "brightness_factor", brightness_factor, 0)
    on_pixels = array_color.adjust_brightness
    return apply("adjust_brightness", img, pictures.adjust_brightness, on_pixels, brightness_factor, least=3)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """Return the image with other contrast: 0 is grey, the mean of the image, 1 the image.

    Raises   ValidationError   contrast_factor is negative
             ShapeError        pixels have not 1 or 3 channels
    Example
    >>> adjust_contrast(np.array([[[100, 120]]], np.uint8), 0)
    array([[[110, 110]]], dtype=uint8)
    """
    number_in_range("adjust_contrast", "contrast_factor", contrast_factor, 0)
    return apply(
        "adjust_contrast", img, pictures.adjust_contrast, array_color.adjust_contrast, contrast_factor, least=3
    )


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """Return the image with other saturation: 0 is grey, 1 the image; a grey image is unchanged.

    Raises   ValidationError   saturation_factor is negative
             ShapeError        pixels have not 1 or 3 channels
    Example
    >>> adjust_saturation(np.full((3, 1, 1), 0.5), 2).ravel().round(3)
    array([0.5, 0.5, 0.5])
    """
    number_in_range("adjust_saturation", "saturation_factor", saturation_factor, 0)
    on_pixels = array_color.adjust_saturation
    return apply("adjust_saturation", img, pictures.adjust_saturation, on_pixels, saturation_factor, least=3)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Return the image with its colours turned by -0.5 to 0.5 of the circle of colours; a grey image is unchanged.

    Raises   ValidationError   hue_factor is out of its range
             ShapeError        pixels have not 1 or 3 channels
    Example
    >>> adjust_hue(np.array([1.0, 0.0, 0.0], np.float32).reshape(3, 1, 1), 1 / 3).ravel().round(3)
    array([0., 1., 0.], dtype=float32)
    """
    number_in_range("adjust_hue", "hue_factor", hue_factor, -0.5, 0.5)
    return apply("adjust_hue", img, pictures.adjust_hue, array_color.adjust_hue, hue_factor, least=3)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """Return white * gain * (image / white)**gamma.

    Raises   ValidationError   gamma is negative
    Example
    >>> adjust_gamma(np.full((1, 1, 1), 0.5), 2)
    array([[[0.25]]])
    """
    number_in_range("adjust_gamma", "gamma", gamma, 0)
    return apply("adjust_gamma", img, pictures.adjust_gamma, array_color.adjust_gamma, gamma, gain)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """Return the image smoothed or sharpened: 0 is smooth, 1 the image, 2 sharper.

    Raises   ValidationError   sharpness_factor is negative
             ShapeError        pixels have not 1 or 3 channels
    Example
    >>> adjust_sharpness(np.eye(3)[None], 1)[0, 1]
    array([0., 1., 0.])
    """
    number_in_range("adjust_sharpness", "sharpness_factor", sharpness_factor, 0)
    on_pixels = array_color.adjust_sharpness
    return apply("adjust_sharpness", img, pictures.adjust_sharpness, on_pixels, sharpness_factor, least=3)


def _grey(where: str, img: Any, channels: int) -> Any:
    if channels not in (1, 3):
        raise ValidationError(f"{where}: num_output_channels is {brief(channels)}; use 1 or 3")
    return apply(where, img, pictures.to_grey, array_color.to_grey, channels, least=3)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Return 0.299 red + 0.587 green + 0.114 blue, in 1 or 3 equal channels.

    Raises   ValidationError   num_output_channels is not 1 or 3
             ShapeError        pixels have not 1 or 3 channels
    Example
    >>> rgb_to_grayscale(np.array([255, 0, 0], np.uint8).reshape(3, 1, 1))
    array([[[76]]], dtype=uint8)
    """
    return _grey("rgb_to_grayscale", img, num_output_channels)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The same as rgb_to_grayscale."""
    return _grey("to_grayscale", img, num_output_channels)


def invert(img: Any) -> Any:
    """Return white minus the image.

    Example
    >>> invert(np.array([[0, 5]], np.uint8))
    array([[255, 250]], dtype=uint8)
    """
    return apply("invert", img, pictures.invert, array_color.invert)


def posterize(img: Any, bits: int) -> Any:
    """Return the image with fewer levels: the highest `bits` bits of each pixel, 0 to 8.

    Raises   DtypeError        pixels are not uint8
             ValidationError   bits is out of its range
    Example
    >>> posterize(np.array([[255, 100]], np.uint8), 1)
    array([[128,   0]], dtype=uint8)
    """
    bits = whole_number("posterize", "bits", bits, 0, 8)
    return apply("posterize", img, pictures.posterize, array_color.posterize, bits)


def solarize(img: Any, threshold: float) -> Any:
    """Return the image with all pixels from a threshold on inverted.

    Raises   ValidationError   threshold is above white
    Example
    >>> solarize(np.array([[10, 250]], np.uint8), 128)
    array([[10,  5]], dtype=uint8)
    """
    return apply("solarize", img, pictures.solarize, array_color.solarize, threshold)


def autocontrast(img: Any) -> Any:
    """Return the image with each channel stretched from black to white.

    Raises   ShapeError   pixels have not 1 or 3 channels
    Example
    >>> autocontrast(np.array([[[10, 20]]], np.uint8))
    array([[[  0, 255]]], dtype=uint8)
    """
    return apply("autocontrast", img, pictures.autocontrast, array_color.autocontrast, least=3)


def equalize(img: Any) -> Any:
    """Return the image with each channel mapped so that its levels are about equally frequent.

    Raises   DtypeError   pixels are not uint8
             ShapeError   pixels have not 1 or 3 channels
    Example
    >>> equalize(np.zeros((1, 2, 2), np.uint8)).max().item()
    0
    """
    return apply("equalize", img, pictures.equalize, array_color.equalize, least=3)
