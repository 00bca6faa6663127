from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dcal.config import BranchValues, LossConfig
from dcal.losses.objective import BranchPrediction, Objective
from dcal.losses.triplet import compute_batch_hard_triplet
from dcal.losses.uncertainty import UncertaintyWeighting

BRANCHES = ("sa", "glca", "pwca")


def make_config(**changes):
    values = {
        "weighting": "uncertainty",
        "initial_log_variances": BranchValues(sa=0.5, glca=-1.0, pwca=0.0),
        "log_variance_lr": 1e-3,
        "fixed_weights": BranchValues(sa=1.0, glca=2.0, pwca=0.5),
        "label_smoothing": 0.0,
        "triplet": "none",
        "triplet_margin": 0.3,
    }
    return LossConfig(**{**values, **changes})


def make_predictions(branches=BRANCHES, batch=8):
    generator = torch.Generator().manual_seed(3)
    return {
        branch: BranchPrediction(
            torch.randn(batch, 5, generator=generator), torch.randn(batch, 4, generator=generator)
        )
        for branch in branches
    }


LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])


def slow_triplet(features, identities, margin):
    """Loop over anchors, positives and negatives in float64."""
    terms = []
    for anchor in range(len(features)):
        positives, negatives = [], []
        for other in range(len(features)):
            distance = math.dist(features[anchor].tolist(), features[other].tolist())
            if other != anchor and identities[other] == identities[anchor]:
                positives.append(distance)
            elif identities[other] != identities[anchor]:
                negatives.append(distance)
        if positives and negatives:
            gap = max(positives) - min(negatives)
            terms.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin))
    return sum(terms) / len(terms) if terms else 0.0


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=9),
    st.sampled_from([None, 0.0, 0.3, 2.0]),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_batch_hard_triplet_equals_plain_loops(identities, margin, seed):
    features = torch.randn(len(identities), 6, generator=torch.Generator().manual_seed(seed))
    loss = compute_batch_hard_triplet(features, torch.tensor(identities), margin=margin)
    assert float(loss) == pytest.approx(slow_triplet(features, identities, margin), abs=1e-4)


def test_triplet_without_any_pair_is_a_zero_with_a_gradient():
    features = torch.randn(3, 4, requires_grad=True)
    loss = compute_batch_hard_triplet(features, torch.tensor([0, 1, 2]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(features.grad, torch.zeros(3, 4))


def test_triplet_of_identical_features_has_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    compute_batch_hard_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(features.grad).all()


def test_uncertainty_weighting_is_the_papers_formula_and_trains_its_weights():
    weighting = UncertaintyWeighting({"sa": 0.5, "glca": -1.0, "pwca": 0.0})
    losses = {"sa": torch.tensor(2.0), "glca": torch.tensor(3.0), "pwca": torch.tensor(0.5)}
    total = weighting(losses)
    expected = 0.5 * ((2 * math.exp(-0.5) + 0.5) + (3 * math.exp(1.0) - 1.0) + (0.5 + 0.0))
    assert float(total.detach()) == pytest.approx(expected)
    total.backward()
    gradient = float(weighting.log_variances["sa"].grad)
    assert gradient == pytest.approx(0.5 * (1 - 2 * math.exp(-0.5)))


def test_objective_combines_each_branchs_cross_entropy():
    objective = Objective(make_config(), branches=BRANCHES)
    predictions = make_predictions()
    result = objective(predictions, LABELS)
    for branch in BRANCHES:
        expected = F.cross_entropy(predictions[branch].logits, LABELS)
        torch.testing.assert_close(result.branch_losses[branch], expected)
    torch.testing.assert_close(result.total, objective.weighting(result.branch_losses))


def test_fixed_weighting_sums_and_learns_nothing():
    objective = Objective(make_config(weighting="fixed"), branches=BRANCHES)
    result = objective(make_predictions(), LABELS)
    losses = result.branch_losses
    expected = losses["sa"] + 2.0 * losses["glca"] + 0.5 * losses["pwca"]
    torch.testing.assert_close(result.total, expected)
    assert not list(objective.parameters())


@pytest.mark.parametrize("weighting", ["uncertainty", "fixed"])
def test_one_branch_is_its_plain_loss(weighting):
    fixed = BranchValues(sa=7.0, glca=1.0, pwca=1.0)
    objective = Objective(make_config(weighting=weighting, fixed_weights=fixed), branches=("sa",))
    predictions = make_predictions(("sa",))
    total = objective(predictions, LABELS).total
    assert float(total) == float(F.cross_entropy(predictions["sa"].logits, LABELS))
    assert not list(objective.parameters())


def test_reid_adds_the_triplet_of_each_branchs_features():
    objective = Objective(make_config(triplet="margin"), branches=("sa",))
    prediction = make_predictions(("sa",))["sa"]
    total = objective({"sa": prediction}, LABELS).total
    expected = F.cross_entropy(prediction.logits, LABELS) + compute_batch_hard_triplet(
        prediction.features, LABELS, margin=0.3
    )
    torch.testing.assert_close(total, expected)


def test_label_smoothing_reaches_every_branch():
    predictions = make_predictions()
    plain = Objective(make_config(), branches=BRANCHES)(predictions, LABELS)
    smooth = Objective(make_config(label_smoothing=0.1), branches=BRANCHES)(predictions, LABELS)
    for branch in BRANCHES:
        assert float(plain.branch_losses[branch]) != float(smooth.branch_losses[branch])
