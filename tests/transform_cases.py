"""Calls of minigrad.transforms.functional and utils that are compared with torchvision's results, which are stored.

python tests/transform_cases.py           with torchvision installed: writes vectors/transforms.npz
"""

from pathlib import Path

import numpy as np
from PIL import Image

VECTORS = Path(__file__).parent / "vectors" / "transforms.npz"
KINDS = {  # of images
    "L": lambda: Image.fromarray(_bytes(11, 9)),
    "RGB": lambda: Image.fromarray(_bytes(11, 9, 3)),
    "RGBA": lambda: Image.fromarray(_bytes(11, 9, 4)),
    "P": lambda: _with_palette(),
    "1": lambda: Image.fromarray(_bytes(11, 9) > 128),
    "I": lambda: Image.fromarray(_bytes(11, 9).astype(np.int32) * 300),
    "F": lambda: Image.fromarray(_bytes(11, 9).astype(np.float32) / 255),
    "grey": lambda: _bytes(1, 11, 9),
    "bytes": lambda: _bytes(3, 11, 9),
    "floats": lambda: _bytes(3, 11, 9).astype(np.float32) / 255,
    "batch": lambda: _bytes(2, 3, 11, 9),
}


def _bytes(*shape):
    """Smooth shapes and noise."""
    random = np.random.default_rng(sum(shape))
    waves = sum(
        np.sin(np.arange(size) * (1 + axis)).reshape([-1] + [1] * (len(shape) - axis - 1))
        for axis, size in enumerate(shape)
    )
    return (127 + 30 * waves + random.integers(-35, 35, shape)).clip(0, 255).astype(np.uint8)


def _with_palette():
    picture = Image.fromarray(_bytes(11, 9) % 7)
    picture.putpalette([17 * i % 256 for i in range(21)])
    return picture


