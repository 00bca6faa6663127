"""README's new data set, on its twenty lines, is a data set."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dcal.data import sources
from dcal.data.fetching import fetch_dataset
from dcal.data.indexing import build_index
from dcal.data.named_sets import find_dataset
from dcal.data.raw import raw_root
from tests.data.factory import write_picture
from tests.project import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n### A new one\n")[2].partition("\n## ")[0]
MODULE, YAML = (
    re.findall(rf"^```{language}\n(.*?)^```", SECTION, flags=re.DOTALL | re.MULTILINE)[0]
    for language in ("py", "yaml")
)


def write_petals(root: Path) -> Path:
    """Write three flowers with six pictures each, the last two of them for test."""
    tested = []
    for place, flower in enumerate(("rose", "anemone", "oxeye_daisy")):
        for number in range(6):
            name = f"{flower}_{number:03d}.jpg"
            write_picture(root / "images" / name, seed=10 * place + number, size=(80, 80))
            tested += [name] if number >= 4 else []
    (root / "test.txt").write_text("\n".join(tested) + "\n", encoding="utf-8")
    return root


def add_petals(project: Path) -> None:
    """Write the two files that README names."""
    (project / "dcal/data/sources/petals.py").write_text(MODULE, encoding="utf-8")
    (project / "experiments/dataset/petals.yaml").write_text(YAML, encoding="utf-8")


def test_it_is_no_longer_than_readme_says() -> None:
    assert sum(bool(line.strip()) for line in MODULE.splitlines()) <= 20


def test_it_lists_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("dcal/data/sources", "experiments/dataset"):
        (tmp_path / folder).mkdir(parents=True)
    add_petals(tmp_path)
    folder_yaml = (ROOT / "experiments/dataset/folder.yaml").read_text(encoding="utf-8")
    (tmp_path / "experiments/dataset/folder.yaml").write_text(folder_yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    places = [*sources.__path__, str(tmp_path / "dcal/data/sources")]
    monkeypatch.setattr(sources, "__path__", places)
    source = write_petals(tmp_path / "petals")
    dataset, _ = find_dataset("petals", source=str(source))
    fetch_dataset(dataset.model_copy(update={"val_ratio": 0.25}))
    table, report = build_index(dataset.model_copy(update={"val_ratio": 0.25}), raw_root(dataset))
    monkeypatch.delitem(sys.modules, "dcal.data.sources.petals")
    assert report.class_names == ["anemone", "oxeye_daisy", "rose"]
    assert report.counts == {"train": 9, "val": 3, "test": 6}
    assert report.warnings == []
    assert set(table.loc[table["class_name"] == "rose", "path"].str[:12]) == {"images/rose_"}


@pytest.mark.slow
def test_it_trains_and_has_nothing_of_another_set_made_again(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    add_petals(project.folder)
    assert project.repro() == []
    project.compose(
        "preset=photos_64",
        "dataset=petals",
        f"dataset.source={write_petals(tmp_path / 'petals')}",
        "dataset.val_ratio=0.25",
        "train.epochs=1",
        "train.batch_size=4",
        "train.warmup_epochs=0",
        "rollout.num_images=2",
    )
    # Not by its own name, which belongs to the folder that the environment was made for.
    said = project.run("python", "-m", "dcal.cli", "check")
    assert "12 train, 6 test; 3 classes" in said
    project.repro()
    assert project.read_json("results/train/run.json")["dataset"]["name"] == "petals"
