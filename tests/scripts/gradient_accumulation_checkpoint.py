"""Small batches accumulated to a large one; a run that is saved, resumed in new objects, and ends the same."""

import io

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.drop = nn.Dropout(0.0)
        self.heads = nn.ModuleDict({"digit": nn.Linear(36, 5), "parity": nn.Linear(36, 1)})
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(2)])

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1)
        x = self.drop(x)
        return self.heads["digit"](x) * self.scales[0], self.heads["parity"](x).squeeze(1) * self.scales[1]


def build(fill):
    model = fill(Net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    return model, optimizer, scheduler


def train_epoch(model, optimizer, scheduler, batches, accumulation_steps=2):
    model.train()
    optimizer.zero_grad()
    running = 0.0
    for i, (x, y) in enumerate(batches):
        digit, parity = model(x)
        loss = F.cross_entropy(digit, y) + F.binary_cross_entropy_with_logits(parity, (y % 2).to(parity.dtype))
        loss = loss / accumulation_steps
        loss.backward()
        running += loss.item()
        if (i + 1) % accumulation_steps == 0 or i + 1 == len(batches):
            nn.utils.clip_grad_value_(model.parameters(), clip_value=0.2)
            optimizer.step()
            optimizer.zero_grad()
    scheduler.step()
    return running


def main(given):
    batches = [(given.images(3, 1, 8, 8), given.labels(5, 3)) for _ in range(4)]
    model, optimizer, scheduler = build(given.fill)
    file, losses = io.BytesIO(), []
    for epoch in range(3):
        losses.append(train_epoch(model, optimizer, scheduler, batches))
        if epoch == 0:
            checkpoint = {
                "epoch": epoch + 1,
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "loss": losses[-1],
            }
            torch.save(checkpoint, file)
    file.seek(0)
    checkpoint = torch.load(file, map_location="cpu")
    resumed, optimizer, scheduler = build(given.fill)
    missing = resumed.load_state_dict(checkpoint["model_state_dict"], strict=True)
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    again = [train_epoch(resumed, optimizer, scheduler, batches) for _ in range(checkpoint["epoch"], 3)]
    assert again == losses[1:]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), resumed.parameters(), strict=True))
    given.record(loss=losses, again=again, missing=len(missing.missing_keys), lr=scheduler.get_last_lr()[0])
    given.finish(resumed, batches[0][0])