ALL = """
F.hflip(img)
F.vflip(img)
F.crop(img, 2, 3, 4, 5)
F.crop(img, -2, 5, 9, 8)
F.center_crop(img, 5)
F.center_crop(img, [13, 6])
F.pad(img, 2)
F.pad(img, [1, 3])
F.pad(img, [1, 2, 0, 3], padding_mode="edge")
F.pad(img, [1, 2, 0, 3], padding_mode="reflect")
F.pad(img, [1, 2, 0, 3], padding_mode="symmetric")
F.pad(img, [-1, 2, 0, -3])
F.resize(img, 5, InterpolationMode.NEAREST)
F.resize(img, [14, 5], InterpolationMode.NEAREST)
F.rotate(img, 90)
F.rotate(img, 33.0)
F.affine(img, 10.0, [1, -2], 1.2, [5.0, -3.0])
F.affine(img, 0.0, [1, -2], 0.8, [0.0, 0.0])
F.five_crop(img, 5)
"""
SMOOTH = """
F.resize(img, 5)
F.resize(img, [14, 20])
F.resize(img, 6, max_size=7)
F.resize(img, [5, 20], InterpolationMode.BICUBIC)
F.resized_crop(img, 1, 2, 7, 6, [5, 5])
F.rotate(img, 33.0, InterpolationMode.BILINEAR, fill=[9])
F.rotate(img, 20.0, InterpolationMode.BILINEAR, expand=True)
F.rotate(img, 20.0, InterpolationMode.NEAREST, center=[2, 3], fill=7)
F.affine(img, 25.0, [1, 2], 0.9, [3.0, 0.0], InterpolationMode.BILINEAR, fill=[50])
F.affine(img, -70.0, [0, 0], 1.5, [0.0, 4.0], InterpolationMode.BILINEAR, center=[1, 1])
F.perspective(img, [[0, 0], [8, 0], [8, 10], [0, 10]], [[1, 0], [7, 2], [8, 9], [0, 8]])
F.perspective(img, [[0, 0], [8, 0], [8, 10], [0, 10]], [[2, 1], [7, 1], [6, 9], [1, 8]], InterpolationMode.NEAREST, [3])
"""
COLOURS = """
F.adjust_brightness(img, 0.6)
F.adjust_brightness(img, 1.7)
F.adjust_contrast(img, 0.5)
F.adjust_contrast(img, 1.8)
F.adjust_saturation(img, 0.3)
F.adjust_saturation(img, 1.9)
F.adjust_hue(img, 0.2)
F.adjust_hue(img, -0.4)
F.adjust_gamma(img, 1.7, 0.9)
F.adjust_sharpness(img, 0.2)
F.adjust_sharpness(img, 2.5)
F.rgb_to_grayscale(img)
F.rgb_to_grayscale(img, 3)
F.invert(img)
F.solarize(img, THRESHOLD)
F.autocontrast(img)
"""
BYTES = """
F.posterize(img, 3)
F.equalize(img)
"""
BLURS = """
F.gaussian_blur(img, 3)
F.gaussian_blur(img, [5, 3], [1.5, 0.7])
F.elastic_transform(img, FIELD)
F.elastic_transform(img, FIELD, InterpolationMode.NEAREST, [4.0])
"""
TENSORS = """
F.resize(img, [5, 20], InterpolationMode.BILINEAR, antialias=False)
F.resize(img, [5, 20], InterpolationMode.BICUBIC, antialias=False)
F.resize(img, [5, 20], InterpolationMode.NEAREST_EXACT)
F.convert_image_dtype(img)
F.convert_image_dtype(img, UINT8)
F.normalize(F.convert_image_dtype(img), MEAN, [0.2])
F.erase(img, 1, 2, 3, 4, 7)
U.make_grid(img)
"""
PICTURES = """
F.to_tensor(img)
F.pil_to_tensor(img)
"""
EXPRESSIONS = {
    "L": ALL + SMOOTH + COLOURS + BYTES + BLURS + PICTURES,
    "RGB": ALL + SMOOTH + COLOURS + BYTES + BLURS + PICTURES,
    "RGBA": ALL + SMOOTH + PICTURES,
    "P": ALL + PICTURES,
    "1": ALL + PICTURES,
    "I": ALL + PICTURES,
    "F": ALL + SMOOTH + PICTURES,
    "grey": ALL + SMOOTH + COLOURS + BYTES + BLURS + TENSORS,
    "bytes": ALL + SMOOTH + COLOURS + BYTES + BLURS + TENSORS,
    "floats": ALL + SMOOTH + COLOURS + BLURS + TENSORS,
    "batch": ALL + SMOOTH + COLOURS + BYTES + BLURS + TENSORS,
}
EXPRESSIONS["grey"] = EXPRESSIONS["grey"].replace("F.rgb_to_grayscale(img, 3)\n", "")  # torchvision returns 1 channel
CASES = [(kind, line) for kind, lines in EXPRESSIONS.items() for line in lines.strip().splitlines() if line]


def evaluate(kind, expression, functional, mode, utils, tensor, uint8):
    """The result of a library as arrays: one, or several as a list."""
    image = KINDS[kind]()
    image = tensor(image) if isinstance(image, np.ndarray) else image
    field = 0.3 * np.random.default_rng(1).uniform(-1, 1, (1, 11, 9, 2)).astype(np.float32)
    names = {
        "F": functional,
        "InterpolationMode": mode,
        "U": utils,
        "img": image,
        "FIELD": tensor(field),
        "UINT8": uint8,
    }
    names["THRESHOLD"] = 0.4 if kind == "floats" else 100
    names["MEAN"] = [0.4] if kind == "grey" else [0.1, 0.2, 0.3]
    result = eval(expression, names)
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part) for part in parts]


def write_vectors():
    """Store torchvision's results."""
    import torch
    from torchvision import utils
    from torchvision.transforms import InterpolationMode, functional

    results = {}
    for kind, expression in CASES:
        parts = evaluate(kind, expression, functional, InterpolationMode, utils, torch.tensor, torch.uint8)
        results.update({f"{kind}|{expression}|{i}": part for i, part in enumerate(parts)})
    np.savez_compressed(VECTORS, **results)


if __name__ == "__main__":
    write_vectors()
