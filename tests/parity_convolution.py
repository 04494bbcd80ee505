"""Convolution and pooling, as PyTorch computes them."""

EXPRESSIONS = {
    "conv2d": [
        "layer(nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=1, groups=2))(x(2, 4, 7, 6))",
        "F.conv2d(x(2, 3, 6, 5), x(4, 3, 2, 3), x(4), padding='same')",
    ],
    "max_pool2d": ["F.max_pool2d(x(2, 3, 6, 5), 2)", "layer(nn.MaxPool2d(3, 2, 1, ceil_mode=True))(x(2, 3, 6, 5))"],
    "avg_pool2d": ["F.avg_pool2d(x(2, 3, 6, 5), 2)", "layer(nn.AvgPool2d(3, 2, 1, ceil_mode=True))(x(2, 3, 6, 5))"],
}
