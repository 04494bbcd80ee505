"""ConvMixer in a few lines: a residual wrapper, depthwise convolutions with padding="same", GELU."""

import torch
import torch.nn as nn


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x) + x


def conv_mixer(dim, depth, kernel_size=5, patch_size=4, classes=10):
    act = lambda conv: nn.Sequential(conv, nn.GELU(), nn.BatchNorm2d(dim))  # noqa: E731
    mixer = [
        nn.Sequential(
            Residual(act(nn.Conv2d(dim, dim, kernel_size, groups=dim, padding="same"))), act(nn.Conv2d(dim, dim, 1))
        )
        for _ in range(depth)
    ]
    stem = act(nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size))
    head = [nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(dim, classes)]
    return nn.Sequential(stem, *mixer, *head)


def main(given):
    model = given.fill(conv_mixer(dim=6, depth=2))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    given.record(layers=len(model), parameters=sum(p.numel() for p in model.parameters()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=2e-5)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=2)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers=[warmup, decay], milestones=[2])
    batches = [(given.images(4, 3, 16, 16), given.labels(10, 4)) for _ in range(3)]
    train_loss, train_acc, n = 0, 0, 0
    for X, y in batches:
        output = model(X)
        loss = nn.CrossEntropyLoss()(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        train_loss += loss.item() * y.size(0)
        train_acc += (output.max(1)[1] == y).sum().item()
        n += y.size(0)
        given.record(loss=train_loss / n, accuracy=train_acc / n, lr=optimizer.param_groups[0]["lr"])
    given.finish(model, given.images(2, 3, 16, 16))
