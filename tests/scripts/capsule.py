"""Capsules: vectors squashed to lengths below 1, routed by agreement with softmax and einsum, a margin loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import linalg


def squash(s, dim=-1, eps=1e-8):
    squared = torch.sum(s**2, dim=dim, keepdim=True)
    return squared / (1 + squared) * s / torch.sqrt(squared + eps)


class PrimaryCapsules(nn.Module):
    def __init__(self, inputs, capsules, dim):
        super().__init__()
        self.dim = dim
        self.convs = nn.ModuleList([nn.Conv2d(inputs, dim, 3, stride=2) for _ in range(capsules)])

    def forward(self, x):
        u = torch.stack([conv(x) for conv in self.convs], dim=1)
        return squash(u.permute(0, 1, 3, 4, 2).reshape(x.size(0), -1, self.dim))


class DigitCapsules(nn.Module):
    def __init__(self, inputs, dim_in, classes, dim_out, iterations=3):
        super().__init__()
        self.W = nn.Parameter(0.1 * torch.randn(classes, inputs, dim_in, dim_out))
        self.iterations = iterations

    def forward(self, u):
        u_hat = torch.einsum("bip,cipq->bciq", u, self.W)
        b = u_hat.new_zeros(u_hat.shape[:-1])
        for i in range(self.iterations):
            c = F.softmax(b, dim=1)
            v = squash((c.unsqueeze(-1) * u_hat).sum(dim=2))
            if i < self.iterations - 1:
                b = b + torch.einsum("bciq,bcq->bci", u_hat.detach(), v)
        return v


class CapsNet(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.primary = PrimaryCapsules(4, capsules=2, dim=4)
        self.digits = DigitCapsules(8, 4, classes, 4)
        self.decoder = nn.Sequential(nn.Linear(4 * classes, 10), nn.ReLU(), nn.Linear(10, 49), nn.Sigmoid())

    def forward(self, x):
        v = self.digits(self.primary(F.relu(self.conv(x))))
        lengths = linalg.norm(v, dim=-1)
        mask = F.one_hot(lengths.argmax(1), lengths.size(1)).to(v.dtype)
        return lengths, self.decoder((v * mask[:, :, None]).flatten(1))


def margin_loss(lengths, labels):
    T = torch.zeros_like(lengths).scatter(1, labels.view(-1, 1), 1.0)
    left, right = F.relu(0.9 - lengths) ** 2, F.relu(lengths - 0.1) ** 2
    return (T * left + 0.5 * (1 - T) * right).sum(dim=1).mean()


def main(given):
    images, labels = given.unit(4, 1, 7, 7), given.labels(3, 4)
    model = given.fill(CapsNet())
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        lengths, reconstruction = model(images)
        loss = margin_loss(lengths, labels) + 0.0005 * F.mse_loss(reconstruction, images.flatten(1), reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item(), lengths=lengths)
    given.finish(model, images[:2])
