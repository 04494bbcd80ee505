"""nn.utils: clipping of gradients, parameters as one vector; optim.swa_utils: averages of models."""

import math

import numpy as np
import pytest
from helpers import parameter

import minigrad as mg
from minigrad import nn
from minigrad.errors import ShapeError, ValidationError
from minigrad.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)
from minigrad.optim.swa_utils import AveragedModel, get_ema_avg_fn, update_bn


def with_gradients(*gradients):
    """Return a parameter for each gradient, and one without."""
    params = [parameter(*np.zeros(len(gradient))) for gradient in gradients]
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = mg.tensor(gradient)
    return [*params, parameter(1.0)]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clip_grad_norm_scales_all_gradients_by_one_factor(norm_type, max_norm):
    gradients = [1.0, -2.0], [3.0]
    params = with_gradients(*gradients)
    norm = np.linalg.norm([1, -2, 3], norm_type)
    assert clip_grad_norm_(iter(params), max_norm, norm_type).item() == pytest.approx(norm)
    factor = min(1, max_norm / (norm + 1e-6))
    for p, gradient in zip(params[:2], gradients, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), np.array(gradient) * factor, rtol=1e-6)


def test_clip_grad_norm_reports_norms_that_are_not_finite():
    params = with_gradients([math.nan, 1.0])
    assert math.isnan(clip_grad_norm_(params, 1.0).item())
    with pytest.raises(ValidationError, match="get_total_norm: the norm of 1 tensors is nan; look for nan"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValidationError, match="clip_grad_norm_: max_norm is -1; use a number of 0 or more"):
        clip_grad_norm_(params, -1)
    assert clip_grad_norm_([parameter(1.0)], 1.0).item() == 0


def test_clip_grad_norm_and_value_take_one_parameter():
    (w, _) = with_gradients([3.0, 4.0])
    assert get_total_norm([w.grad]).item() == 5
    assert clip_grad_norm_(w, 1.0).item() == 5
    w.grad = mg.tensor([3.0, -4.0])
    clip_grad_value_(w, 3.5)
    assert w.grad.tolist() == [3.0, -3.5]
    with pytest.raises(ValidationError, match="clip_grad_value_: clip_value is -1; use a number of 0 or more"):
        clip_grad_value_(w, -1)


def test_clip_grad_norm_in_a_recorded_step_equals_plain_steps():
    def train(graph):
        mg.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = mg.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            norm = clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            return norm

        step = mg.graph(step) if graph else step
        return [step(mg.full((4, 3), 1.0 + i)).item() for i in range(4)], model.weight.tolist()

    assert train(graph=True) == train(graph=False)


def test_parameters_to_vector_and_back():
    model = nn.Linear(3, 2)
    vector = parameters_to_vector(model.parameters())
    assert vector.tolist() == [*model.weight.reshape(-1).tolist(), *model.bias.tolist()]
    vector_to_parameters(vector.detach() * 2, model.parameters())
    np.testing.assert_allclose(parameters_to_vector(model.parameters()).tolist(), 2 * np.array(vector.tolist()))
    with pytest.raises(ShapeError, match=r"vector_to_parameters: vec is \(3,\), the parameters have 8 elements"):
        vector_to_parameters(mg.zeros(3), model.parameters())


def set_weights(model, value):
    for p in model.parameters():
        nn.init.constant_(p, value)


def test_averaged_model_gives_all_models_the_same_weight():
    model = nn.Linear(2, 1)
    averaged = AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        set_weights(model, value)
        averaged.update_parameters(model)
    assert averaged.n_averaged.item() == 3
    assert averaged.module.weight.tolist() == [[3.0, 3.0]]
    assert averaged(mg.ones(1, 2)).item() == 9.0
    assert list(averaged.state_dict()) == ["n_averaged", "module.weight", "module.bias"]


def test_averaged_model_with_an_exponential_average_and_buffers():
    model = nn.Linear(2, 1)
    model.register_buffer("seen", mg.tensor(0.0))
    by_copy, by_average = AveragedModel(model, avg_fn=get_ema_avg_fn(0.75)), AveragedModel(model, use_buffers=True)
    for value in (0.0, 4.0):
        set_weights(model, value)
        model.seen.fill_(value)
        by_copy.update_parameters(model)
        by_average.update_parameters(model)
    assert by_copy.module.weight.tolist() == [[1.0, 1.0]]
    assert by_copy.module.seen.item() == 4.0
    assert by_average.module.seen.item() == 2.0
    with pytest.raises(ValidationError, match="get_ema_avg_fn: decay is 2; use a number from 0 to 1"):
        get_ema_avg_fn(2)


def test_update_bn_leaves_a_model_without_batch_normalisation_and_its_mode_unchanged():
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout()).eval()
    before = model[0].weight.tolist()
    update_bn([mg.ones(3, 2), (mg.ones(3, 2), mg.tensor([0, 0, 0]))], model)
    assert not model.training
    assert model[0].weight.tolist() == before
