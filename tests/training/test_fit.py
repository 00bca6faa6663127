"""Whole small runs: deterministic, selected as asked, and logged point for point."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from dcal.models import build_model
from dcal.training import runtime
from dcal.training.fit import Outlets, describe_run, fit
from dcal.training.module import DCALModule
from dcal.training.runtime import resolve_runtime
from tests.training.factory import make_loaders, make_run_config


def run(config, tmp_path, *, points=None, **options):
    loaders = make_loaders(config, **options)
    torch.manual_seed(config.seed)
    model = build_model(config.model, 3)
    log = (lambda values, step: None) if points is None else lambda v, s: points.append((s, v))
    return fit(
        model,
        config,
        loaders,
        runtime=resolve_runtime(config.train),
        outlets=Outlets(tmp_path / "history.csv", log),
    )


def state_of(result):
    return result.model.state_dict()


def is_same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("seed", [0, 7])
def test_two_runs_with_one_seed_are_bit_identical(tmp_path, seed):
    config = make_run_config(seed=seed)
    first, second = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    assert is_same(state_of(first), state_of(second))
    columns = ["train/loss", "train/pwca/loss", "val/both/loss"]
    tables = [pd.read_csv(tmp_path / name / "history.csv")[columns] for name in "ab"]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_another_seed_is_another_run(tmp_path):
    runs = [run(make_run_config(seed=seed), tmp_path / str(seed)) for seed in (0, 1)]
    assert not is_same(*(state_of(result) for result in runs))


def test_it_learns(tmp_path):
    config = make_run_config(epochs=6, lr=2e-3, batch_size=8)
    result = run(config, tmp_path, num_train=64, num_val=30)
    assert result.selection_score > 0.9


def test_history_holds_every_curve_and_goes_to_the_tracker_point_for_point(tmp_path):
    points = []
    run(make_run_config(), tmp_path, points=points)
    history = pd.read_csv(tmp_path / "history.csv").set_index("step")
    for branch in ("sa", "glca", "pwca"):
        assert history[f"train/{branch}/loss"].notna().any()
        assert history[f"train/{branch}/top1_accuracy"].between(0, 1).all()
        assert history[f"train/log_variance/{branch}"].iloc[-1] != 0.0
    for branch in ("sa", "glca", "both"):
        assert history[f"val/{branch}/top1_accuracy"].notna().sum() == 2
    assert {"train/loss", "train/lr", "train/images_per_second", "epoch"} <= set(history.columns)
    for step, values in points:
        for name, value in values.items():
            assert history.loc[step, name] == pytest.approx(value)


def test_with_accumulation_a_point_is_a_step_and_none_is_lost(tmp_path):
    points = []
    config = make_run_config(accumulate_steps=2, batch_size=3, log_every=1, selection="last")
    run(config, tmp_path, points=points, num_train=18)
    logged = [step for step, values in points if "train/loss" in values]
    assert logged == [1, 2, 3, 4, 5, 6]  # two epochs of six batches
    assert pd.read_csv(tmp_path / "history.csv")["train/loss"].notna().sum() == 6


def test_the_logged_rate_is_the_one_the_step_took(tmp_path):
    run(make_run_config(log_every=1, warmup_epochs=1.0, warmup_lr_ratio=0.1), tmp_path)
    rates = pd.read_csv(tmp_path / "history.csv")["train/lr"]
    assert rates.iloc[0] == pytest.approx(1e-4)
    assert rates.iloc[-1] == pytest.approx(1e-5)


def test_selection_val_takes_the_best_epoch_and_last_takes_the_last(tmp_path):
    config = make_run_config(epochs=3)
    points = []
    result = run(config, tmp_path / "val", points=points)
    scores = [v["val/both/top1_accuracy"] for _, v in points if "val/both/top1_accuracy" in v]
    assert result.selection_score == max(scores)
    assert result.selected_epoch == scores.index(max(scores))
    last = run(make_run_config(epochs=3, selection="last"), tmp_path / "last")
    assert last.selected_epoch == 2 and last.selection_score is None


def test_test_scores_appear_only_where_test_was_asked_for(tmp_path):
    config = make_run_config(selection="test")
    result = run(config, tmp_path)
    assert set(key.split("/")[0] for key in result.scores) == {"test"}


def test_selection_on_a_missing_split_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no val split; set dataset.val_ratio"):
        run(make_run_config(), tmp_path, num_val=0)


def test_last_needs_no_held_out_split(tmp_path):
    result = run(make_run_config(selection="last"), tmp_path, num_val=0)
    assert result.scores == {} and result.selected_epoch == 1


def test_the_averaged_weights_are_those_of_the_formula(tmp_path):
    """With a batch a step and three steps: a_1 = w_1, a_t = d a_(t-1) + (1 - d) w_t."""
    config = make_run_config(ema_decay=0.75, epochs=1, selection="last")
    seen = []
    original = DCALModule.on_train_batch_end

    def record(self, *arguments):
        original(self, *arguments)
        seen.append(self.network.sa_head.classifier.weight.detach().clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DCALModule, "on_train_batch_end", record)
        result = run(config, tmp_path)
    average = seen[0]
    for weights in seen[1:]:
        average = 0.75 * average + 0.25 * weights
    assert len(seen) == 3 and result.weights == "ema"
    torch.testing.assert_close(result.model.sa_head.classifier.weight, average)


def test_accumulated_batches_make_one_step(tmp_path):
    config = make_run_config(accumulate_steps=3, batch_size=3, epochs=2)
    assert run(config, tmp_path).num_steps == 4  # 6 batches an epoch


def test_accumulation_keeps_the_whole_batch_for_fgvc(tmp_path):
    shared = {"epochs": 1, "selection": "last", "optimizer": "sgd", "lr": 0.1}
    model = {"drop_path": 0.0, "pwca_blocks": 0}
    whole = run(make_run_config(**shared, model=model), tmp_path / "a", num_train=24)
    parts = {"batch_size": 3, "accumulate_steps": 2}
    halves = run(make_run_config(**shared, **parts, model=model), tmp_path / "b", num_train=24)
    assert whole.num_steps == halves.num_steps == 4
    for name, tensor in state_of(whole).items():
        torch.testing.assert_close(state_of(halves)[name], tensor, rtol=0, atol=1e-5)


def test_clipping_leaves_the_log_variances_out():
    config = make_run_config(clip_norm=0.5)
    module = DCALModule(build_model(config.model, 3), config)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    module.configure_gradient_clipping(None)
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.network.parameters()])
    assert float(norm) == pytest.approx(0.5, rel=1e-4)
    assert all(float(p.grad) == 10.0 for p in module.objective.parameters())


def test_clipping_reaches_the_steps_of_a_run(tmp_path):
    norms = {}
    for clip_norm in (None, 0.05):
        seen = norms.setdefault(clip_norm, [])
        config = make_run_config(epochs=1, clip_norm=clip_norm, optimizer="sgd", lr=0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DCALModule, "on_train_batch_end", keep_gradient_norm(seen))
            run(config, tmp_path / str(clip_norm))
    assert len(norms[None]) == len(norms[0.05]) == 3
    assert min(norms[None]) > 0.05
    assert norms[0.05] == pytest.approx([0.05] * 3, rel=1e-3)


def keep_gradient_norm(seen):
    def keep(self, *arguments):
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        seen.append(float(torch.nn.utils.get_total_norm(gradients)))

    return keep


@pytest.mark.parametrize("distractor", ["any", "other", "noise"])
def test_every_kind_of_distractor_trains(tmp_path, distractor):
    config = make_run_config(epochs=1, model={"distractor": distractor})
    result = run(config, tmp_path, has_distractors=distractor == "noise")
    assert result.num_steps == 3


@pytest.mark.parametrize(
    "model", [{"glca_blocks": 0}, {"pwca_blocks": 0}, {"glca_blocks": 0, "pwca_blocks": 0}]
)
def test_branches_can_be_off(tmp_path, model):
    result = run(make_run_config(epochs=1, model=model), tmp_path)
    assert ("val/both/top1_accuracy" in result.scores) == (model.get("glca_blocks", 1) > 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # tracing looks at attributes that warn; torch's affair
def test_a_compiled_run_gives_the_eager_runs_weights(tmp_path, monkeypatch):
    # The interpreter runs what this backend makes; tests/models/test_compiled has machine code.
    compile_model, compiled_models = torch.nn.Module.compile, []

    def compile_for_interpreter(model, **options):
        compiled_models.append(model)
        compile_model(model, **{**options, "backend": "aot_eager"})

    monkeypatch.setattr(torch.nn.Module, "compile", compile_for_interpreter)
    monkeypatch.setattr(runtime, "has_compiler", lambda *, on_gpu: True)
    model = {"drop_path": 0.0}
    eager = run(make_run_config(epochs=1, model=model), tmp_path / "a")
    assert not compiled_models
    compiled = run(make_run_config(epochs=1, model=model, compile=True), tmp_path / "b")
    assert len(compiled_models) == 1
    assert list(state_of(eager)) == list(state_of(compiled))
    for name, tensor in state_of(eager).items():
        torch.testing.assert_close(state_of(compiled)[name], tensor, rtol=1e-2, atol=1e-4)


def test_gradient_checkpointing_trains_to_the_same_weights(tmp_path):
    plain = run(make_run_config(epochs=1, model={"drop_path": 0.0}), tmp_path / "a")
    config = make_run_config(epochs=1, model={"drop_path": 0.0}, gradient_checkpointing=True)
    recomputed = run(config, tmp_path / "b")
    for name, tensor in state_of(plain).items():
        torch.testing.assert_close(state_of(recomputed)[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_start_line_says_what_will_run():
    config = make_run_config()
    model = build_model(config.model, 3)
    text = describe_run(model, config, make_loaders(config), resolve_runtime(config.train))
    assert "20 pictures to train on, 3 classes, 16 x 24 pixels" in text
    assert "SA + GLCA x1 (class_local, top_r 0.4) + PWCA x6" in text
    assert "2 epochs of 3 steps, batch 6" in text
    assert "fp32" in text and "GiB" in text
