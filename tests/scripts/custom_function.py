"""Functions with a gradient of one's own: a clipped square root, a straight-through estimator, reversed gradients."""

import torch
import torch.nn as nn
from torch.autograd import Function


class ClippedRoot(Function):
    @staticmethod
    def forward(ctx, input, floor):
        ctx.save_for_backward(input)
        ctx.floor = floor
        return input.clamp(min=floor).sqrt()

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output * 0.5 / input.clamp(min=ctx.floor).sqrt()
        grad_input[input < ctx.floor] = 0
        return grad_input, None


class Binarize(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        x = ctx.saved_tensors[0]
        return g * x.abs().le(1).to(g.dtype)


class ReverseGradient(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        if not ctx.needs_input_grad[0]:
            return None, None
        return grad_output.neg() * ctx.alpha, None


class BinaryConv2d(nn.Conv2d):
    def forward(self, x):
        scale = self.weight.abs().mean(dim=(1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, Binarize.apply(self.weight) * scale.detach(), self.bias, self.stride)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = BinaryConv2d(2, 4, 3, stride=2)
        self.label, self.domain = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x, alpha=0.5):
        root = ClippedRoot.apply
        h = root(nn.functional.relu(self.conv(x)) + 0.1, 0.2).flatten(2).mean(-1)
        return self.label(h), self.domain(ReverseGradient.apply(h, alpha))


def main(given):
    x, y, d = given.images(4, 2, 9, 9), given.labels(3, 4), given.labels(2, 4)
    model, criterion = given.fill(Net()), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for _ in range(3):
        label, domain = model(x)
        loss = criterion(label, y) + criterion(domain, d)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    quantised = x[:1].clone().requires_grad_()
    ste = quantised + (torch.round(quantised * 4) / 4 - quantised).detach()
    ste.pow(2).sum().backward()
    given.record(ste=quantised.grad[0, 0, 0])
    points = given.unit(2, 3).requires_grad_()
    given.record(checked=torch.autograd.gradcheck(lambda v: (v * v).sum(1), (points.double(),)))
    given.finish(model, x[:2])
