"""Messages of transforms, of the kernel behind their batches, and of grids of images."""

import numpy as np
from PIL import Image

import minigrad as mg
from minigrad import transforms
from minigrad.errors import DtypeError, ShapeError, ValidationError
from minigrad.ops.warp import warp_images
from minigrad.runtime.device import CPU
from minigrad.transforms import InterpolationMode, functional as F
from minigrad.transforms.base import OccasionalTransform, RandomTransform, Transform
from minigrad.transforms.batch import NO_FIELD, NO_PROJECTION
from minigrad.transforms.v2 import functional as F2
from minigrad.utils import make_grid, save_image

T = mg.tensor
grey, one_each = np.zeros((1, 5, 6), np.uint8), np.ones(1)
whole = np.zeros(1, np.int64), np.zeros((18, 1), np.int64), NO_PROJECTION, NO_FIELD, one_each, one_each

MESSAGES = [
    (
        lambda: F.hflip("a"),
        DtypeError,
        "hflip: the image is a str, expected a Pillow image, a tensor or an array (C, H, W)",
    ),
    (
        lambda: F.normalize(Image.new("L", (2, 2)), [0], [1]),
        DtypeError,
        "normalize: the image is a Pillow image, expected a tensor; put ToTensor() before",
    ),
    (
        lambda: transforms.Compose([transforms.ToTensor]),
        DtypeError,
        "Compose: ToTensor is a class; give an object, ToTensor(...)",
    ),
    (
        lambda: save_image(mg.zeros(1, 2, 2, dtype=mg.uint8), "never.png"),
        DtypeError,
        "save_image: the images are uint8, expected floats from 0 to 1; divide bytes by 255",
    ),
    (
        lambda: make_grid(mg.zeros(1, 2, 2, dtype=mg.uint8), normalize=True),
        DtypeError,
        "make_grid: normalize needs floats, but the images are uint8; use .float()",
    ),
    (lambda: F.hflip(T(1.0)), ShapeError, "hflip: the image has shape (), expected (..., H, W)"),
    (
        lambda: F.adjust_contrast(np.zeros((4, 4)), 1),
        ShapeError,
        "adjust_contrast: the image has shape (4, 4), expected (..., C, H, W)",
    ),
    (
        lambda: F.hflip(mg.ones(2, 2, requires_grad=True)),
        DtypeError,
        "hflip: transforms record no gradients, but the image requires them; call detach() first",
    ),
    (
        lambda: F.hflip(np.zeros((2, 2), complex)),
        DtypeError,
        "hflip: pixels are complex128; use uint8, or floats from 0 to 1",
    ),
    (
        lambda: F.hflip(np.zeros((28, 28, 3))),
        ShapeError,
        "hflip: shape (28, 28, 3) looks like (H, W, C), expected (C, H, W); use to_tensor for an array, "
        "or permute(2, 0, 1)",
    ),
    (
        lambda: F.resize(grey, 3, "cubic"),
        ValidationError,
        "resize: interpolation is 'cubic'; use an InterpolationMode, or nearest, nearest-exact, bilinear, "
        "bicubic, box, hamming, lanczos",
    ),
    (
        lambda: F.adjust_contrast(np.zeros((2, 4, 4)), 1),
        ShapeError,
        "adjust_contrast: the image (2, 4, 4) has 2 channels, expected 1 or 3 as (..., C, H, W)",
    ),
    (
        lambda: F.solarize(grey, 300),
        ValidationError,
        "solarize: threshold is 300, above the largest value 255 of uint8 pixels",
    ),
    (
        lambda: F.posterize(np.zeros((1, 4, 4)), 3),
        DtypeError,
        "posterize: pixels are float64, expected uint8; convert them by convert_image_dtype",
    ),
    (
        lambda: F.convert_image_dtype(np.zeros((1, 4, 4), np.float32), mg.int64),
        DtypeError,
        "convert_image_dtype: float32 does not hold the numbers of int64 exactly; use uint8",
    ),
    (
        lambda: F.pad(grey, 7, padding_mode="reflect"),
        ValidationError,
        "pad: a margin of 7 pixels by 'reflect' needs more than the image's height of 5; use at most 4",
    ),
    (
        lambda: F.resize(grey, 3, InterpolationMode.LANCZOS),
        ValidationError,
        "resize: interpolation 'lanczos' is for Pillow images; for pixels use 'nearest', 'bilinear' or 'bicubic'",
    ),
    (
        lambda: F.rotate(grey, 10, InterpolationMode.BICUBIC),
        ValidationError,
        "resampling: interpolation is 'bicubic'; use 'nearest' or 'bilinear' for pixels",
    ),
    (
        lambda: F.gaussian_blur(grey, 13),
        ValidationError,
        "gaussian_blur: a window of 13 x 13 does not fit in 6 x 5 pixels with reflected margins; use at most 11 x 9",
    ),
    (
        lambda: Transform()(grey),
        NotImplementedError,
        "Transform: forward is missing; define it to return the transformed image",
    ),
    (
        lambda: RandomTransform()(grey),
        NotImplementedError,
        "RandomTransform: draw is missing; define it to return the random parameters",
    ),
    (
        lambda: RandomTransform().apply(grey),
        NotImplementedError,
        "RandomTransform: apply is missing; define it to return the transformed image",
    ),
    (
        lambda: OccasionalTransform(1)(grey),
        NotImplementedError,
        "OccasionalTransform: change is missing; define it to return the changed image",
    ),
    (lambda: transforms.Compose(None), DtypeError, "Compose: transforms is None; give a list of transforms"),
    (lambda: transforms.Compose([1]), DtypeError, "Compose: 1 is no transform; give objects that can be called"),
    (
        lambda: transforms.RandomChoice([len], p=[0]),
        ValidationError,
        "RandomChoice: p is [0] for 1 transforms; give each a weight of 0 or more, not all 0",
    ),
    (lambda: transforms.Lambda(1), DtypeError, "Lambda: lambd is an int; give a function"),
    (lambda: transforms.Grayscale(2), ValidationError, "Grayscale: num_output_channels is 2; use 1 or 3"),
    (lambda: transforms.GaussianBlur(2), ValidationError, "GaussianBlur: kernel_size is 2; use odd numbers"),
    (lambda: F.to_tensor([1]), DtypeError, "to_tensor: expected a Pillow image or an array (H, W, C), got a list"),
    (lambda: F.to_tensor(np.zeros(3)), ShapeError, "to_tensor: the array has shape (3,), expected (H, W) or (H, W, C)"),
    (
        lambda: F.to_tensor(np.zeros((3, 8, 8), np.uint8)),
        ShapeError,
        "to_tensor: shape (3, 8, 8) looks like (C, H, W), expected (H, W, C); use mg.tensor, or transpose(1, 2, 0)",
    ),
    (
        lambda: F.pil_to_tensor(grey),
        DtypeError,
        "pil_to_tensor: expected a Pillow image, got an ndarray; use to_tensor",
    ),
    (lambda: F2.to_image([1]), DtypeError, "to_image: expected a Pillow image, an array or a tensor, got a list"),
    (
        lambda: F.to_pil_image(np.zeros((4, 4, 3), np.int32)),
        DtypeError,
        "to_pil_image: pixels of 3 channels are int32; use uint8 or floats",
    ),
    (
        lambda: F.to_pil_image(np.zeros((4, 4), np.uint8), "RGB"),
        ValidationError,
        "to_pil_image: mode 'RGB' does not fit 1 channels of uint8; use L",
    ),
    (lambda: F.to_pil_image([1]), DtypeError, "to_pil_image: expected a tensor or an array, got a list"),
    (
        lambda: F.to_pil_image(np.zeros(3)),
        ShapeError,
        "to_pil_image: the image has shape (3,), expected 2 or 3 axes; give one image",
    ),
    (
        lambda: F.to_pil_image(mg.zeros(5, 4, 4)),
        ShapeError,
        "to_pil_image: 5 channels in shape (5, 4, 4), expected 1 to 4 as (C, H, W)",
    ),
    (
        lambda: F.normalize(grey, [0], [1]),
        DtypeError,
        "normalize: pixels are uint8, expected floats; convert them by ToTensor first",
    ),
    (
        lambda: F.normalize(np.zeros((3, 4, 4)), [0, 0], [1, 1, 1]),
        ShapeError,
        "normalize: mean has shape (2,) for an image of 3 channels; give 3 numbers",
    ),
    (lambda: transforms.Normalize([0], [0]), ValidationError, "normalize: std is [0.0]; use numbers other than 0"),
    (
        lambda: transforms.CenterCrop((1, 2, 3)),
        ValidationError,
        "CenterCrop: size is (1, 2, 3); give one number, or (height, width)",
    ),
    (
        lambda: transforms.Pad((1, 2, 3)),
        ValidationError,
        "Pad: padding has 3 numbers; give 1, 2 or 4 (left, top, right, bottom)",
    ),
    (
        lambda: transforms.Resize((3, 4), max_size=9),
        ValidationError,
        "resize: max_size is 9 with size (3, 4); give size as one number",
    ),
    (
        lambda: transforms.Resize(9, max_size=9),
        ValidationError,
        "resize: max_size is 9 with size 9; use a larger max_size",
    ),
    (
        lambda: F.pad(grey, 1, padding_mode="circular"),
        ValidationError,
        "pad: padding_mode is 'circular'; use constant, edge, reflect, symmetric",
    ),
    (
        lambda: F.pad(grey, [0, -3, 0, -2]),
        ValidationError,
        "pad: padding (0, -3, 0, -2) cuts off all of an image of (5, 6); use smaller numbers",
    ),
    (
        lambda: F.five_crop(grey, 7),
        ValidationError,
        "five_crop: size is (7, 7) for an image of (5, 6); use a smaller size",
    ),
    (
        lambda: F.resize(np.zeros((1, 100)), None, max_size=20),
        ValidationError,
        "resize: an image of (1, 100) would become (0, 20); use a larger size",
    ),
    (lambda: F.affine(grey, 0, (0, 0), 0, 0), ValidationError, "affine: scale is 0; use a number above 0"),
    (lambda: F.affine(grey, 0, 1, 1, 0), ValidationError, "affine: translate is 1; give two numbers"),
    (
        lambda: F.affine(grey, 0, (0, 0), 1, (1, 2, 3)),
        ValidationError,
        "affine: shear is (1, 2, 3); give two numbers, or one",
    ),
    (lambda: F.rotate(grey, "90"), DtypeError, "rotate: angle is a str; give degrees as a number"),
    (
        lambda: F.perspective(grey, [(0, 0)], [(0, 0)]),
        ShapeError,
        "perspective: points have shapes (1, 2) and (1, 2); give four (x, y) in each",
    ),
    (
        lambda: F.elastic_transform(grey, np.zeros((1, 2, 2))),
        ShapeError,
        "elastic_transform: displacement has shape (1, 2, 2), expected (1, 5, 6, 2)",
    ),
    (lambda: F.gaussian_blur(grey, 2), ValidationError, "gaussian_blur: kernel_size is 2; use odd numbers"),
    (
        lambda: F.gaussian_blur(grey, 3, 0),
        ValidationError,
        "gaussian_blur: sigma is 0; give one or two numbers above 0",
    ),
    (lambda: F.rgb_to_grayscale(grey, 2), ValidationError, "rgb_to_grayscale: num_output_channels is 2; use 1 or 3"),
    (
        lambda: transforms.ColorJitter((1, 2, 3)),
        ValidationError,
        "ColorJitter: brightness is (1, 2, 3); give (lowest, highest)",
    ),
    (
        lambda: transforms.RandomResizedCrop(3, scale=(1, 0.5)),
        ValidationError,
        "RandomResizedCrop: scale is (1, 0.5); exchange the numbers, the lowest comes first",
    ),
    (
        lambda: transforms.RandomRotation((1, 2, 3)),
        ValidationError,
        "RandomRotation: degrees is (1, 2, 3); give a number of 0 or more, or (lowest, highest)",
    ),
    (
        lambda: transforms.RandomCrop(3, padding_mode="circular"),
        ValidationError,
        "RandomCrop: padding_mode is 'circular'; use constant, edge, reflect, symmetric",
    ),
    (
        lambda: transforms.RandomCrop(9)(grey),
        ValidationError,
        "RandomCrop: size is (9, 9) for an image of (5, 6); use a smaller size, padding, or pad_if_needed=True",
    ),
    (
        lambda: transforms.ElasticTransform(alpha=(1, 2, 3)),
        ValidationError,
        "ElasticTransform: alpha is [1.0, 2.0, 3.0]; give one number, or (x, y)",
    ),
    (
        lambda: transforms.RandomErasing(value="black"),
        DtypeError,
        "RandomErasing: value is 'black'; give a number, a number for each channel, or 'random'",
    ),
    (
        lambda: transforms.RandomErasing(p=1, value=(1, 2))(np.zeros((3, 8, 8))),
        ValidationError,
        "RandomErasing: value has 2 numbers for an image of 3 channels; give 1 or 3",
    ),
    (
        lambda: F.rotate(Image.new("RGB", (4, 4)), 10, fill=(1, 2)),
        ShapeError,
        "fill: 2 numbers for an image of 3 channels; give 1 or 3",
    ),
    (lambda: transforms.ColorJitter(hue=0.7), ValidationError, "ColorJitter: hue is 0.7; use a number from 0 to 0.5"),
    (lambda: transforms.RandomAffine(-1), ValidationError, "RandomAffine: degrees is -1; use a number of 0 or more"),
    (
        lambda: make_grid(np.zeros((2, 2))),
        DtypeError,
        "make_grid: expected a tensor or a list of tensors, got an ndarray",
    ),
    (
        lambda: make_grid([mg.zeros(2, 2), mg.zeros(3, 3)]),
        ShapeError,
        "make_grid: images have shapes [(2, 2), (3, 3)]; give images of one shape",
    ),
    (lambda: make_grid(mg.zeros(2)), ShapeError, "make_grid: the images have shape (2,), expected (N, C, H, W)"),
    (
        lambda: warp_images(CPU, grey, *whole, one_each, (5, 5), 0, (5, 5)),
        DtypeError,
        "warp: expected C-contiguous uint8 (M, C, H, W), got uint8 (1, 5, 6); use np.ascontiguousarray",
    ),
    (
        lambda: warp_images(CPU, np.zeros((2, 1, 5, 5), np.uint8), *whole, np.ones(2), (5, 5), 0, (5, 5)),
        ShapeError,
        "warp: 1 channels, but fill, scale, shift have shapes (1,), (1,), (2,); give 1 numbers in each",
    ),
    (
        lambda: warp_images(
            CPU, np.zeros((2, 1, 5, 5), np.uint8), np.array([2]), *whole[1:], one_each, (5, 5), 0, (5, 5)
        ),
        ValidationError,
        "warp: number 2 is out of range for 2 images; use 0 to 1",
    ),
]
