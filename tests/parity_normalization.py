"""Normalisation and dropout, as PyTorch computes them."""

EXPRESSIONS = {
    "batch_norm": [
        "F.batch_norm(x(5, 3), None, None, x(3), x(3), training=True)",
        "F.batch_norm(x(4, 3, 2, 3), (x(3) * 1).detach(), (positive(3) * 1).detach(), x(3), None, True, 0.3, 0.1)",
        "F.batch_norm(x(4, 3, 2), x(3).detach(), positive(3).detach(), x(3), x(3))",
        "F.batch_norm(x(2, 3, 1, 2, 2), None, None, None, None, True)",
    ],
    "layer_norm": [
        "F.layer_norm(x(4, 5), (5,), x(5), x(5))",
        "F.layer_norm(x(2, 3, 4), [3, 4], eps=0.1)",
        "F.layer_norm(x(3, 2, 4), (4,), weight=x(4))",
        "F.layer_norm(x(5), (5,), x(5), x(5))",
    ],
    "rms_norm": ["F.rms_norm(x(4, 5), (5,), x(5))", "F.rms_norm(x(2, 3, 4), (3, 4), eps=0.1)"],
    "group_norm": [
        "F.group_norm(x(3, 4), 2, x(4), x(4))",
        "F.group_norm(x(3, 6, 2, 3), 2, x(6), x(6), 0.1)",
        "F.group_norm(x(2, 4, 3), 4)",
    ],
    "instance_norm": [
        "F.instance_norm(x(3, 2, 4))",
        "F.instance_norm(x(3, 2, 4, 2), None, None, x(2), x(2), eps=0.1)",
        "F.instance_norm(x(3, 2, 4), x(2).detach(), positive(2).detach(), x(2), None, False)",
    ],
    "local_response_norm": [
        "F.local_response_norm(x(2, 5, 3), 3, 0.5, 0.75, 2.0)",
        "F.local_response_norm(x(2, 5, 2, 3), 2)",
        "layer(nn.LocalResponseNorm(4, alpha=0.1))(x(2, 3, 2, 2))",
    ],
    "BatchNorm1d": [
        "layer(nn.BatchNorm1d(3))(x(5, 3))",
        "layer(nn.BatchNorm1d(3, eps=0.1, momentum=None))(x(4, 3, 2))",
        "layer(nn.BatchNorm1d(3)).eval()(x(5, 3))",
        "layer(nn.BatchNorm1d(3, affine=False, track_running_stats=False)).eval()(x(5, 3))",
        "(lambda b: [b(x(5, 3)), b(x(4, 3)), b.eval()(x(2, 3))])(layer(nn.BatchNorm1d(3, momentum=None)))",
        "(lambda b: [b(x(5, 3)), b(x(4, 3)), b.eval()(x(2, 3))])(layer(nn.BatchNorm1d(3, momentum=0.3, bias=False)))",
    ],
    "BatchNorm2d": [
        "layer(nn.BatchNorm2d(3))(x(4, 3, 2, 3))",
        "layer(nn.BatchNorm2d(2, track_running_stats=False))(x(4, 2, 2, 1))",
        "layer(nn.BatchNorm2d(2)).eval()(x(4, 2, 2, 1))",
    ],
    "BatchNorm3d": ["layer(nn.BatchNorm3d(2))(x(2, 2, 2, 1, 2))"],
    "InstanceNorm1d": ["layer(nn.InstanceNorm1d(3))(x(2, 3, 4))", "layer(nn.InstanceNorm1d(3, affine=True))(x(3, 4))"],
    "InstanceNorm2d": [
        "layer(nn.InstanceNorm2d(2, affine=True, eps=0.1))(x(3, 2, 2, 3))",
        "layer(nn.InstanceNorm2d(2, track_running_stats=True, momentum=0.4))(x(3, 2, 2, 3))",
        "(lambda b: [b(x(3, 2, 2)), b.eval()(x(2, 3, 4, 1))])(layer(nn.InstanceNorm2d(3, 0.1, 0.3, True, True)))",
    ],
    "InstanceNorm3d": ["layer(nn.InstanceNorm3d(2))(x(1, 2, 2, 1, 2))"],
    "LayerNorm": [
        "layer(nn.LayerNorm(4))(x(3, 4))",
        "layer(nn.LayerNorm((2, 3), eps=0.1, bias=False))(x(4, 2, 3))",
        "layer(nn.LayerNorm([3], elementwise_affine=False))(x(2, 2, 3))",
    ],
    "RMSNorm": ["layer(nn.RMSNorm(4))(x(3, 4))", "layer(nn.RMSNorm((2, 3), 0.1, False))(x(4, 2, 3))"],
    "GroupNorm": [
        "layer(nn.GroupNorm(2, 4))(x(3, 4, 2, 2))",
        "layer(nn.GroupNorm(1, 4, bias=False))(x(3, 4))",
        "layer(nn.GroupNorm(3, 3, affine=False))(x(2, 3, 4))",
    ],
}
