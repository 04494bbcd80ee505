"""Messages of convolution, pooling and margins; see test_errors.py."""

import minigrad as mg
from minigrad import nn
from minigrad.errors import DtypeError, OutOfRangeError, ShapeError, ValidationError
from minigrad.nn import functional as F

x, line, image = mg.zeros(2, 3), mg.zeros(1, 3, 8), mg.zeros(1, 3, 8, 8)
one = mg.zeros(1, 1, 1, 1)

MESSAGES = [
    # lines, as images of height 1
    (
        lambda: F.conv1d(image, mg.zeros(4, 3, 2)),
        ShapeError,
        "conv1d: x has 4 dimensions (1, 3, 8, 8), expected 3 (N, C, L) or 2 (C, L); reshape it first",
    ),
    (
        lambda: F.conv1d(line, mg.zeros(4, 3)),
        ShapeError,
        "conv1d: weight has 2 dimensions (4, 3), expected 3 (F, C/groups, K)",
    ),
    (
        lambda: F.conv1d(line, mg.zeros(4, 2, 2)),
        ShapeError,
        "conv1d: weight reads 2 channels but x has 3 (x (1, 3, 8), weight (4, 2, 2), groups 1); build the layer with "
        "in_channels=3",
    ),
    (
        lambda: F.conv1d(line, mg.zeros(4, 3, 5), dilation=2, padding=0),
        ShapeError,
        "conv1d: a window of 9 does not fit in 8 pixels with padding 0; use larger images, a smaller window or more "
        "padding",
    ),
    (
        lambda: F.conv1d(line, mg.zeros(4, 3, 2), stride=(1, 2)),
        ValidationError,
        "conv1d: stride is (1, 2); use a whole number of 1 or more",
    ),
    (
        lambda: F.max_pool1d(line, 2, padding=2),
        ValidationError,
        "max_pool1d: padding 2 is more than half of the window's length 2; every window must hold a pixel",
    ),
    (lambda: F.avg_pool1d([1.0], 2), DtypeError, "avg_pool1d: expected a Tensor, got list; use mg.tensor(...)"),
    # transposed convolution
    (
        lambda: F.conv_transpose2d(image, mg.zeros(3, 4, 2, 2), stride=2, output_padding=2),
        ValidationError,
        "conv_transpose2d: output_padding 2 is not smaller than stride 2 or dilation 1; use at most 1",
    ),
    (
        lambda: F.conv_transpose1d(line, mg.zeros(3, 4, 2), padding=5),
        ShapeError,
        "conv_transpose1d: images of 8 would become -1; use larger images or less padding than (5,)",
    ),
    (
        lambda: F.conv_transpose2d(image, mg.zeros(4, 2, 2, 2)),
        ShapeError,
        "conv_transpose2d: weight reads 4 channels but x has 3 (x (1, 3, 8, 8), weight (4, 2, 2, 2), groups 1); build "
        "the layer with in_channels=3",
    ),
    (
        lambda: F.conv_transpose2d(image.long(), mg.zeros(3, 2, 2, 2)),
        DtypeError,
        "conv_transpose2d: expected a float tensor, got int64; convert it with .float()",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2)(image, output_size=(19, 17)),
        ShapeError,
        "ConvTranspose2d: output_size is (19, 17); use sizes from (17, 17) to (18, 18)",
    ),
    (
        lambda: nn.ConvTranspose1d(3, 4, 3, padding_mode="reflect"),
        ValidationError,
        "ConvTranspose1d: padding_mode is 'reflect'; use 'zeros'",
    ),
    (
        lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"),
        ValidationError,
        "Conv2d: padding_mode is 'mirror'; use 'zeros', 'reflect', 'replicate', 'circular'",
    ),
    # pooling
    (
        lambda: nn.MaxPool1d(2, padding=2),
        ValidationError,
        "MaxPool1d: padding 2 is more than half of kernel_size 2; use less padding, so that every window holds a pixel",
    ),
    (
        lambda: F.adaptive_avg_pool2d(mg.zeros(1, 2, 0, 3), 2),
        ShapeError,
        "adaptive_avg_pool2d: x (1, 2, 0, 3) has no channels or images without a pixel; every window must hold one",
    ),
    (
        lambda: F.adaptive_max_pool1d(line.long(), 2),
        DtypeError,
        "adaptive_max_pool1d: expected a float tensor, got int64; convert it with .float()",
    ),
    (
        lambda: F.adaptive_max_pool2d(image, (2, 3, 4)),
        ValidationError,
        "adaptive_max_pool2d: output_size is (2, 3, 4); use a whole number of 1 or more, or a pair of them",
    ),
    (
        lambda: F.max_unpool2d(image, mg.zeros(1, 3, 8, 7, dtype=mg.int64), 2),
        ShapeError,
        "max_unpool2d: x has shape (1, 3, 8, 8), indices (1, 3, 8, 7); make them equal",
    ),
    (
        lambda: F.max_unpool2d(one, one.long(), 3, 2, output_size=(3, 5)),
        ShapeError,
        "max_unpool2d: output_size is (3, 5); use sizes from (2, 2) to (4, 4)",
    ),
    (
        lambda: F.max_unpool2d(one, one.long() + 4, 2),
        OutOfRangeError,
        "max_unpool2d: index 4 is out of range for 2x2 pixels",
    ),
    # margins
    (
        lambda: F.pad(x, (1, 1), "mirror"),
        ValidationError,
        "pad: mode is 'mirror'; use 'constant', 'reflect', 'replicate', 'circular'",
    ),
    (
        lambda: F.pad(x, (1, 1), "reflect", 2.0),
        ValidationError,
        "pad: value is 2.0 but mode 'reflect' takes its values from x; leave out value",
    ),
    (
        lambda: F.pad(x, (1, 1, 1, 1), "replicate"),
        ShapeError,
        "pad: 4 margins for 2 dimensions; with mode 'replicate' give (before, after) for all axes but the first one or "
        "two",
    ),
    (
        lambda: F.pad(x, (1, 3), "reflect"),
        ShapeError,
        "pad: margins (1, 3) for dim 1 of shape (2, 3); mode 'reflect' takes margins from -3 to 2 that leave elements",
    ),
    (
        lambda: F.pad(mg.zeros(2, 0), (1, 1), "circular"),
        ShapeError,
        "pad: margins (1, 1) for dim 1 of shape (2, 0); mode 'circular' takes an axis with elements",
    ),
    (
        lambda: nn.ReflectionPad2d((1, 2)),
        ValidationError,
        "ReflectionPad2d: padding is (1, 2); use a number, or 4 of them",
    ),
]
