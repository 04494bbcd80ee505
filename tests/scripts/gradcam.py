"""Grad-CAM: a forward hook keeps feature maps, a full backward hook their gradients; guided backpropagation."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.features(x)
        return self.fc(x.mean((-2, -1)))


class GradCAM:
    def __init__(self, model, layer):
        self.model = model
        self.handles = [layer.register_forward_hook(self.save_activation)]
        self.handles.append(layer.register_full_backward_hook(self.save_gradient))

    def save_activation(self, module, inputs, output):
        self.activation = output.detach()

    def save_gradient(self, module, grad_input, grad_output):
        self.gradient = grad_output[0].detach()

    def __call__(self, x, index=None):
        self.model.zero_grad()
        scores = self.model(x)
        index = scores.argmax(dim=-1) if index is None else index
        one_hot = torch.zeros_like(scores).scatter_(1, index.view(-1, 1), 1.0)
        scores.backward(gradient=one_hot, retain_graph=True)
        weights = self.gradient.mean(dim=(2, 3), keepdim=True)
        cam = F.relu((weights * self.activation).sum(dim=1, keepdim=True))
        cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
        low, high = cam.amin(dim=(1, 2, 3), keepdim=True), cam.amax(dim=(1, 2, 3), keepdim=True)
        return (cam - low) / (high - low + 1e-8)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def main(given):
    model = given.fill(Net()).eval()
    image = given.images(2, 3, 10, 10)
    with GradCAM(model, model.features[2]) as cam:
        given.record(cam=cam(image)[..., ::3, ::3], chosen=cam(image, given.labels(5, 2))[..., ::3, ::3])
    guided = [
        m.register_full_backward_hook(lambda module, grad_in, grad_out: (torch.clamp(grad_in[0], min=0.0),))
        for m in model.modules()
        if isinstance(m, nn.ReLU)
    ]
    x = image.clone().requires_grad_()
    model(x).max(dim=1).values.sum().backward()
    given.record(guided=x.grad[..., ::4, ::4])
    for handle in guided:
        handle.remove()
    given.finish(model, image)
