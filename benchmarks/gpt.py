"""GPT-2 as nanoGPT has it, in PyTorch: the peer in training and in generation.  Imported only where torch is.

After https://github.com/karpathy/nanoGPT, model.py: learned positions, layer normalisation before each part, exact
gelu, tied embeddings, no biases, no dropout; initial weights of deviation 0.02.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attn, self.attn_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.fc, self.fc_proj = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def qkv(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, [batch, heads, tokens, depth]."""
        b, t, c = x.shape
        return [p.view(b, t, self.heads, c // self.heads).transpose(1, 2) for p in self.attn(self.ln_1(x)).split(c, 2)]

    def rest(self, x: Tensor, y: Tensor) -> Tensor:
        """What follows the attention y."""
        x = x + self.attn_proj(y.transpose(1, 2).reshape(x.shape))
        return x + self.fc_proj(functional.gelu(self.fc(self.ln_2(x))))

    def forward(self, x: Tensor) -> Tensor:
        """The whole block, on all tokens."""
        q, k, v = self.qkv(x)
        return self.rest(x, functional.scaled_dot_product_attention(q, k, v, is_causal=True))


class GPT(nn.Module):
    """The model."""

    def __init__(self, tokens: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, tokens, bias=False)
        self.head.weight = self.wte.weight
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * layers) if name.endswith("proj.weight") else 0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class Step:
    """One training step of nanoGPT's train.py: a random batch, gradient, clipping, fused AdamW, cosine rate."""

    def __init__(
        self, model: GPT, data: Tensor, batch: int, context: int, steps: int, compiled: bool, bf16: bool
    ) -> None:
        decay = [p for p in model.parameters() if p.dim() == 2]
        other = [p for p in model.parameters() if p.dim() != 2]
        groups = [{"params": decay, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
        self.model, self.call = model, torch.compile(model) if compiled else model
        self.data, self.batch, self.context, self.steps, self.bf16 = data, batch, context, steps, bf16
        self.number = 0

    def rate(self) -> float:
        """Warm-up of 100 steps, then a cosine to a tenth."""
        if self.number < 100:
            return 1e-3 * (self.number + 1) / 101
        part = min(1.0, (self.number - 100) / (self.steps - 100))
        return 1e-4 + 0.5 * (1.0 + math.cos(math.pi * part)) * 9e-4

    def __call__(self) -> float:
        """The step's loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        at = torch.randint(len(self.data) - self.context, (self.batch,)).tolist()
        tokens = torch.stack([self.data[i : i + self.context] for i in at])
        targets = torch.stack([self.data[i + 1 : i + 1 + self.context] for i in at])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.call(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.number += 1
        return loss.item()


@torch.no_grad()
def held_out_loss(model: GPT, data: Tensor, context: int, batch: int) -> float:
    """Mean loss over the whole text, window after window."""
    count = (len(data) - 1) // context
    tokens, targets = data[: count * context].view(count, context), data[1 : count * context + 1].view(count, context)
    losses = [model(a, b).item() * len(a) for a, b in zip(tokens.split(batch), targets.split(batch), strict=True)]
    return sum(losses) / count


class Decoder:
    """A model with a cache of keys and values for one text."""

    def __init__(self, model: GPT, context: int, compiled: bool) -> None:
        self.model, self.compiled = model.eval(), compiled
        w = model.wte.weight
        shape = (len(model.blocks), 2, 1, model.heads, context, model.width // model.heads)
        self.cache = torch.zeros(shape, dtype=w.dtype)
        self.places = torch.arange(context)
        self.call = torch.compile(self._logits) if compiled else self._logits

    @torch.no_grad()
    def __call__(self, tokens: Tensor, pos: int) -> Tensor:
        """Logits of the last of new tokens at positions pos.. after those in the cache."""
        return self.call(tokens[None], torch.arange(pos, pos + len(tokens)), 0 if self.compiled else pos + len(tokens))

    def _logits(self, tokens: Tensor, places: Tensor, seen: int) -> Tensor:
        """seen: how much of the cache is looked at; 0 for all of it, so that one compilation serves every position."""
        m = self.model
        x = m.wte(tokens) + m.wpe(places)
        first = not self.compiled and seen == tokens.shape[1]
        mask = None if first else self.places[: seen or None] <= places[:, None]
        for block, cache in zip(m.blocks, self.cache, strict=True):
            q, k, v = block.qkv(x)
            for part, new in zip(cache, (k, v), strict=True):
                part.index_copy_(2, places, new)
            keys, values = (cache[i][:, :, : seen or None] for i in (0, 1))
            y = functional.scaled_dot_product_attention(q, keys, values, mask, is_causal=first)
            x = block.rest(x, y)
        return m.head(m.ln_f(x[:, -1:]))
