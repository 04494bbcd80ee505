"""A convolutional classifier of sentences: Embedding, Conv1d of several widths, the maximum over time."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

SENTENCES = ["a fine film", "a very bad film", "fine and very fine music", "bad", "not a bad film", "very very dull"]


class Reviews(Dataset):
    def __init__(self, sentences, labels):
        words = sorted({word for sentence in sentences for word in sentence.split()})
        self.stoi = {word: i for i, word in enumerate(["<pad>"] + words)}
        self.rows = [torch.tensor([self.stoi[w] for w in s.split()], dtype=torch.long) for s in sentences]
        self.labels = labels

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i], self.labels[i]


def collate(batch, length=6):
    texts = [F.pad(text, (0, length - text.numel()), value=0) for text, _ in batch]
    return torch.stack(texts), torch.stack([label for _, label in batch])


class TextCNN(nn.Module):
    def __init__(self, vocab, dim=5, filters=4, widths=(2, 3), classes=2):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(dim, filters, k) for k in widths])
        self.pool = nn.AdaptiveMaxPool1d(1)
        self.dropout = nn.Dropout(0.0)
        self.fc = nn.Linear(len(widths) * filters, classes)

    def forward(self, x):
        x = self.embed(x).permute(0, 2, 1)
        first, *others = [F.relu(conv(x)) for conv in self.convs]
        pooled = [self.pool(first).squeeze(2)] + [F.max_pool1d(o, o.size(2)).squeeze(2) for o in others]
        return self.fc(self.dropout(torch.cat(pooled, 1)))


def main(given):
    data = Reviews(SENTENCES, given.labels(2, len(SENTENCES)))
    loader = DataLoader(data, batch_size=4, collate_fn=collate)
    model = given.fill(TextCNN(len(data.stoi)))
    optimizer = torch.optim.Adadelta(model.parameters(), lr=0.5, rho=0.95)
    for _ in range(2):
        total_loss, corrects = 0, 0
        for text, label in loader:
            logit = model(text)
            loss = F.cross_entropy(logit, label, reduction="none").mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(label)
            corrects += (torch.max(logit, 1)[1].view(label.size()).data == label.data).sum().item()
        given.record(loss=total_loss / len(data), accuracy=100.0 * corrects / len(data))
    text, _ = next(iter(loader))
    given.record(padding=model.embed.weight.grad[0], padded=(text == 0).sum(dim=1))
    given.finish(model, text)
