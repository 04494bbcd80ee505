"""The oldest functions and methods of tensors, containers, and layers that do nothing in evaluation."""

_EVAL = "layer(nn.{}(0.5)).eval()(x(2, 3{}))"

EXPRESSIONS = {
    "clamp": [
        "x(3, 4).clamp(-1, 0.5)",
        "torch.clamp(x(5), min=0.1)",
        "x(4).clamp(max=x(4))",
        "torch.clip(x(5), -1, 1)",
    ],
    "clip": ["x(3, 4).clip(-0.5, 0.7)"],
    "flatten": [
        "x(2, 3, 4).flatten()",
        "torch.flatten(x(2, 3, 4), 1)",
        "x(2, 3, 4).flatten(0, 1)",
        "x(1)[0].flatten()",
    ],
    "Flatten": ["layer(nn.Flatten())(x(2, 3, 4))", "layer(nn.Flatten(0, -2))(x(2, 3, 4))"],
    "gather": ["x(3, 4).gather(1, ints(4, 3, 2))", "torch.gather(x(3, 4), 0, ints(3, 2, 4))"],
    "matmul": [
        "torch.matmul(x(2, 3), x(3, 4))",
        "x(2, 1, 3, 4) @ x(3, 4, 2)",
        "x(4).matmul(x(4, 3))",
        "x(3, 4) @ x(4)",
    ],
    "maximum": ["torch.maximum(x(3, 4), x(4))", "x(3).maximum(x(2, 3))"],
    "minimum": ["torch.minimum(x(3, 4), x(4))", "x(3).minimum(x(2, 3))"],
    "add": ["torch.add(x(3), x(2, 3), alpha=0.3)", "x(3).detach().add_(x(3).detach(), alpha=2)", "2 + x(3)"],
    "sub": ["torch.sub(x(3), x(2, 3), alpha=0.3)", "x(3).detach().sub_(1.5)", "x(3).sub(x(3))", "2 - x(3)"],
    "mul": ["torch.mul(x(3), x(2, 3))", "x(3).mul(2.5)", "x(3).detach().mul_(3)"],
    "pow": ["torch.pow(positive(3), x(3))", "x(3).pow(3)", "2 ** x(3)", "positive(3).pow(-0.5)"],
    "transpose": ["torch.transpose(x(2, 3, 4), 0, 2)", "x(2, 3).transpose(-1, 0)"],
    "unsqueeze": ["torch.unsqueeze(x(2, 3), 1)", "x(2, 3).unsqueeze(-1)", "x(2).unsqueeze(0).ndim"],
    "contiguous": ["x(2, 3).T.contiguous()"],
    "copy_": ["x(2, 3).detach().copy_(x(3).detach())", "(x(2, 3) * 1).copy_(x(3))"],
    "type_as": ["x(2, 3).type_as(ints(3, 2))", "ints(3, 2).type_as(x(2))"],
    "cpu": ["torch.ones(2).cpu()"],
    "numpy": ["torch.from_numpy(x(2, 3).detach().cpu().numpy())"],
    "as_tensor": ["torch.as_tensor([[1.0, 2.0]])", "torch.as_tensor(x(2).detach())", "torch.as_tensor(3)"],
    "requires_grad_": ["(x(2).detach().requires_grad_() * 2).requires_grad", "x(2).is_leaf", "(x(2) * 2).is_leaf"],
    "Identity": ["layer(nn.Identity(3, unused=1))(x(2, 3))"],
    "Sequential": ["layer(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))(x(2, 3))"],
    "ModuleList": ["(lambda m, a: m[1](m[0](a)))(layer(nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2)])), x(2, 3))"],
    "ModuleDict": [
        "(lambda m, a: m['b'](m['a'](a)))(layer(nn.ModuleDict(dict(a=nn.Linear(3, 4), b=nn.Tanh()))), x(2, 3))"
    ],
    "ParameterList": ["(lambda m, a: m[0] * a + m[1])(layer(nn.ParameterList([torch.ones(3), torch.ones(3)])), x(3))"],
    "ParameterDict": ["(lambda m, a: m['w'] * a)(layer(nn.ParameterDict({'w': nn.Parameter(torch.ones(3))})), x(3))"],
    "Parameter": [
        "nn.Parameter(torch.ones(2)).requires_grad",
        "nn.Parameter(torch.ones(2), requires_grad=False).detach()",
    ],
    "Dropout": [_EVAL.format("Dropout", ""), "F.dropout(x(2, 3), 0.5, training=False)", "F.dropout(x(2, 3), 0.0)"],
    "Dropout1d": [_EVAL.format("Dropout1d", ", 4"), "F.dropout1d(x(2, 3, 4), 0.5, False)", "F.dropout1d(x(2, 3), 1.0)"],
    "Dropout2d": [_EVAL.format("Dropout2d", ", 4, 5"), "F.dropout2d(x(2, 3, 4, 5), 0.5, False)"],
    "Dropout3d": [_EVAL.format("Dropout3d", ", 4, 5, 2"), "F.dropout3d(x(2, 3, 4, 5, 2), 0.5, False)"],
    "AlphaDropout": [_EVAL.format("AlphaDropout", ""), "F.alpha_dropout(x(2, 3), 0.5, False)"],
    "FeatureAlphaDropout": [
        _EVAL.format("FeatureAlphaDropout", ", 4"),
        "F.feature_alpha_dropout(x(2, 3, 4), 0.5, False)",
    ],
    "LazyLinear": [
        "(lambda m, a: m(a))(nn.LazyLinear(2).to(torch.float64), torch.arange(6.0).reshape(2, 3).double()).shape"
    ],
    "LazyConv2d": [
        "nn.LazyConv2d(4, 3, groups=2).to(torch.float64)(torch.arange(200.0).reshape(2, 4, 5, 5).double()).shape"
    ],
    "LazyConv1d": ["nn.LazyConv1d(4, 3).to(torch.float64)(torch.arange(40.0).reshape(2, 4, 5).double()).shape"],
    "LazyConvTranspose1d": [
        "nn.LazyConvTranspose1d(4, 3).to(torch.float64)(torch.arange(40.0).reshape(2, 4, 5).double()).shape"
    ],
    "LazyConvTranspose2d": [
        "nn.LazyConvTranspose2d(4, 3).to(torch.float64)(torch.arange(200.0).reshape(2, 4, 5, 5).double()).shape"
    ],
    "LazyBatchNorm1d": ["nn.LazyBatchNorm1d().to(torch.float64)(torch.arange(12.0).reshape(4, 3).double())"],
    "LazyBatchNorm2d": ["nn.LazyBatchNorm2d().to(torch.float64)(torch.arange(48.0).reshape(4, 3, 2, 2).double())"],
    "LazyInstanceNorm2d": [
        "nn.LazyInstanceNorm2d().to(torch.float64)(torch.arange(48.0).reshape(4, 3, 2, 2).double())"
    ],
}
