"""ResNeXt: one grouped convolution stands for many paths; weight decay spares biases; the schedule steps each batch."""

import torch
from torch import nn, optim
from torch.nn import functional as F


class Aggregated(nn.Module):
    def __init__(self, channels, cardinality=4, width=2, leak=0.1):
        super().__init__()
        inner = cardinality * width
        self.paths = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.LeakyReLU(leak, inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1, groups=cardinality, bias=False),
            nn.BatchNorm2d(inner),
            nn.LeakyReLU(leak, inplace=True),
            nn.Conv2d(inner, channels, 1, bias=False),
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.leaky_relu(x + self.norm(self.paths(x)), 0.1)


class ResNeXt(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.stages = nn.ModuleList(Aggregated(6) for _ in range(2))
        self.fc = nn.Linear(6, classes)

    def forward(self, x):
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i == 0:
                x = F.max_pool2d(x, kernel_size=2, stride=1)
        return self.fc(x.amax(dim=(-2, -1)))


def main(given):
    images, labels = given.images(5, 3, 16, 16), given.labels(6, 5)
    model = given.fill(ResNeXt(6))
    no_decay = ["bias", "norm.weight"]
    groups = [
        {
            "params": [p for n, p in model.named_parameters() if not any(nd in n for nd in no_decay)],
            "weight_decay": 0.1,
        },
        {"params": [p for n, p in model.named_parameters() if any(nd in n for nd in no_decay)], "weight_decay": 0.0},
    ]
    optimizer = optim.AdamW(groups, lr=3e-3, eps=1e-4)
    scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
    for step in range(3):
        logits = model(images)
        loss = F.multi_margin_loss(logits, labels) + F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm(2) for p in model.parameters()]))
        optimizer.step()
        scheduler.step(step / 2)
        given.record(loss=loss.item(), norm=norm, lr=optimizer.param_groups[1]["lr"])
    given.finish(model, given.images(2, 3, 16, 16))
