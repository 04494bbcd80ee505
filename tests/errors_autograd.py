"""The messages of gradients, hooks, functions with gradients of their own, and checkpoints."""

import minigrad as mg
from minigrad import autograd, nn
from minigrad.autograd import Function, functional, grad
from minigrad.errors import DtypeError, GraphError, ShapeError, ValidationError
from minigrad.testing import assert_close, gradcheck
from minigrad.utils.checkpoint import checkpoint, checkpoint_sequential


def leaf():
    return mg.tensor([1.0, 2.0], requires_grad=True)


def own(backward, forward=lambda ctx, x, *others: x * 2):
    return type("Own", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def run(backward, *others):
    own(backward).apply(leaf(), *others).sum().backward()


def hooked(result):
    x = leaf()
    x.register_hook(lambda g: result)
    (x * 2).sum().backward()


def change_saved():
    def forward(ctx, x):
        y = x * 2
        ctx.save_for_backward(y)
        return y

    y = own(lambda ctx, g: g * ctx.saved_tensors[0], forward).apply(leaf())
    with mg.no_grad():
        y.mul_(2)
    y.sum().backward()


def differentiate_twice():
    x = leaf()
    y = own(autograd.function.once_differentiable(lambda ctx, g: g * 2)).apply(x)
    grad(grad(y.sum(), x, create_graph=True)[0].sum(), x)


def change_checkpointed():
    x = leaf() * 1
    y = checkpoint(lambda x: x.exp(), x)
    with mg.no_grad():
        x.mul_(2)
    y.sum().backward()


def checkpoint_another():
    calls = []
    y = checkpoint(lambda x: (calls.append(0), x * 2 if len(calls) == 1 else (x * 2).exp())[1], leaf())
    y.sum().backward()


def make_nan():
    with autograd.detect_anomaly():
        exec("mg.tensor([-1.0], requires_grad=True).log()", {"mg": mg, "__name__": "x"})


def make_nan_gradient():
    y = mg.tensor([0.0], requires_grad=True).sqrt()
    with autograd.detect_anomaly():
        (y * 0).sum().backward()


def hooked_list():
    layer = nn.Identity()
    layer.register_full_backward_hook(print)
    layer([leaf()])


def freed():
    x = leaf()
    y = (x * x).sum()
    y.backward()
    grad(y * 2, x)


MESSAGES = [
    (lambda: grad("a", leaf()), DtypeError, "grad: an output is a str, expected a tensor or a tuple of tensors"),
    (
        lambda: grad(leaf().sum(), [1.0]),
        DtypeError,
        "grad: an input is a float, expected a tensor or a tuple of tensors",
    ),
    (
        lambda: grad(leaf().sum(), leaf()),
        GraphError,
        "grad: no output depends on input 0, of shape (2,); allow_unused=True gives None for it, materialize_grads=True"
        " zeros",
    ),
    (
        lambda: grad(leaf().sum(), mg.ones(3)),
        GraphError,
        "grad: an input of shape (3,) does not require grad; use requires_grad_()",
    ),
    (
        lambda: grad(mg.ones(3).sum(), leaf()),
        GraphError,
        "grad: nothing was recorded for this tensor; does an input have requires_grad=True, and was it computed outside"
        " no_grad?",
    ),
    (
        lambda: grad(leaf().sum(), leaf(), retain_graph=False, create_graph=True),
        GraphError,
        "grad: create_graph=True needs the graph; leave out retain_graph=False",
    ),
    (
        lambda: autograd.backward(leaf(), [None, None]),
        ValidationError,
        "backward: 2 gradients for 1 tensors; give one for each",
    ),
    (
        lambda: leaf().sum().backward(inputs=[]),
        ValidationError,
        "backward: inputs is empty; leave it out for all leaves",
    ),
    (
        freed,
        GraphError,
        "backward: this graph was walked before and its saved values are freed; use retain_graph=True in the first "
        "backward",
    ),
    (lambda: autograd.Variable([1.0]), DtypeError, "Variable: expected a Tensor, got list; use mg.tensor(...)"),
    (
        lambda: autograd.Variable(mg.ones(2), volatile=True),
        ValidationError,
        "Variable: volatile was removed; use `with mg.no_grad():`",
    ),
    (lambda: mg.set_grad_enabled(1), DtypeError, "set_grad_enabled: mode is 1, expected True or False"),
    (lambda: autograd.set_detect_anomaly(1), DtypeError, "set_detect_anomaly: mode is 1, expected True or False"),
    (lambda: leaf().register_hook(1), DtypeError, "register_hook: expected a function, got int"),
    (
        lambda: mg.ones(2).register_hook(print),
        GraphError,
        "register_hook: the tensor does not require grad, so it gets no gradient; use requires_grad_()",
    ),
    (
        lambda: mg.ones(2).retain_grad(),
        GraphError,
        "retain_grad: the tensor does not require grad, so it gets no gradient; use requires_grad_()",
    ),
    (
        lambda: (leaf() * 2).register_post_accumulate_grad_hook(print),
        GraphError,
        "register_post_accumulate_grad_hook: the tensor is the result of an operation; use a leaf",
    ),
    (lambda: hooked(1), GraphError, "register_hook: the hook returned int, expected float32 (2,) or None"),
    (
        lambda: hooked(mg.ones(3)),
        GraphError,
        "register_hook: the hook returned float32 (3,), expected float32 (2,) or None",
    ),
    (
        lambda: (leaf() * 2)[0].detach_(),
        GraphError,
        "detach_: the tensor is a view of another one, which stays in the graph; use x.detach()",
    ),
    (hooked_list, DtypeError, "Identity: backward hooks need a tensor or a tuple, but forward returns a list"),
    (
        lambda: run(lambda ctx, g: (g, None)),
        GraphError,
        "Own: backward returned 2 gradients for 1 arguments; return one for each, None where there is none",
    ),
    (lambda: run(lambda ctx, g: 1), DtypeError, "Own: gradient 0 is an int, expected a tensor or None"),
    (
        lambda: run(lambda ctx, g: (g, g), 3),
        DtypeError,
        "Own: gradient 1 is a Tensor, expected None, because the argument is no tensor",
    ),
    (
        lambda: run(lambda ctx, g: mg.ones(1)),
        ShapeError,
        "Own: gradient 0 has shape (1,), the argument (2,); make them equal",
    ),
    (
        lambda: own(None, lambda ctx, x: ctx.save_for_backward(1)).apply(leaf()),
        DtypeError,
        "save_for_backward: expected tensors, got int; set it as an attribute of ctx",
    ),
    (
        change_saved,
        GraphError,
        "Own: saved tensor 0 was changed in place 1 time(s) after forward saved it, and backward needs the old value; "
        "change a copy instead, or after backward",
    ),
    (differentiate_twice, GraphError, "Own: it is once_differentiable, so there is no second derivative; detach it"),
    (
        change_checkpointed,
        GraphError,
        "checkpoint: 1 of the values that the function needs were changed in place after the call; change a copy "
        "instead, or after backward",
    ),
    (
        checkpoint_another,
        GraphError,
        "checkpoint: the second call recorded 2 operations, the first 1, or of another kind or shape; the function must"
        " do the same at each call",
    ),
    (
        lambda: checkpoint_sequential([mg.exp], 2, leaf()),
        ValidationError,
        "checkpoint_sequential: segments is 2; use a whole number from 1 to 1",
    ),
    (
        make_nan,
        GraphError,
        "log: the result is the first with nan, called at <string>:1; look at the values that it gets",
    ),
    (
        make_nan_gradient,
        GraphError,
        "backward: the gradient of sqrt by its input 'a' is the first with nan; switch detect_anomaly on before the "
        "forward pass to see where it is called; look at the values that it gets",
    ),
    (lambda: functional.vjp(mg.exp, leaf()), ShapeError, "vjp: v has the shapes [], expected [(2,)]"),
    (
        lambda: functional.hessian(mg.exp, leaf()),
        ShapeError,
        "hessian: func returns [(2,)], expected a tensor of one element; reduce it with .sum()",
    ),
    (
        lambda: functional.jacobian(lambda x: mg.ones(1), leaf(), strict=True),
        GraphError,
        "jacobian: the result does not depend on every input; strict=False gives zeros",
    ),
    (
        lambda: gradcheck(mg.exp, mg.ones(2)),
        ValidationError,
        "gradcheck: no input requires grad; give float64 tensors with requires_grad=True",
    ),
    (
        lambda: gradcheck(own(lambda ctx, g: g).apply, mg.tensor([1.0], dtype=mg.float64, requires_grad=True)),
        GraphError,
        "gradcheck: the gradient of output 0 by element 0 of input 0 is 1 at (0,), but differences give 2; 1 of 1 "
        "numbers differ",
    ),
    (
        lambda: assert_close(1.0, 1.0, rtol=1),
        ValidationError,
        "assert_close: rtol and atol belong together; give both or none",
    ),
]
