"""Mixed batches with soft targets, a rate that rises and falls once, and gradients clipped by their norm."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_, parameters_to_vector
from torch.optim.lr_scheduler import OneCycleLR


def conv_block(inputs, outputs, pool=False):
    layers = [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(outputs), nn.CELU(alpha=0.5, inplace=True)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class ResNet9(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = conv_block(3, 4)
        self.conv2 = conv_block(4, 6, pool=True)
        self.res = nn.Sequential(conv_block(6, 6), conv_block(6, 6))
        self.classifier = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, classes))

    def forward(self, xb):
        out = self.conv2(self.conv1(xb))
        out = self.res(out) + out
        return self.classifier(out)


def mixup(x, y, lam, classes):
    order = torch.arange(x.size(0) - 1, -1, -1)
    target = F.one_hot(y, num_classes=classes).to(x.dtype)
    return torch.lerp(x[order], x, lam), lam * target + (1 - lam) * target[order]


def cutmix(x, y, lam, classes):
    h, w = x.shape[-2:]
    cut = int(h * (1 - lam) ** 0.5)
    mixed = x.clone()
    mixed[:, :, :cut, w - cut :] = x.flip(0)[:, :, :cut, w - cut :]
    lam = 1 - cut * cut / (h * w)
    target = torch.eye(classes, dtype=x.dtype)[y]
    return mixed, target * lam + target.flip(0) * (1 - lam)


def main(given):
    model = given.fill(ResNet9(5))
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=1e-4)
    scheduler = OneCycleLR(optimizer, 0.01, epochs=2, steps_per_epoch=2)
    batches = [(given.images(4, 3, 8, 8), given.labels(5, 4)) for _ in range(2)]
    for mix in (mixup, cutmix):
        for lam, (x, y) in zip((0.3, 0.8), batches, strict=True):
            x, soft = mix(x, y, lam, 5)
            loss = F.cross_entropy(model(x), soft)
            loss.backward()
            norm = clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
            group = optimizer.param_groups[0]
            given.record(loss=loss.item(), norm=norm, lr=group["lr"], beta=group["betas"][0])
    given.record(length=parameters_to_vector(model.parameters()).norm().item())
    given.finish(model, batches[0][0][:2])
