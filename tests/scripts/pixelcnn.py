"""PixelCNN: convolutions masked by a buffer, a cross entropy over grey levels, pixels drawn one after another."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim


class MaskedConv2d(nn.Conv2d):
    def __init__(self, mask_type, *args, **kwargs):
        super(MaskedConv2d, self).__init__(*args, **kwargs)
        assert mask_type in {"A", "B"}
        self.register_buffer("mask", self.weight.data.clone())
        _, _, kh, kw = self.weight.size()
        self.mask.fill_(1)
        self.mask[:, :, kh // 2, kw // 2 + (mask_type == "B") :] = 0
        self.mask[:, :, kh // 2 + 1 :] = 0

    def forward(self, x):
        self.weight.data *= self.mask
        return super(MaskedConv2d, self).forward(x)


class Functional(MaskedConv2d):
    """Masks the weight in the graph instead of changing it."""

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, self.stride, self.padding)


def main(given):
    levels = 4
    net = nn.Sequential(
        MaskedConv2d("A", 1, 6, 5, 1, 2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        MaskedConv2d("B", 6, 6, 3, 1, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        Functional("B", 6, 6, 3, padding=1),
        nn.ReLU(True),
        nn.Conv2d(6, levels, 1),
    )
    net = given.fill(net)
    optimizer = optim.Adam(net.parameters(), lr=2e-3, eps=1e-4)
    for _ in range(2):
        images = given.unit(4, 1, 8, 8)
        target = (images[:, 0] * (levels - 1)).round().long()
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), target)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    sample = torch.zeros_like(images[:1, :, :3, :3])
    net.train(False)
    with torch.no_grad():
        for i in range(sample.size(2)):
            for j in range(sample.size(3)):
                probs = F.softmax(net(sample)[:, :, i, j], dim=1)
                sample[:, :, i, j] = probs.argmax(1, keepdim=True).to(sample) / (levels - 1)
    masks = {n: b.sum().item() for n, b in net.named_buffers() if n.endswith("mask")}
    given.record(sample=sample[0, 0], masks=list(masks.values()))
    given.finish(net, given.unit(1, 1, 5, 5))
