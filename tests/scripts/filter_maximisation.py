"""Images that excite one filter: autograd.grad with respect to the pixels, normalised ascent, clamp_, roll, blur."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import grad


class Stop(Exception):  # noqa: N818
    pass


def blur(image, sigma):
    x = torch.arange(-1, 2, dtype=image.dtype, device=image.device)
    line = torch.exp(-(x**2) / (2 * sigma**2))
    window = torch.outer(line, line)
    kernel = (window / window.sum()).expand(image.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernel, groups=image.shape[1])


def maximise(model, layer, channel, image, steps=3, lr=0.5):
    image = image.detach().requires_grad_(True)

    def hook(module, inputs, output):
        hook.seen = output
        raise Stop

    handle = layer.register_forward_hook(hook)
    for step in range(steps):
        try:
            model(image)
        except Stop:
            pass
        score = hook.seen[:, channel].mean() - 1e-3 * image.norm(p=2)
        (g,) = grad(score, [image], create_graph=False, retain_graph=False)
        g = g / (torch.sqrt(torch.mean(torch.square(g))) + 1e-5)
        image.data.add_(g, alpha=lr)
        image.data.clamp_(-2, 2)
        if step == 0:
            image.data = torch.roll(image.data, shifts=(1, -2), dims=(2, 3))
        yield score.item()
    handle.remove()
    yield image


def main(given):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 4, 3), nn.CELU(), nn.Conv2d(4, 2, 3))
    model = given.fill(model)
    for p in model.parameters():
        p.requires_grad_(False)
    for channel in range(2):
        *scores, image = maximise(model, model[3], channel, given.images(1, 3, 9, 9))
        image = blur(image.detach(), sigma=0.8)
        low, high = image.min(), image.max()
        shown = image.sub(low).div(high - low).mul(255).round().clamp(0, 255).to(torch.uint8)
        given.record(scores=scores, image=image[..., ::3, ::3], shown=shown[0, 0, 0])
