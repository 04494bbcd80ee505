"""Gradients as values, hooks, functions with gradients of their own, and checkpoints, as PyTorch computes them."""

_FUNCTION = (
    "type('Own', (torch.autograd.Function,), {{'forward': staticmethod({}), 'backward': staticmethod({})}}).apply"
)
_CUBE = _FUNCTION.format(
    "lambda ctx, a: (ctx.save_for_backward(a), a**3)[1]", "lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2"
)
_EXP = _FUNCTION.format(
    "lambda ctx, a: (y := a.exp(), ctx.save_for_backward(y))[0]", "lambda ctx, g: g * ctx.saved_tensors[0]"
)
_PAIR = _FUNCTION.format(
    "lambda ctx, a, k, b: (ctx.save_for_backward(a, b), setattr(ctx, 'k', k), (a * b * k, a + b))[2]",
    "lambda ctx, g, h: (g * ctx.saved_tensors[1] * ctx.k + h, None, g * ctx.saved_tensors[0] * ctx.k + h)",
)
_BROADCAST = _FUNCTION.format("lambda ctx, a: a + 0", "lambda ctx, g: g * 2")
_GRAD = "torch.autograd.grad"
_FUNCTIONAL = "torch.autograd.functional"
_NET = "nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))"

EXPRESSIONS = {
    "grad": [
        f"(lambda a: {_GRAD}((a**3).sum(), a, create_graph=True)[0] * a)(x(3))",
        f"(lambda a, b: {_GRAD}((a * b).exp(), (a, b), a * 2, create_graph=True))(x(2, 3), x(3))",
        f"(lambda a: {_GRAD}([a.sum(), a * a], [a], [None, a], create_graph=True)[0])(x(3))",
        f"(lambda a: (b := a * 2, c := b * b, {_GRAD}(c.sum(), (b, a, b), create_graph=True))[2])(x(3))",
        f"(lambda a: {_GRAD}({_GRAD}((a**4).sum(), a, create_graph=True)[0].sum(), a, create_graph=True)[0])(x(3))",
        f"(lambda a, b: {_GRAD}((a * a).sum(), (a, b), materialize_grads=True, create_graph=True))(x(3), x(2))",
        f"(lambda a: {_GRAD}(a[1:].sum() ** 2, a, create_graph=True)[0])(x(4))",
        f"(lambda a: {_GRAD}(torch.stack([a, a * a]).max(), a)[0])(x(4))",
    ],
    "backward": [
        "(lambda a: (torch.autograd.backward([(a * a).sum(), a], [None, a.detach()]), a.grad.clone())[1])(x(3))",
        "(lambda a, b: ((a * b).sum().backward(inputs=[a]), a.grad.clone())[1])(x(3), x(3))",
        "(lambda a: (b := a * 3, (b * b).sum().backward(inputs=b), b.grad.clone())[2])(x(3))",
    ],
    "register_hook": [
        "(lambda a: (a.register_hook(lambda g: g * 3), a.exp())[1])(x(3))",
        "(lambda a: (b := a * a, b.register_hook(lambda g: g * g), b.register_hook(lambda g: g + 1), b.exp())[3])"
        "(x(3))",
        "(lambda a: (b := a * a, b.register_hook(lambda g: g * 5).remove(), b.exp())[2])(x(3))",
        "(lambda a: (b := a * a, b.retain_grad(), (b * b).sum().backward(), b.grad.clone())[3])(x(3))",
        "(lambda a: (b := a * 1, b.retain_grad(), b.mul_(3), (b * b).sum().backward(), b.grad.clone())[4])(x(3))",
    ],
    "register_full_backward_hook": [
        f"(lambda m, a: (m[0].register_full_backward_hook(lambda m, i, o: (i[0] * 2,)), m(a))[1])"
        f"(layer({_NET}), x(2, 3))",
        f"(lambda m, a: (m.register_full_backward_hook(lambda m, i, o: (o[0].sum() * i[0],)), m(a))[1])"
        f"(layer({_NET}), x(2, 3))",
        f"(lambda m, a: (m[2].register_full_backward_pre_hook(lambda m, o: (o[0] * 3,)), m(a))[1])"
        f"(layer({_NET}), x(2, 3))",
    ],
    "register_forward_hook": [
        f"(lambda m, a: (m[0].register_forward_hook(lambda m, i, o: o + i[0].sum()), m(a))[1])(layer({_NET}), x(2, 3))",
        f"(lambda m, a: (m.register_forward_pre_hook(lambda m, i: i[0] * 2), m(a))[1])(layer({_NET}), x(2, 3))",
        "(lambda m, a: (m.register_forward_pre_hook(lambda m, i, k: ((k['input'] * 2,), {}), with_kwargs=True), "
        "m(input=a))[1])(layer(nn.Linear(3, 2)), x(2, 3))",
    ],
    "Function": [
        f"{_CUBE}(x(3)) * 2",
        f"{_EXP}(x(3))",
        f"(lambda a: {_GRAD}({_EXP}(a * a).sum(), a, create_graph=True)[0])(x(3))",
        f"(lambda p: p[0] * p[1])({_PAIR}(x(3), 2, x(3)))",
        f"{_PAIR}(x(3), 2.5, x(3))[0]",
        f"{_BROADCAST}(x(3)).expand(2, 3) * 1",
    ],
    "jacobian": [
        f"{_FUNCTIONAL}.jacobian(lambda a: a * a.sum(), x(3), create_graph=True)",
        f"{_FUNCTIONAL}.jacobian(lambda a, b: (a.exp(), (a * b).sum(0)), (x(2, 3), x(3)), create_graph=True)",
        f"{_FUNCTIONAL}.jacobian(lambda a: a.sum(), (x(2, 2)))",
        f"{_FUNCTIONAL}.jacobian(lambda a: a.detach(), x(2))",
    ],
    "hessian": [
        f"{_FUNCTIONAL}.hessian(lambda a: (a**3).sum(), x(3), create_graph=True)",
        f"{_FUNCTIONAL}.hessian(lambda a, b: (a * b).exp().sum(), (x(2), x(2)))",
    ],
    "vjp": [
        f"{_FUNCTIONAL}.vjp(lambda a: a * a.sum(), x(3), x(3), create_graph=True)",
        f"{_FUNCTIONAL}.vjp(lambda a, b: (a * b).sum(), (x(3), x(3)))",
    ],
    "jvp": [
        f"{_FUNCTIONAL}.jvp(lambda a: a * a.sum(), x(3), x(3), create_graph=True)",
        f"{_FUNCTIONAL}.jvp(lambda a, b: (a * b, a), (x(3), x(3)), (x(3), x(3)))",
    ],
    "vhp": [
        f"{_FUNCTIONAL}.vhp(lambda a: (a**3).sum() * a[0], x(3), x(3), create_graph=True)",
        f"{_FUNCTIONAL}.hvp(lambda a, b: (a * b).exp().sum(), (x(2), x(2)), (x(2), x(2)))",
    ],
    "checkpoint": [
        "torch.utils.checkpoint.checkpoint(lambda a, b: (a * b).exp(), x(3), x(3), use_reentrant=False)",
        f"torch.utils.checkpoint.checkpoint(layer({_NET}), x(2, 3), use_reentrant=False) ** 2",
        "torch.stack(torch.utils.checkpoint.checkpoint(lambda a: (a * a, a.exp()), x(3), use_reentrant=False))",
        f"torch.utils.checkpoint.checkpoint_sequential(layer({_NET}), 2, x(2, 3), use_reentrant=False) ** 2",
    ],
}
