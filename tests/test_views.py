"""Views, aliases and writes in place: every tensor on a storage sees a write, and gradients are those of PyTorch."""

import numpy as np
import pytest
from helpers import DEVICES, run_in_threads

import minigrad as mg
from minigrad import nn
from minigrad.errors import GraphError, ShapeError, ValidationError
from minigrad.nn import functional as F


def leaf_and_double(data):
    """Return a leaf that requires a gradient, and twice the leaf."""
    leaf = mg.tensor(data, requires_grad=True)
    return leaf, leaf * 2


# ---- writes through views and to their base


def test_writes_through_views_reach_the_base_and_its_gradient():
    leaf, y = leaf_and_double([[1.0, 2.0], [3.0, 4.0]])
    y[0].mul_(10)
    y.view(-1)[3] = 99.0
    r = y[0]
    r += 1
    assert y.tolist() == [[21, 41], [6, 99]]
    (y * mg.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert leaf.grad.tolist() == [[20, 40], [6, 0]]


def test_a_write_to_the_base_reaches_its_views():
    leaf, y = leaf_and_double([1.0, 2.0, 3.0])
    row, rest = y[0], y[1:]
    y *= 5
    assert (row.item(), rest.tolist()) == (10, [20, 30])
    (row * 3 + rest.sum()).backward()
    assert leaf.grad.tolist() == [30, 10, 10]


def test_a_write_through_a_view_reaches_other_views():
    leaf, y = leaf_and_double([[1.0, 2.0], [3.0, 4.0]])
    column, transposed = y[:, 1], y.T
    column.mul_(10)
    assert transposed.tolist() == [[2, 6], [40, 80]]
    transposed[1].sum().backward()
    assert leaf.grad.tolist() == [[0, 20], [0, 20]]


def test_a_write_through_a_view_of_a_view_reaches_the_base():
    leaf, y = leaf_and_double(np.arange(8.0).reshape(2, 4).tolist())
    y[1].reshape(2, 2)[:, 0] = mg.tensor([-1.0, -2.0])
    assert y.tolist() == [[0, 2, 4, 6], [-1, 10, -2, 14]]
    y.sum().backward()
    assert leaf.grad.tolist() == [[2, 2, 2, 2], [0, 2, 0, 2]]


def test_a_write_of_a_value_with_a_graph_gives_the_plain_tensor_a_graph():
    value = mg.tensor([3.0, 4.0], requires_grad=True)
    buffer = mg.zeros(2, 2)
    top = buffer[0]
    buffer[1].copy_(value * 2)
    assert buffer.requires_grad
    top += value
    assert buffer.tolist() == [[3, 4], [6, 8]]
    (buffer * buffer).sum().backward()
    assert value.grad.tolist() == [30, 40]


def test_second_derivatives_of_writes_through_views():
    leaf = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = leaf * leaf
    y[1:].mul_(leaf[:2])
    (y * y).sum().backward(create_graph=True)
    leaf_grad = leaf.grad
    leaf.grad = None
    (leaf_grad * mg.tensor([1.0, 1.0, 1.0])).sum().backward()
    # y = a^2, b^2 a, c^2 b
    a, b, c = 1.0, 2.0, 3.0
    assert leaf.grad.tolist() == [
        12 * a**2 + 2 * b**4 + 8 * a * b**3,
        8 * a * b**3 + 12 * a**2 * b**2 + 2 * c**4 + 8 * b * c**3,
        8 * b * c**3 + 12 * b**2 * c**2,
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_writes_through_views_of_a_conv2d_result(device):
    """The memory of y is batch-innermost; view(-1) copies it into C order and keeps all aliases."""
    x, w = mg.randn(3, 2, 4, 4).to(device), mg.randn(5, 2, 3, 3).to(device).requires_grad_()
    y = F.conv2d(x, w)
    first, detached = y[0], y.detach()
    y.view(-1)[0] = -500.0
    y.reshape(15, 4)[14].fill_(-700)
    assert y.min().item() == -700 and y[0, 0, 0, 0].item() == -500
    assert first[0, 0, 0].item() == detached[0, 0, 0, 0].item() == -500
    y.sum().backward()
    gradient, w.grad = w.grad, None
    mask = mg.ones(3, 5, 2, 2).to(device)  # 0 where y was overwritten
    mask[0, 0, 0, 0], mask[2, 4] = 0.0, 0.0
    (F.conv2d(x, w) * mask).sum().backward()
    np.testing.assert_allclose(gradient.numpy(), w.grad.numpy(), rtol=1e-5)


def test_view_refuses_a_shape_that_needs_a_copy():
    with pytest.raises(ShapeError, match=r"view: .*\(2, 3\).*\(6,\).*reshape"):
        mg.ones(3, 2).T.view(-1)
    padded = mg.from_numpy(np.ones((4, 4), "f4")[:, :3])
    with pytest.raises(ShapeError, match="use reshape"):
        padded.view(-1)
    assert padded.reshape(-1).tolist() == [1] * 12


def test_contiguous_copies_only_if_needed():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    copy = x.T.contiguous()
    copy[0, 0] = 9.0
    assert x[0, 0].item() == 1
    assert x.contiguous() is x
    row = x[1]
    assert row.contiguous() is row
    images = F.conv2d(mg.ones(2, 1, 3, 3), mg.ones(2, 1, 2, 2))
    assert images.contiguous() is images
    channels_last = images.permute(0, 2, 3, 1)
    channels_last.contiguous().fill_(0)
    images.permute(1, 2, 3, 0).contiguous().fill_(0)
    assert images.sum().item() == 64


# ---- detached aliases


def test_detach_shares_later_writes():
    _, y = leaf_and_double([1.0, 2.0])
    s = y.detach()
    y += 1
    assert s.tolist() == [3, 5]
    s.zero_()
    assert y.tolist() == [0, 0]


def test_backward_refuses_if_a_saved_value_was_changed_through_detach():
    leaf, y = leaf_and_double([1.0, 2.0])
    z = y * y
    y.detach().mul_(2)
    with pytest.raises(GraphError, match=r"input 'b' of mul was changed in place 1 time"):
        z.sum().backward()
    assert leaf.grad is None


def test_numpy_shares_later_writes():
    _, y = leaf_and_double([1.0, 2.0])
    seen = y.detach().numpy()
    y += 1
    assert seen.tolist() == [3, 5]


def test_parameter_shares_later_writes_to_its_tensor():
    x = mg.tensor([1.0, 2.0])
    parameter = nn.Parameter(x)
    x += 1
    assert parameter.tolist() == [2, 3]


# ---- writes to values that the graph needs


def test_mul_in_place_saves_the_old_value_for_its_gradient():
    leaf, factor = mg.tensor([1.0, 2.0], requires_grad=True), mg.tensor([3.0, 5.0], requires_grad=True)
    y = leaf * 1
    view = y[:]
    y.mul_(factor)
    assert view.tolist() == [3, 10]
    y.sum().backward()
    assert (leaf.grad.tolist(), factor.grad.tolist()) == ([3, 5], [1, 2])


def test_backward_refuses_if_a_saved_value_was_changed_through_a_view():
    _, y = leaf_and_double([1.0, 2.0])
    part = y[0]
    z = y * y
    part.add_(1)
    with pytest.raises(GraphError, match="input 'b' of mul was changed in place 1 time"):
        z.sum().backward()


WRITES_TO_A_LEAF = {
    "a slice": lambda leaf: leaf[:1].mul_(2),
    "an element": lambda leaf: leaf.__setitem__(0, 5.0),
    "another shape": lambda leaf: leaf.view(-1).zero_(),
    "a value with a graph": lambda leaf: leaf[0].copy_(leaf[1] * 2),
}


@pytest.mark.parametrize("write", WRITES_TO_A_LEAF)
def test_a_view_of_a_leaf_that_requires_grad_cannot_be_written(write):
    leaf = mg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GraphError, match=r"in place: this is a view of a leaf that requires grad.*no_grad\(\)"):
        WRITES_TO_A_LEAF[write](leaf)
    assert leaf.tolist() == [1, 2]
    with mg.no_grad():
        leaf[:1].mul_(2)
    assert leaf.tolist() == [2, 2]


def test_a_view_made_under_no_grad_cannot_be_written_with_gradients():
    leaf, y = leaf_and_double([1.0, 2.0])
    with mg.no_grad():
        view = y[:1]
        view += 1
    assert y.tolist() == [3, 4]
    with pytest.raises(GraphError, match=r"add in place: this view was made inside no_grad\(\)"):
        view += 1
    y.sum().backward()
    assert leaf.grad.tolist() == [2, 2]


def test_expanded_and_read_only_memory_cannot_be_written():
    with pytest.raises(GraphError, match="the tensor is expanded"):
        mg.ones(1).expand(3).add_(1)
    x = mg.ones(2, 1)
    x[:, None].add_(1)
    assert x.tolist() == [[2], [2]]
    locked = np.ones(2, "f4")
    locked.flags.writeable = False
    with pytest.raises(ValidationError, match="add in place: the memory is read-only; change x.clone"):
        mg.from_numpy(locked).add_(1)


# ---- layers with inplace=True


@pytest.mark.parametrize("layer", [nn.ReLU, nn.LeakyReLU, nn.Dropout], ids=lambda layer: layer.__name__)
def test_layers_with_inplace_write_their_input_and_have_the_same_gradients(layer):
    mg.manual_seed(0)
    leaf, x = leaf_and_double([-1.0, 2.0, -3.0, 4.0])
    out = layer(inplace=True)(x)
    assert out is x
    (out * x + x).sum().backward()
    found, value = leaf.grad.tolist(), x.tolist()
    mg.manual_seed(0)
    leaf.grad = None
    y = layer()(leaf * 2)
    (y * y + y).sum().backward()
    assert value == y.tolist()
    assert found == leaf.grad.tolist()


def test_relu_with_inplace_returns_its_input():
    leaf, x = leaf_and_double([-1.0, 2.0])
    y = F.relu(x, inplace=True) + x
    assert (y.tolist(), x.tolist()) == ([0, 8], [0, 4])
    y.sum().backward()
    assert leaf.grad.tolist() == [0, 4]
    with mg.no_grad():
        images = mg.tensor([-1.0, 1.0])
        assert F.relu(images, inplace=True) is images and images.tolist() == [0, 1]


# ---- gradients


def test_backward_adds_to_a_grad_in_place():
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    (w * 3).sum().backward()
    held = w.grad
    (w * 4).sum().backward()
    assert held is w.grad and held.tolist() == [7, 7]


def test_backward_in_several_threads_loses_no_gradient():
    leaf = mg.zeros(50, requires_grad=True)

    def add_gradients(number):
        for _ in range(60):
            (leaf * 1).sum().backward()

    run_in_threads(add_gradients, *range(4))
    assert leaf.grad.tolist() == [240] * 50
