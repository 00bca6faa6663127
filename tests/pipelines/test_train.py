"""What the train stage refuses before it trains, and what makes a run another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from dcal.config import CacheConfig
from dcal.models.backbone import create_backbone, get_normalisation
from dcal.tracking import read_run_record
from dcal.training.checkpoints import list_folders
from dcal.training.finite import TrainingBroken
from dcal.training.run_state import RunState
from pipelines import train
from pipelines.train import check_rollout_depth, compute_run_fingerprint, is_recorded_by_dvc
from tests.pipelines.scored import make_project
from tests.training.factory import make_run_config


def fingerprint(data_digest="d", **changes) -> str:
    return compute_run_fingerprint(make_run_config(**changes), data_digest=data_digest)


def test_parameters_data_and_seed_make_another_run():
    base = fingerprint()
    assert base == fingerprint()
    others = [
        fingerprint(data_digest="e"),
        fingerprint(seed=1),
        fingerprint(epochs=3),
        fingerprint(model={"top_r": 0.5}),
        fingerprint(loss={"label_smoothing": 0.1}),
    ]
    assert len({base, *others}) == 6


def test_how_a_run_is_watched_does_not_make_it_another():
    assert fingerprint(workers=2, log_every=7, checkpoint_minutes=5.0) == fingerprint()


def test_cached_pictures_change_no_fingerprint_and_reduced_decoding_does() -> None:
    config = make_run_config()
    cache = CacheConfig(resize=(16, 24), interpolation="bicubic")
    for changed, is_same in (
        ({"dataset": config.dataset.model_copy(update={"cache": cache})}, True),
        ({"transforms": config.transforms.model_copy(update={"decode": "reduced"})}, False),
    ):
        other = compute_run_fingerprint(config.model_copy(update=changed), data_digest="d")
        assert (other == fingerprint()) == is_same


def test_the_bytes_of_the_starting_weights_count_not_their_name_alone(tmp_path: Path):
    backbone = create_backbone("dcal_pico", image_size=(16, 24))
    path = tmp_path / "start.safetensors"
    save_file(backbone.state_dict(), path)
    before = fingerprint(model={"weights": str(path)})
    state = backbone.state_dict()
    state["norm.weight"] = state["norm.weight"] + 1
    save_file(state, path)
    assert fingerprint(model={"weights": str(path)}) != before


def test_a_rollout_deeper_than_the_model_is_refused_before_training():
    config = make_run_config()
    changed = config.model_copy(
        update={"rollout": config.rollout.model_copy(update={"num_blocks": 99})}
    )
    check_rollout_depth(config, 6)
    with pytest.raises(ValueError, match=r"rollout.num_blocks: expected 1 to 6"):
        check_rollout_depth(changed, 6)


@pytest.mark.parametrize(
    "name, message",
    [
        ("deit_tinny_patch16_224", "some that are: .*deit_tiny_patch16_224"),
        ("deit_tiny_patch16_224.wrong", "has no tag wrong; it has fb_in1k"),
    ],
)
def test_an_unknown_backbone_is_refused_wherever_it_is_met_first(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        get_normalisation(name)
    with pytest.raises(ValueError, match=message):
        create_backbone(name, image_size=(224, 224))


NO_WARNING = {"val_ratio": 0.0}
SMALL = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": 2, "log_every": 1}


def test_warnings_are_in_the_record_once_and_said_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    changes = {**SMALL, "selection": "test", "compile": True, "devices": "auto"}
    model = {"weights": "embedded", "image_size": [32, 64]}
    make_project(tmp_path, monkeypatch, train=changes, model=model, dataset=NO_WARNING)
    train.main()
    warnings = read_run_record(train.RECORD).warnings
    for what in (
        "found no usable GPU",
        "needs a C++ compiler, and none was found",
        "selected on the test split",
        "position embeddings resized from 8 x 8 to 4 x 8",
    ):
        assert sum(what in warning for warning in warnings) == 1, what
    assert len(warnings) == 4
    assert f"{len(warnings)} warnings, also in results/train/run.json:" in caplog.text
    assert caplog.text.count("found no usable GPU") == 2


def test_a_run_without_anything_to_warn_of_says_nothing_of_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make_project(tmp_path, monkeypatch, train={**SMALL, "devices": "cpu"}, dataset=NO_WARNING)
    train.main()
    assert read_run_record(train.RECORD).warnings == []
    assert "warning" not in caplog.text


def test_going_on_with_another_number_of_threads_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, monkeypatch, train={**SMALL, "devices": "cpu"}, dataset=NO_WARNING)
    train.main()
    num_threads = torch.get_num_threads()
    torch.set_num_threads(num_threads + 1)
    try:
        train.main()  # DVC did not record the first, which is taken up
    finally:
        torch.set_num_threads(num_threads)
    (warning,) = read_run_record(train.RECORD).warnings
    assert f"(threads {num_threads} before, {num_threads + 1} now)" in warning


def test_a_broken_run_leaves_no_result_and_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**SMALL, "epochs": 3, "lr": 1e30, "clip_norm": None, "checkpoint_minutes": 0.0}
    make_project(tmp_path, monkeypatch, train=changes)
    for path in ("runs/train/model.safetensors", "results/train/run.json"):
        Path(path).unlink()
    with pytest.raises(TrainingBroken, match=r"became infinite or no number at step \d+ \(epoch"):
        train.main()
    assert not Path("runs/train/model.safetensors").exists() and not train.RECORD.exists()
    (folder,) = list_folders()
    state = folder.read_state()
    assert state is not None and state.finished is None


@pytest.mark.parametrize("md5", ["a" * 32, "b" * 32])
def test_a_result_is_recorded_where_dvc_lock_has_its_record(
    md5: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = RunState(run_key="k", started="2026-01-01", record_md5="a" * 32)
    assert not is_recorded_by_dvc(state)
    outs = [{"path": "results/train/run.json", "md5": md5}, {"path": "other", "md5": "a" * 32}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    assert is_recorded_by_dvc(state) == (md5 == "a" * 32)
