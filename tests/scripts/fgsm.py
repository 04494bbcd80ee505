"""Adversarial examples: the sign of the gradient of the pixels, one step and several, projected to a ball."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def fgsm_attack(image, epsilon, data_grad):
    perturbed = image + epsilon * data_grad.sign()
    return torch.clamp(perturbed, 0, 1)


def pgd(model, x, y, eps=0.1, alpha=0.04, steps=3):
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(steps):
        loss = F.cross_entropy(model(x + delta), y)
        loss.backward()
        delta.data = (delta + alpha * delta.grad.detach().sign()).clamp(-eps, eps)
        delta.data = torch.min(torch.max(delta.detach(), -x), 1 - x)
        delta.grad.zero_()
    return delta.detach()


def test(model, examples, epsilon):
    correct, kept = 0, []
    for data, target in examples:
        data.requires_grad = True
        output = model(data)
        init_pred = output.max(1, keepdim=True)[1]
        loss = F.nll_loss(output, target)
        model.zero_grad()
        loss.backward()
        perturbed = fgsm_attack(data, epsilon, data.grad.data)
        final_pred = model(perturbed).max(1, keepdim=True)[1]
        if final_pred.item() == init_pred.item():
            correct += 1
        kept.append((loss.item(), final_pred.item(), perturbed.squeeze().detach().cpu().numpy()))
    return correct / float(len(examples)), kept


def main(given):
    model = given.fill(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), nn.LogSoftmax(dim=1)
        )
    )
    model.eval()
    x, y = given.unit(3, 1, 8, 8), given.labels(5, 3)
    for epsilon in (0, 0.1, 0.3):
        examples = [(x[i : i + 1].clone(), y[i : i + 1]) for i in range(len(x))]
        acc, kept = test(model, examples, epsilon)
        given.record(loss=[k[0] for k in kept], accuracy=acc, predicted=[k[1] for k in kept])
        given.record(rows=[k[2][::4, ::4] for k in kept])
    delta = pgd(model, x, y)
    given.record(
        delta=delta.abs().amax(dim=(1, 2, 3)), row=delta[:, 0, 3], loss_pgd=F.cross_entropy(model(x + delta), y)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    loss = F.nll_loss(model(x + delta), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    given.record(loss_robust=loss)
    given.finish(model, x)
