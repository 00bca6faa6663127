"""The model: self-attention, global-local and pair-wise cross-attention in one pass.

The paper's symbols here: L = `num_blocks`, M = `glca_blocks`, T = `pwca_blocks`,
R = `num_local_queries`, f_SA / f_GLCA / f_PWCA = `sa_features` / `glca_features` /
`pwca_features`. Legend: B images, S rows of the SA stream (the images, then any distractor images
that are not in the batch), U rows of the PWCA stream, N tokens, P of them prefix tokens, D width.

Exact economies (same numbers to rounding): SA and PWCA run as one batch through every linear
layer; in the first PWCA block, where their inputs are equal, they share one projection; in the
last block only the class token's query is computed; GLCA computes only the rows its read-out uses.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dcal.attention.rollout import QueriesAndKeys, compute_class_attention, compute_class_row
from dcal.attention.selection import (
    count_local_queries,
    draw_patches,
    gather_rows,
    select_patches,
)
from dcal.models.backbone import embed_tokens, get_grid_size
from dcal.models.blocks import (
    attend_in_block,
    finish_block,
    get_attention,
    project_keys_values,
    project_queries,
    project_queries_keys,
)
from dcal.models.heads import build_head
from dcal.models.side import SideInformation
from dcal.models.streams import Pairing, Streams, run_block, run_last_block

if TYPE_CHECKING:
    from dcal.config import ModelConfig


class DCALOutput(NamedTuple):
    """What one forward pass gives; None for a branch that is off or did not run."""

    sa_logits: Tensor  # (B, C)
    glca_logits: Tensor | None
    pwca_logits: Tensor | None
    sa_features: Tensor  # (B, D), before the heads
    glca_features: Tensor | None
    pwca_features: Tensor | None
    local_indices: Tensor | None  # (B, R) patch positions; None where nothing is selected


class _Trace(NamedTuple):
    """What the SA and PWCA streams leave behind for the heads and for GLCA."""

    final: Streams  # class tokens after the last block, (B, 1, D) a stream
    entering: list[Tensor]  # SA tokens (B, N, D) entering each of the last M blocks
    recorded: list[Callable[[], QueriesAndKeys]]  # of the SA blocks below, for the rollout


class DCAL(nn.Module):
    """A pre-trained encoder with a GLCA branch of its own blocks and a weight-sharing PWCA."""

    def __init__(
        self,
        backbone: VisionTransformer,
        config: ModelConfig,
        *,
        num_classes: int,
        num_cameras: int = 0,
        num_views: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.num_classes = num_classes
        self.num_blocks = len(backbone.blocks)
        self.num_prefix_tokens = int(backbone.num_prefix_tokens)
        self.grid_size = get_grid_size(backbone)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.selects_patches = config.glca_blocks > 0 and config.readout != "class"
        self.num_local_queries = count_local_queries(config.top_r, self.num_patches)
        self.is_selection_random = config.patch_selection == "random"
        self._check_depths()
        self.side = _build_side(config, backbone.embed_dim, num_cameras, num_views)
        self.sa_head = build_head(config.neck, backbone.embed_dim, num_classes)
        self._build_glca()
        if self.selects_patches and self.is_selection_random:
            # In the file of weights, so that the model keeps its answer. After the heads, whose
            # initial weights are those of a model that selects by rollout.
            self.register_buffer("patch_order", torch.randperm(self.num_patches))
        self.is_checkpointing = False
        self.card: dict[str, Any] = {}  # of a model loaded from a file: labels, preprocessing

    def _check_depths(self) -> None:
        for name, largest in (
            ("glca_blocks", self.num_blocks - 1),
            ("pwca_blocks", self.num_blocks),
        ):
            value = getattr(self.config, name)
            if not 0 <= value <= largest:
                raise ValueError(
                    f"model.{name}: expected 0 to {largest} for {self.config.backbone}, which "
                    f"has {self.num_blocks} blocks; got {value}"
                )

    def _build_glca(self) -> None:
        num_glca = self.config.glca_blocks
        # Copies of the SA blocks they run beside (ours: the paper does not say how they begin).
        parallel = list(self.backbone.blocks)[self.num_blocks - num_glca :] if num_glca else []
        self.glca_blocks = nn.ModuleList(copy.deepcopy(block) for block in parallel)
        self.glca_norm = copy.deepcopy(self.backbone.norm) if num_glca else None
        self.glca_head = (
            build_head(self.config.neck, self.backbone.embed_dim, self.num_classes)
            if num_glca
            else None
        )

    def forward(
        self,
        images: Tensor,
        *,
        distractor_indices: Tensor | None = None,
        distractor_images: Tensor | None = None,
        cameras: Tensor | None = None,
        views: Tensor | None = None,
    ) -> DCALOutput:
        """Run the branches.

        Args:
            images: (B, 3, H, W), normalised, of the configured size.
            distractor_indices: (B,) the batch position of each image's distractor. PWCA is a
                training-time regulariser: in evaluation mode it is not run.
            distractor_images: (B, 3, H, W) distractors from outside the batch instead.
            cameras: (B,) places among the cameras of training, for `model.side_information`; -1,
                or none given, = not known.
            views: (B,) the same.

        Raises:
            ValueError: Images of another size, both kinds of distractors, or distractors while
                PWCA is off.
        """
        self._check_images(images)
        pairing = self._pair(images, distractor_indices, distractor_images)
        if pairing is not None and distractor_images is not None:
            images_and_distractors = torch.cat((images, distractor_images))
        else:
            images_and_distractors = images
        batch_size = images.shape[0]
        tokens = self._embed(images_and_distractors, cameras, views)
        trace = self._run_streams(tokens, batch_size, pairing)

        sa_features = self.backbone.norm(trace.final.sa)[:, 0]
        sa_logits = self.sa_head(sa_features)
        pwca_features = pwca_logits = None
        if trace.final.pwca is not None:
            pwca_features = self.backbone.norm(trace.final.pwca)[:, 0]
            pwca_logits = self.sa_head(pwca_features, updates_statistics=False)
        glca_features, local_indices = self._run_glca(trace)
        glca_logits = self.glca_head(glca_features) if self.glca_head is not None else None
        return DCALOutput(
            sa_logits,
            glca_logits,
            pwca_logits,
            sa_features,
            glca_features,
            pwca_features,
            local_indices,
        )

    def _embed(self, images: Tensor, cameras: Tensor | None, views: Tensor | None) -> Tensor:
        tokens = embed_tokens(self.backbone, images)
        if self.side is None:
            return tokens
        with_side: Tensor = self.side(tokens, cameras, views)
        return with_side

    def _check_images(self, images: Tensor) -> None:
        expected = (3, *self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"images: expected (B, {expected}); got {tuple(images.shape)}")

    def _pair(
        self, images: Tensor, indices: Tensor | None, distractor_images: Tensor | None
    ) -> Pairing | None:
        if indices is None and distractor_images is None:
            return None
        if indices is not None and distractor_images is not None:
            raise ValueError("give distractor_indices or distractor_images, not both")
        if not self.config.pwca_blocks:
            raise ValueError("distractors were given but model.pwca_blocks is 0")
        if not self.training:
            return None
        is_mutual = self.config.stream == "mutual"
        if indices is not None:
            return Pairing(indices, is_mutual)
        batch_size = images.shape[0]
        outside = torch.arange(batch_size, 2 * batch_size, device=images.device)
        if not is_mutual:
            return Pairing(outside, is_mutual)
        # The distractor's contaminated stream is needed, so the two distract each other.
        return Pairing(torch.cat((outside, outside - batch_size)), is_mutual)

    def _run_streams(self, tokens: Tensor, batch_size: int, pairing: Pairing | None) -> _Trace:
        first_pwca_block = self.num_blocks - self.config.pwca_blocks
        first_glca_block = self.num_blocks - len(self.glca_blocks)
        streams = Streams(tokens, tokens.shape[0])
        entering: list[Tensor] = []
        recorded: list[Callable[[], QueriesAndKeys]] = []
        for index, block in enumerate(self._list_blocks()):
            before = streams.sa[:batch_size]
            if index >= first_glca_block:
                entering.append(before)
            active = pairing if index >= first_pwca_block else None
            if index == self.num_blocks - 1:
                streams = self._run(run_last_block, block, streams, active, batch_size)
            else:
                streams = self._run(run_block, block, streams, active)
            if self.rolls_out and index < first_glca_block:
                recorded.append(self._record(block, before, streams))
        return _Trace(streams, entering, recorded)

    def _run(self, function: Callable[..., Streams], *arguments: object) -> Streams:
        if not (self.is_checkpointing and self.training):
            return function(*arguments)
        streams: Streams = checkpoint(function, *arguments, use_reentrant=False)
        # Keeping queries and keys would undo what checkpointing saves.
        return streams._replace(sa_queries_keys=None)

    def _list_blocks(self) -> list[Block]:
        return cast(list[Block], list(self.backbone.blocks))

    def _record(self, block: Block, before: Tensor, after: Streams) -> Callable[[], QueriesAndKeys]:
        """Return what gives the block's queries and keys when the rollout asks for them."""
        if after.sa_queries_keys is None:
            return functools.partial(project_queries_keys, block, before.detach())
        queries, keys = (part[: before.shape[0]] for part in after.sa_queries_keys)
        return lambda: (queries, keys)

    def _run_glca(self, trace: _Trace) -> tuple[Tensor | None, Tensor | None]:
        """Return the read-out of the GLCA branch (B, D), and the selected patches (B, R)."""
        if not trace.entering:
            return None, None
        tokens = trace.entering[0]
        local_indices = None
        rows = [] if self.config.readout == "local" else [tokens[:, :1]]
        if self.selects_patches:
            scores = self._compute_patch_scores(trace.recorded) if self.rolls_out else None
            local_indices = self.choose_patches(scores, num_images=tokens.shape[0])
            rows.append(gather_rows(tokens, local_indices + self.num_prefix_tokens))
        queries = torch.cat(rows, dim=1)
        glca_blocks = cast(list[Block], list(self.glca_blocks))
        for block, sa_tokens in zip(glca_blocks, trace.entering, strict=True):
            keys, values = project_keys_values(block, sa_tokens)
            attended = attend_in_block(block, project_queries(block, queries), keys, values)
            queries = finish_block(block, queries, attended)
        return self._read_out(queries), local_indices

    @property
    def rolls_out(self) -> bool:
        """Say whether a forward pass computes the rollout."""
        return self.selects_patches and not self.is_selection_random

    def choose_patches(self, scores: Tensor | None, *, num_images: int) -> Tensor:
        """Return the patches that GLCA reads: (B, R) positions.

        Args:
            scores: (B, N) of the rollout that selects; not read with `patch_selection: random`.
            num_images: B.
        """
        if not (self.selects_patches and self.is_selection_random):
            assert scores is not None
            return select_patches(scores, self.num_local_queries)
        order = self.get_buffer("patch_order")
        if self.training:
            return draw_patches(
                num_images, self.num_patches, self.num_local_queries, device=order.device
            )
        return order[: self.num_local_queries].expand(num_images, -1)

    def _read_out(self, queries: Tensor) -> Tensor:
        assert self.glca_norm is not None
        normalised: Tensor = self.glca_norm(queries)  # (B, 1 + R, D), (B, R, D) or (B, 1, D)
        if self.config.readout == "class":
            return normalised[:, 0]
        if self.config.readout == "local":
            return normalised.mean(dim=1)
        return (normalised[:, 0] + normalised[:, 1:].mean(dim=1)) / 2

    def _compute_patch_scores(self, recorded: list[Callable[[], QueriesAndKeys]]) -> Tensor:
        scale = float(get_attention(self._list_blocks()[0]).scale)
        return compute_class_row(recorded, scale=scale)[:, self.num_prefix_tokens :]

    @torch.no_grad()
    def rollout(
        self,
        images: Tensor,
        num_blocks: int | None = None,
        *,
        cameras: Tensor | None = None,
        views: Tensor | None = None,
    ) -> Tensor:
        """Return the class token's attention rollout on the patch grid: (B, rows, columns).

        Computed as in evaluation (no stochastic depth), whatever mode the model is in.

        Args:
            images: (B, 3, H, W), normalised.
            num_blocks: Depth, first block first; None = all. The selection of GLCA uses L - M.
            cameras: See `forward`, as the next.
            views: (B,).

        Raises:
            ValueError: `num_blocks` is not 1 to L.
        """
        depth = self.num_blocks if num_blocks is None else num_blocks
        if not 1 <= depth <= self.num_blocks:
            raise ValueError(
                f"rollout: expected num_blocks of 1 to {self.num_blocks}; got {num_blocks}"
            )
        recorded = self._record_blocks(images, depth, cameras, views)
        return self._compute_patch_scores(recorded).unflatten(1, self.grid_size)

    @torch.no_grad()
    def class_attention(
        self, images: Tensor, *, cameras: Tensor | None = None, views: Tensor | None = None
    ) -> Tensor:
        """Return the class token's attention in each SA block: (B, L, rows, columns).

        The mean over heads of what it gives to each patch; the rest of 1 goes to prefix tokens.
        Arguments and mode are those of `rollout`.
        """
        scale = float(get_attention(self._list_blocks()[0]).scale)
        rows = [
            compute_class_attention(*record(), scale=scale)[:, self.num_prefix_tokens :]
            for record in self._record_blocks(images, self.num_blocks, cameras, views)
        ]
        return torch.stack(rows, dim=1).unflatten(2, self.grid_size)

    def _record_blocks(
        self, images: Tensor, depth: int, cameras: Tensor | None, views: Tensor | None
    ) -> list[Callable[[], QueriesAndKeys]]:
        """Run the SA stream as in evaluation; return what gives each block's queries and keys."""
        self._check_images(images)
        was_training = self.training
        self.eval()
        try:
            tokens = self._embed(images, cameras, views)
            recorded: list[Callable[[], QueriesAndKeys]] = []
            for block in self._list_blocks()[:depth]:
                recorded.append(functools.partial(project_queries_keys, block, tokens))
                tokens = block(tokens)
        finally:
            self.train(was_training)
        return recorded

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay must leave alone."""
        names = {f"backbone.{name}" for name in self.backbone.no_weight_decay()}
        return names | {name for name, _ in self.named_parameters() if name.startswith("side.")}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        self.is_checkpointing = enable


def _build_side(
    config: ModelConfig, width: int, num_cameras: int, num_views: int
) -> SideInformation | None:
    kind = config.side_information
    if kind == "none":
        return None
    counts = {
        "num_cameras": num_cameras if kind != "view" else 0,
        "num_views": num_views if kind != "camera" else 0,
    }
    if (kind != "view" and not num_cameras) or (kind != "camera" and not num_views):
        raise ValueError(
            f"model.side_information: {kind} needs to be known of the training pictures; this "
            f"data set knows {num_cameras} cameras and {num_views} views. Set it to none"
        )
    return SideInformation(width, **counts, scale=config.side_scale)
