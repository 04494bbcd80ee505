"""Style transfer by optimising an image: features caught by hooks, Gram matrices by bmm, total variation."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean = torch.tensor(mean, dtype=torch.float64).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float64).view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean.to(img)) / self.std.to(img)


def gram_matrix(features):
    n, c, h, w = features.size()
    features = features.view(n, c, h * w)
    return torch.bmm(features, features.transpose(1, 2)).div(c * h * w)


def total_variation(img):
    return torch.sum(torch.abs(img[..., 1:, :] - img[..., :-1, :])) + (img[..., 1:] - img[..., :-1]).abs().sum()


def main(given):
    content, style = given.unit(1, 3, 12, 12), given.unit(1, 3, 12, 12)
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    features = given.fill(features).eval().requires_grad_(False)
    norm, caught = Normalization([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), {}

    def catch(name):
        def hook(module, args, output):
            caught[name] = output

        return hook

    handles = [features[int(i)].register_forward_hook(catch(i)) for i in ("1", "4")]

    def look(image):
        caught.clear()
        features(norm(image))
        return dict(caught)

    with torch.no_grad():
        target, grams = look(content)["4"], {i: gram_matrix(f) for i, f in look(style).items()}
    image = content.clone().requires_grad_(True)
    optimizer = optim.Adam([image], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        seen = look(image)
        style_loss = sum(F.mse_loss(gram_matrix(seen[i]), grams[i]) for i in grams)
        loss = F.mse_loss(seen["4"], target) + 10.0 * style_loss + 1e-3 * total_variation(image)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        given.record(loss=loss.item(), image=image[0, :, ::5, ::5])
    for handle in handles:
        handle.remove()
    given.record(gradient=image.grad.norm(), left=len(look(image)), leaf=image.is_leaf)
    assert all(p.grad is None for p in features.parameters())
