"""Every notebook runs from top to bottom on the results of the smoke pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import jupytext
import pytest

from pipelines import fetch, prepare
from pipelines.notebook import render_body, run_notebook
from tests.analysis.studies import simulate_curves
from tests.analysis.test_ablation_results import write_grid
from tests.data.cub_fixture import write_cub
from tests.data.reid_fixtures import write_market, write_veri
from tests.pipelines.scored import write_params
from tests.project import ROOT, Project
from tests.visual.fixtures import PARAMS, make_config

# What each says in its answer, and which pipeline it is of.
ANSWERS = {
    "01_tour_of_the_data": ("finished", ("52 pictures of 4 classes", "drawn by a program")),
    "02_rollout": ("finished", ("of 6 blocks", "12 test pictures")),
    # Of grids, of which a fresh clone has none; with one below.
    "03_pwca_as_regulariser": ("finished", ("Nothing to compare", "make ablate")),
    "05_ablations": ("finished", ("No grid was run here", "make ablate")),
    "04_ranking_and_errors": ("finished_reid", ("queries have a wrong picture first", "camera")),
}
NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def test_there_are_five_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(ANSWERS) and len(ANSWERS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_can_be_told_where_the_project_lies_and_to_show_no_pictures(path: Path) -> None:
    cells = jupytext.read(path).cells
    (cell,) = [entry for entry in cells if "parameters" in entry.metadata.get("tags", [])]
    assert {"project", "show_pictures"} <= {line.split(" =")[0] for line in cell.source.split("\n")}
    assert cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_ends_with_its_answer(
    path: Path, request: pytest.FixtureRequest
) -> None:
    pipeline, expected = ANSWERS[path.stem]
    project: Project = request.getfixturevalue(pipeline)
    notebook = run_notebook(path, {"project": str(project.folder)})
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert all(words in said for words in expected)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    page = render_body(notebook)
    assert page.count("<img") == page.count("alt=") and "No description" not in page


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02_rollout", "04_ranking_and_errors"])
def test_a_notebook_that_may_show_no_pictures_ends_with_the_same_answer(
    name: str, request: pytest.FixtureRequest
) -> None:
    pipeline, expected = ANSWERS[name]
    project: Project = request.getfixturevalue(pipeline)
    parameters = {"project": str(project.folder), "show_pictures": False}
    notebook = run_notebook(ROOT / f"notebooks/{name}.py", parameters)
    assert all(words in notebook.cells[-1].outputs[-1].data["text/markdown"] for words in expected)


# What a parameter may name that holds nothing: the notebook, its settings, what it says last.
EMPTY = {
    "no index": (
        "01_tour_of_the_data",
        {},
        "FileNotFoundError: data set birds: expected the index of the prepare stage, found none in "
        "this project; run: dvc repro prepare",
    ),
    "no model": (
        "02_rollout",
        {},
        "FileNotFoundError: runs/train/model.safetensors: expected the model of the train stage, "
        "found no such file; run: dvc repro",
    ),
    "no embeddings": (
        "04_ranking_and_errors",
        {"name": "vehicles", "kind": "reid"},
        "FileNotFoundError: runs/evaluate/features.safetensors: expected the embeddings of the "
        "evaluate stage, found no such file; run: dvc repro evaluate",
    ),
    "no Re-ID": (
        "04_ranking_and_errors",
        {},
        "ValueError: dataset.name birds: expected a Re-ID data set, whose pictures are ranked; got "
        "one of kind fgvc; set project to one of Re-ID, or make one: python -m pipelines.compose "
        "preset=reid, then dvc repro",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", EMPTY)
def test_a_project_without_results_is_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, own, message = EMPTY[case]
    monkeypatch.chdir(tmp_path)
    train = {"images_per_identity": 2} if own else {}
    write_params(make_config(dataset={**PARAMS["dataset"], "name": "birds", **own}, train=train))
    path = ROOT / f"notebooks/{name}.py"
    with pytest.raises(RuntimeError) as failed:
        run_notebook(path, {"project": str(tmp_path)})
    assert str(failed.value) == f"{path}: a cell failed: {message}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["03_pwca_as_regulariser", "05_ablations"])
def test_a_folder_without_grids_is_one_sentence_in_the_place_of_the_answer(
    name: str, grids: Path
) -> None:
    parameters = {"project": str(grids), "root": "results/gone"}
    notebook = run_notebook(ROOT / f"notebooks/{name}.py", parameters)
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert "in results/gone" in said and "found no such folder; run `make ablate`" in said
    assert "\n" not in said


@pytest.fixture
def grids(tmp_path: Path) -> Path:
    """Return a project of one simulated grid and nothing else."""
    arms = {"dcal": {}, "no_pwca": {"model.pwca_blocks": 0}, "sa_only": {"model.top_r": 0.1}}
    folder = write_grid(tmp_path / "results/ablate", effect=-0.05, arms=arms)
    simulate_curves(gain=0.15, noise=1e-3).to_csv(folder / "curves.csv", index=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "answer", "num_pictures"),
    [
        ("03_pwca_as_regulariser", ("PWCA regularises", "PWCA counts", "in the epochs"), 4),
        ("05_ablations", ("mine, sa_only by SA: lower by -", "dcal by SA: no difference"), 3),
    ],
)
def test_a_notebook_of_grids_tells_what_a_simulated_grid_has(
    name: str, answer: tuple[str, ...], num_pictures: int, grids: Path
) -> None:
    notebook = run_notebook(ROOT / f"notebooks/{name}.py", {"project": str(grids)})
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert [words for words in answer if words not in said] == []
    page = render_body(notebook)
    assert "drawn by a program" in page and "0123456789ab" in page
    assert page.count("<img") == num_pictures and "No description" not in page


# Layouts of other sets than drawn ones: who writes one, what its config has, the number of figures,
# and words of its page.
OTHER_SETS = {
    "cub": (
        write_cub,
        {"kind": "fgvc", "options": {}},
        3,
        ("8 pictures of 2 classes", "Black_footed_Albatross"),
    ),
    "market": (
        write_market,
        {"kind": "reid", "options": {"official": None}},
        4,
        ("queries have no right picture", "distractors", "were seen by one camera"),
    ),
    "veri": (
        write_veri,
        {"kind": "reid", "options": {"views": None}},
        4,
        ("68 pictures", "not the official set: VeRi-776", "identity 14: a query"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OTHER_SETS))
def test_the_tour_goes_through_official_layouts_with_all_that_they_annotate(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, own, num_pictures, words = OTHER_SETS[name]
    source = str(write(tmp_path / "source"))
    dataset = {"name": name, "source_type": name, "source": source, "allow_partial": True, **own}
    batches = {"images_per_identity": 2} if own["kind"] == "reid" else {}
    monkeypatch.chdir(tmp_path)
    write_params(make_config(dataset={**PARAMS["dataset"], **dataset}, train=batches))
    fetch.main()
    prepare.main()
    notebook = run_notebook(ROOT / "notebooks/01_tour_of_the_data.py", {"project": str(tmp_path)})
    said = notebook.cells[-1].outputs[-1].data["text/markdown"]
    assert f"{name} holds" in said and "What could mislead: " in said
    page = render_body(notebook)
    assert page.count("<img") == num_pictures and "No description" not in page
    assert [text for text in words if text not in page] == []
