"""MLP-Mixer: one perceptron mixes patches, the other channels; nn.Unfold makes the patches."""

from functools import partial

import torch
import torch.nn as nn
from torch import Tensor


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, act=nn.GELU):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), act(), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class MixerLayer(nn.Module):
    def __init__(self, tokens: int, channels: int, norm=partial(nn.LayerNorm, eps=1e-6)):  # noqa: B008
        super().__init__()
        self.norm_tokens, self.norm_channels = norm(channels), norm(channels)
        self.mix_tokens = Mlp(tokens, 2 * tokens, act=partial(nn.GELU, approximate="tanh"))
        self.mix_channels = Mlp(channels, 2 * channels, act=nn.Hardswish)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_tokens(self.norm_tokens(x).mT).mT
        return x + self.mix_channels(self.norm_channels(x))


class Mixer(nn.Module):
    def __init__(self, side=12, patch=4, channels=8, depth=2, classes=4):
        super().__init__()
        self.unfold = nn.Unfold(kernel_size=patch, stride=patch)
        self.embed = nn.Linear(3 * patch**2, channels)
        self.layers = nn.ModuleList([MixerLayer((side // patch) ** 2, channels) for _ in range(depth)])
        self.norm = nn.LayerNorm([channels])
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.unfold(x).permute(0, 2, 1))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


def main(given):
    images, labels = given.images(4, 3, 12, 12), given.labels(4, 4)
    model = given.fill(Mixer())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".bias"):
                p.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * 0.5**epoch
        loss = nn.functional.cross_entropy(model(images), labels)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.grad.data.clamp_(-0.5, 0.5)
        optimizer.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 12, 12))
