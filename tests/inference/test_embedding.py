"""Embeddings by hand: which features, how they are joined, normalised and mirrored."""

from __future__ import annotations

import pytest
import torch

from dcal.inference.embedding import (
    compute_embeddings,
    list_embedding_branches,
    without_glca,
)
from tests.models.factory import make_images, make_model

CPU = torch.device("cpu")


def make_batches(images: torch.Tensor, *sizes: int) -> list[dict[str, torch.Tensor]]:
    rows = torch.arange(len(images)).split(list(sizes))
    return [{"image": images[part], "row": part} for part in rows]


def embed(model, images, *sizes, **options):
    batches = make_batches(images, *(sizes or (len(images),)))
    return compute_embeddings(model, batches, device=CPU, **options)


def test_both_is_the_two_features_side_by_side_normalised_as_a_whole() -> None:
    model, images = make_model(neck="bnneck").eval(), make_images(4)
    rows, found = embed(model, images, 3, 1, branches=["sa", "glca", "both"])
    with torch.no_grad():
        out = model(images)
    joined = torch.cat([out.sa_features, out.glca_features], dim=1)
    expected = {"sa": out.sa_features, "glca": out.glca_features, "both": joined}
    assert rows.tolist() == [0, 1, 2, 3]
    for branch, features in expected.items():
        assert found[branch].dtype == torch.float32
        lengths = features.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found[branch], (features / lengths).float())


def test_the_flip_test_takes_the_mean_of_both_features_before_normalising() -> None:
    model, images = make_model().eval(), make_images(3)
    _, found = embed(model, images, branches=["both"], flip=True)
    with torch.no_grad():
        sides = [model(images), model(images.flip(-1))]
    joined = sum(torch.cat([out.sa_features, out.glca_features], dim=1) for out in sides) / 2
    expected = (joined / joined.norm(dim=1, keepdim=True)).float()
    torch.testing.assert_close(found["both"], expected)
    _, mirrored = embed(model, images.flip(-1), branches=["both"], flip=True)
    torch.testing.assert_close(mirrored["both"], found["both"])


@pytest.mark.parametrize("readout", ["class", "class_local"])
def test_sa_alone_runs_no_glca_and_leaves_the_model_as_it_was(readout: str) -> None:
    model, images = make_model(readout=readout).eval(), make_images(3)
    ran = []
    hook = model.glca_blocks[0].register_forward_pre_hook(lambda *_: ran.append(1))
    model.glca_norm.register_forward_pre_hook(lambda *_: ran.append(1))
    _, alone = embed(model, images, branches=["sa"])
    assert not ran
    hook.remove()
    _, all_branches = embed(model, images, branches=["sa", "glca"])
    assert ran
    torch.testing.assert_close(alone["sa"], all_branches["sa"])
    assert without_glca(model)(images).local_indices is None
    assert list_embedding_branches(model) == ("sa", "glca", "both")


def test_a_branch_that_the_model_lacks_is_refused() -> None:
    model = make_model(glca_blocks=0, pwca_blocks=0).eval()
    assert list_embedding_branches(model) == ("sa",)
    with pytest.raises(ValueError, match="branch: expected one of sa; got both: the model has no"):
        embed(model, make_images(2), branches=["both"])


def test_progress_counts_pictures() -> None:
    counts: list[int] = []
    embed(make_model().eval(), make_images(5), 2, 2, 1, branches=["sa"], on_batch=counts.append)
    assert counts == [2, 2, 1]
