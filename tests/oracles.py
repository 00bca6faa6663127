"""Slow, obvious versions of everything, to hold the fast ones against.

`ExplicitDCAL` is the method as the paper draws it, without any economy: three separate streams,
every token of every block, attention matrices written out, the rollout multiplied out in full. It
owns nothing: it reads the parameters of a `DCAL` model, so outputs and gradients can be compared
name by name. The benchmark runs it too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dcal.models.dcal import DCAL, DCALOutput


def explicit_heads(block, tokens):
    """Return queries, keys, values as (B, h, N, d), one head sliced at a time."""
    attention = block.attn
    projected = attention.qkv(block.norm1(tokens))
    width, size = attention.attn_dim, attention.head_dim
    parts = []
    for part in range(3):
        heads = [
            projected[:, :, part * width + head * size : part * width + (head + 1) * size]
            for head in range(attention.num_heads)
        ]
        parts.append(torch.stack(heads, dim=1))
    return attention.q_norm(parts[0]), attention.k_norm(parts[1]), parts[2]


def explicit_attention(queries, keys, values):
    """Return softmax(Q K^T / sqrt(d)) V with joined heads, and the attention matrix."""
    weights = torch.softmax(queries @ keys.transpose(-2, -1) / math.sqrt(keys.shape[-1]), dim=-1)
    outputs = weights @ values
    return torch.cat(list(outputs.unbind(1)), dim=-1), weights


def explicit_rest_of_block(block, tokens, attended):
    """Add the attention residual, then the FFN residual."""
    tokens = tokens + block.drop_path1(block.ls1(block.attn.proj(attended)))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


def explicit_rollout(attention_weights: list[Tensor]) -> Tensor:
    """Multiply out Sbar_n ... Sbar_1 as whole matrices, heads averaged."""
    product = None
    for weights in attention_weights:
        mean = sum(weights[:, head] for head in range(weights.shape[1])) / weights.shape[1]
        mixed = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        product = mixed if product is None else torch.bmm(mixed, product)
    return product


def logsumexp_rollout(heads: list[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Return the class row by r'_j = mean_h exp(logsumexp_i(s_ij - lse_i + log r_i)).

    `heads` are queries and keys of each block, first block first. With lse_i the log-sum-exp of
    attention's row i, a step is attention's own log-sum-exp with queries and keys exchanged.
    """
    first = heads[0][0]
    row = torch.zeros(first.shape[0], first.shape[2], dtype=first.dtype, device=first.device)
    row[:, 0] = 1
    for queries, keys in reversed(heads):
        products = queries @ keys.transpose(-2, -1) * scale  # (B, h, N, N)
        biased = products - products.logsumexp(dim=-1, keepdim=True) + row.log()[:, None, :, None]
        row = (row + biased.logsumexp(dim=-2).exp().mean(dim=1)) / 2
    return row


class ExplicitDCAL:
    """The method on the parameters of a `DCAL` model, drawn out in full."""

    def __init__(self, model: DCAL) -> None:
        self.model = model

    def embed(self, images: Tensor) -> Tensor:
        backbone = self.model.backbone
        return backbone.norm_pre(backbone._pos_embed(backbone.patch_embed(images)))

    def run_sa(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the SA tokens entering and leaving each block (L + 1 of them), and attentions."""
        tokens = [self.embed(images)]
        attentions = []
        for block in self.model.backbone.blocks:
            queries, keys, values = explicit_heads(block, tokens[-1])
            attended, weights = explicit_attention(queries, keys, values)
            attentions.append(weights)
            tokens.append(explicit_rest_of_block(block, tokens[-1], attended))
        return tokens, attentions

    def run_pwca(self, sa_tokens: list[Tensor], distractors: list[Tensor] | None, indices=None):
        """Return the final PWCA tokens.

        `distractors` are the SA tokens of the distractor images by depth (clean); without them
        `indices` says whose PWCA stream distracts whom (mutual).
        """
        blocks = self.model.backbone.blocks
        first = len(blocks) - self.model.config.pwca_blocks
        own = sa_tokens[first]
        for depth in range(first, len(blocks)):
            block = blocks[depth]
            queries, own_keys, own_values = explicit_heads(block, own)
            other = own[indices] if distractors is None else distractors[depth]
            _, other_keys, other_values = explicit_heads(block, other)
            keys = torch.cat((own_keys, other_keys), dim=2)
            values = torch.cat((own_values, other_values), dim=2)
            attended, _ = explicit_attention(queries, keys, values)
            own = explicit_rest_of_block(block, own, attended)
        return own

    def run_glca(self, sa_tokens: list[Tensor], attentions: list[Tensor]):
        """Return the read-out and the selected positions, with all 1 + R rows computed."""
        model = self.model
        num_glca, prefix = len(model.glca_blocks), model.num_prefix_tokens
        first = model.num_blocks - num_glca
        class_row = explicit_rollout(attentions[:first])[:, 0, prefix:]
        order = torch.sort(class_row.detach(), dim=1, descending=True, stable=True).indices
        chosen = order[:, : model.num_local_queries]
        rows = [
            torch.cat((tokens[:1], tokens[prefix:][positions]))
            for tokens, positions in zip(sa_tokens[first], chosen, strict=True)
        ]
        own = torch.stack(rows)
        for number, block in enumerate(model.glca_blocks):
            queries, _, _ = explicit_heads(block, own)
            _, keys, values = explicit_heads(block, sa_tokens[first + number])
            attended, _ = explicit_attention(queries, keys, values)
            own = explicit_rest_of_block(block, own, attended)
        normalised = model.glca_norm(own)
        class_token, local = normalised[:, 0], normalised[:, 1:].mean(dim=1)
        readouts = {
            "class": class_token,
            "local": local,
            "class_local": 0.5 * class_token + 0.5 * local,
        }
        return readouts[model.config.readout], chosen

    def __call__(self, images, *, distractor_indices=None, distractor_images=None) -> DCALOutput:
        model = self.model
        sa_tokens, attentions = self.run_sa(images)
        sa_features = model.backbone.norm(sa_tokens[-1])[:, 0]
        pwca_features = pwca_logits = None
        if distractor_indices is not None or distractor_images is not None:
            pwca_features = self.compute_pwca(sa_tokens, distractor_indices, distractor_images)
            pwca_logits = model.sa_head(pwca_features, updates_statistics=False)
        glca_features = glca_logits = chosen = None
        if len(model.glca_blocks):
            glca_features, chosen = self.run_glca(sa_tokens, attentions)
            glca_logits = model.glca_head(glca_features)
        return DCALOutput(
            model.sa_head(sa_features),
            glca_logits,
            pwca_logits,
            sa_features,
            glca_features,
            pwca_features,
            chosen if model.config.readout != "class" else None,
        )

    def compute_pwca(self, sa_tokens, indices, distractor_images):
        model = self.model
        batch_size = sa_tokens[0].shape[0]
        if indices is not None and model.config.stream == "clean":
            final = self.run_pwca(sa_tokens, [tokens[indices] for tokens in sa_tokens])
        elif indices is not None:
            final = self.run_pwca(sa_tokens, None, indices)
        else:
            outside, _ = self.run_sa(distractor_images)
            if model.config.stream == "clean":
                final = self.run_pwca(sa_tokens, outside)
            else:
                joined = [torch.cat(pair) for pair in zip(sa_tokens, outside, strict=True)]
                swap = torch.arange(2 * batch_size).roll(batch_size)
                final = self.run_pwca(joined, None, swap)[:batch_size]
        return model.backbone.norm(final)[:, 0]
