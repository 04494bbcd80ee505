"""Attention written by hand over the patches of an image: reshape and permute, einsum, a mask by masked_fill."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, tokens):
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(dim // heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.register_buffer("mask", torch.tril(torch.ones(tokens, tokens)).view(1, 1, tokens, tokens))

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
        scores = scores.masked_fill(self.mask[:, :, :n, :n] == 0, float("-inf"))
        weights = scores.softmax(dim=-1)
        out = (weights @ v).transpose(1, 2).contiguous().view(b, n, d)
        return self.proj(out)


class TwoQueries(nn.Module):
    """Attention with a projection for each of q, k, v, split into heads by unflatten."""

    def __init__(self, dim):
        super().__init__()
        self.q, self.kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, x):
        q = self.q(x).unflatten(-1, (2, -1)).transpose(-3, -2)
        k, v = (t.unflatten(-1, (2, -1)).transpose(-3, -2) for t in self.kv(x).chunk(2, dim=-1))
        return F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)


class Model(nn.Module):
    def __init__(self, patch=4, dim=8, tokens=9, classes=5):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(3 * patch * patch, dim)
        self.position = nn.Embedding(tokens, dim)
        self.attention, self.second = SelfAttention(dim, 2, tokens), TwoQueries(dim)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = x.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # (N, C, rows, columns, patch, patch)
        x = x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        x = self.embed(x) + self.position(torch.arange(x.size(1), device=x.device))
        x = x + self.attention(self.norm(x))
        x = x + self.second(x)
        return self.head(x.mean(dim=1))


def main(given):
    images, labels = given.images(3, 3, 12, 12), given.labels(5, 3)
    model = given.fill(Model())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 12, 12))
