"""What a user can get wrong: each case runs a stage, and ends in one sentence or in the result.

A case that fails must say what and where, and leave every file of the project as it was.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from dcal.data.images import load_image
from pipelines import compose, fetch, prepare, train, watch
from pipelines.stage import run_stage
from tests.data.factory import write_folder, write_picture
from tests.project import ROOT, clone

COUNTS = {"train": {"robin": 6, "wren": 6}, "test": {"robin": 2, "wren": 2}}
SHOT = "train/robin/000.png"
NOISE = np.random.default_rng(0).integers(0, 256, (12, 18, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Project:
    """A folder of pictures, and a project that was fetched and prepared from it."""

    folder: Path

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def params(self) -> Path:
        return self.folder / "params.yaml"

    def replace(self, old: str, new: str) -> None:
        text = self.params.read_text()
        assert old in text
        self.params.write_text(text.replace(old, new))

    def snapshot(self) -> dict[str, bytes]:
        """Return every file by its name, and every folder as nothing."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes() if path.is_file() else b""
            for path in self.folder.rglob("*")
        }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_folder(folder / "pictures", COUNTS)
    (folder / ".git").mkdir()
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    arguments = ["preset=smoke", "dataset=folder", "dataset.source=pictures", "dataset.name=mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DCAL_WORK_ROOT", str(folder))
        compose.write_params(arguments, Path("params.yaml"), Path("experiments"))
        fetch.main()
        prepare.main()
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "project"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DCAL_WORK_ROOT", str(folder))
    # The listing holds the place of the pictures, which were copied along.
    fetch.main()
    return Project(folder)


STAGES: dict[str, Callable[[], None]] = {
    "fetch": partial(run_stage, fetch.main),
    "prepare": partial(run_stage, prepare.main),
    "train": partial(run_stage, train.main),
    "watch": watch.main,
}


def run(stage: str) -> str:
    """Run a stage as its command does; return the sentence that it ended with, or nothing."""
    if stage.startswith("compose"):
        app = typer.Typer()
        app.command()(compose.main)
        done = CliRunner().invoke(app, stage.split()[1:])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return str(done.exception.code) if done.exception and done.exit_code else ""
    try:
        STAGES[stage]()
    except SystemExit as stopped:
        # A text is what Python prints, and its exit status is then 1.
        assert isinstance(stopped.code, str)
        return stopped.code
    return ""


def rename(old: str, new: str, project: Project) -> None:
    (project.pictures / old).rename(project.pictures / new)


def empty(place: str, project: Project) -> None:
    for path in (project.pictures / place).iterdir():
        path.unlink()


def add_class(place: str, project: Project) -> None:
    write_picture(project.pictures / place / "0.png", seed=99)


def remove(place: str, project: Project) -> None:
    shutil.rmtree(project.pictures / place)


def cut(project: Project) -> None:
    path = project.pictures / "train/robin/000.jpg"
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def write_text_as_jpg(project: Project) -> None:
    (project.pictures / "train/robin/note.jpg").write_text("a note")


def write_huge(size: tuple[int, int], project: Project) -> None:
    Image.new("1", size).save(project.pictures / "train/robin/huge.png")


def write_bytes(content: bytes, project: Project) -> None:
    project.params.write_bytes(content)


def make_params_a_folder(project: Project) -> None:
    project.params.unlink()
    project.params.mkdir()


def use_archive(make: Callable[[Path], Path], project: Project) -> None:
    archive = make(project.folder)
    project.replace("source: pictures", f"source: {archive.name}")


def tar_with(name: str, folder: Path, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    with tarfile.open(folder / "birds.tar", "w") as archive:
        archive.addfile(info, io.BytesIO())
    return folder / "birds.tar"


def zip_that_expands(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "birds.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/robin/0.bmp", bytes(100 << 20))
    assert (folder / "birds.zip").stat().st_size * 900 < 100 << 20
    return folder / "birds.zip"


def cut_tar(folder: Path) -> Path:
    with tarfile.open(folder / "birds.tar.gz", "w:gz") as archive:
        archive.add(folder / "pictures", "pictures")
    path = folder / "birds.tar.gz"
    path.write_bytes(path.read_bytes()[:-500])
    return path


def set_value(old: str, new: str, project: Project) -> None:
    project.replace(old, new)


def remove_git(project: Project) -> None:
    (project.folder / ".git").rmdir()


@dataclass(frozen=True)
class Mistake:
    """What is done to a prepared project, the command that meets it, and what that must say."""

    name: str
    do: Callable[[Project], None]
    stage: str
    says: str


TAR = tarfile
MISTAKES = [
    Mistake(
        "class folder with no picture",
        partial(empty, "train/wren"),
        "prepare",
        r"train/wren: no picture in this class folder",
    ),
    Mistake(
        "test class folder with no picture",
        partial(empty, "test/wren"),
        "prepare",
        r"test/wren: no picture in this class folder",
    ),
    Mistake(
        "one class only",
        partial(remove, "train/wren"),
        "prepare",
        r"train: expected a folder for each class, two at least; got 1",
    ),
    Mistake(
        "classes that differ by case",
        partial(add_class, "train/Robin"),
        "prepare",
        r"class names: Robin and robin are one name but for upper and lower case",
    ),
    Mistake(
        "test class that train lacks",
        partial(add_class, "test/owl"),
        "prepare",
        r"test: class folders that train lacks: owl;",
    ),
    Mistake(
        "test class that differs by case",
        partial(rename, "test/wren", "test/Wren"),
        "prepare",
        r"train lacks: Wren; .* did you mean wren, which train has\?",
    ),
    Mistake(
        "no test folder", partial(remove, "test"), "prepare", r"expected the folders train and test"
    ),
    Mistake(
        "truncated JPEG",
        cut,
        "prepare",
        r"1 of 17 pictures cannot be used; .*train/robin/000\.jpg: cannot be decoded",
    ),
    Mistake(
        "text named .jpg",
        write_text_as_jpg,
        "prepare",
        r"1 of 17 pictures .*note\.jpg: cannot be decoded \(it is not a picture",
    ),
    Mistake(
        "20,000 pixels square",
        partial(write_huge, (20_000, 20_000)),
        "prepare",
        r"1 of 17 pictures .*huge\.png: .*more than 178956970 pixels; make the picture smaller",
    ),
    Mistake(
        "top_r of 0",
        partial(set_value, "top_r: 0.3", "top_r: 0"),
        "fetch",
        r"params\.yaml: model\.top_r: should be greater than 0; got 0",
    ),
    Mistake(
        "top_r of 1.5",
        partial(set_value, "top_r: 0.3", "top_r: 1.5"),
        "train",
        r"params\.yaml: model\.top_r: should be less than or equal to 1; got 1\.5",
    ),
    Mistake(
        "top_r of a letter",
        partial(set_value, "top_r: 0.3", "top_r: a"),
        "watch",
        r"params\.yaml: model\.top_r: should be a valid number; got 'a'",
    ),
    Mistake(
        "compose with top_r of 0",
        lambda project: None,
        "compose model.top_r=0",
        r"model\.top_r: should be greater than 0; got 0",
    ),
    Mistake(
        "compose with top_r of a letter",
        lambda project: None,
        "compose model.top_r=a",
        r"model\.top_r: should be a valid number; got 'a'",
    ),
    Mistake(
        "compose with an unknown key",
        lambda project: None,
        "compose model.topr=1",
        r"model\.topr: unknown key; did you mean top_r\?",
    ),
    Mistake(
        "size that no patch divides",
        partial(set_value, "  image_size: [64, 64]\n  stride", "  image_size: [60, 64]\n  stride"),
        "train",
        r"model\.image_size: expected multiples of the patch size 8",
    ),
    Mistake(
        "batch of one with PWCA",
        lambda project: project.params.write_text(
            re.sub(r"(train:\n(?:  .*\n)*?  batch_size:) \d+", r"\1 1", project.params.read_text())
        ),
        "train",
        r"train\.batch_size: expected at least 2 while model\.pwca_blocks is on",
    ),
    Mistake(
        "empty params",
        partial(write_bytes, b""),
        "watch",
        r"params\.yaml: expected a mapping with the keys seed, .*; got nothing",
    ),
    Mistake(
        "params that are a list",
        partial(write_bytes, b"- 1\n"),
        "watch",
        r"params\.yaml: expected a mapping .*; got a list",
    ),
    Mistake(
        "params with tabs",
        partial(write_bytes, b"seed:\n\t- 1\n"),
        "watch",
        r"params\.yaml: not a valid YAML file: .*indent with blanks .* in line 2",
    ),
    Mistake(
        "params with a duplicate key",
        partial(write_bytes, b"seed: 1\nseed: 2\n"),
        "watch",
        r"params\.yaml: not a valid YAML file: .*duplicate key .*line 2",
    ),
    Mistake(
        "params that are not UTF-8",
        partial(write_bytes, b"seed: \xff\n"),
        "watch",
        r"params\.yaml: expected text in UTF-8, got other bytes at byte 6",
    ),
    Mistake(
        "params that are a folder",
        make_params_a_folder,
        "watch",
        r"params\.yaml: expected a file, got a folder; move it away",
    ),
    Mistake(
        "compose over a folder",
        make_params_a_folder,
        "compose preset=smoke",
        r"params\.yaml could not be written in .*a folder of that name is in the way",
    ),
    Mistake(
        "no params",
        lambda project: project.params.unlink(),
        "fetch",
        r"params\.yaml: no such file; make it with: python -m pipelines\.compose",
    ),
    Mistake(
        "no git",
        remove_git,
        "watch",
        r"expected a git repository, and found none; run: git init, or .*core\.no_scm true",
    ),
    Mistake(
        "folder that is gone",
        lambda project: project.pictures.rename(project.folder / "moved"),
        "watch",
        r"dataset\.source: expected an existing folder or archive; pictures does not exist",
    ),
    Mistake(
        "archive that climbs out",
        partial(use_archive, partial(tar_with, "../../up.png")),
        "fetch",
        r"birds\.tar: '\.\./\.\./up\.png' would be written outside the target",
    ),
    Mistake(
        "archive with an absolute name",
        partial(use_archive, partial(tar_with, "/up.png")),
        "fetch",
        r"birds\.tar: '/up\.png' would be written outside the target",
    ),
    Mistake(
        "archive with an absolute link",
        partial(use_archive, partial(tar_with, "a.png", kind=TAR.SYMTYPE, link="/etc/passwd")),
        "fetch",
        r"birds\.tar: a\.png is a link to no file of the archive",
    ),
    Mistake(
        "archive with a device",
        partial(use_archive, partial(tar_with, "a.png", kind=TAR.CHRTYPE)),
        "fetch",
        r"birds\.tar: a\.png is a device or pipe",
    ),
    Mistake(
        "archive that expands a thousandfold",
        partial(use_archive, zip_that_expands),
        "fetch",
        r"birds\.zip: expands to far more than its own size; refused at",
    ),
    Mistake(
        "archive cut short",
        partial(use_archive, cut_tar),
        "fetch",
        r"birds\.tar\.gz: damaged or incomplete",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_one_sentence_and_nothing_is_lost(mistake: Mistake, project: Project) -> None:
    mistake.do(project)
    before = project.snapshot()
    said = run(mistake.stage)
    assert re.search(mistake.says, said), said
    assert len(said.splitlines()) == 1 and "Traceback" not in said
    assert project.snapshot() == before


def save(mode: str, name: str, project: Project) -> None:
    image = Image.fromarray(NOISE)
    if mode == "I;16":
        image = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 256)
    else:
        image = image.convert(mode)
    transparency = {"transparency": 0} if mode == "P" else {}
    image.save(project.pictures / "train/robin" / name, **transparency)


def save_rotated(project: Project) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE).save(project.pictures / "train/robin/new.jpg", exif=exif)


def save_size(size: tuple[int, int], project: Project) -> None:
    Image.new("L", size).save(project.pictures / "train/robin/new.png")


@pytest.mark.parametrize(
    ("do", "name", "size"),
    [
        pytest.param(partial(save, "I;16", "new.png"), "new.png", (18, 12), id="16-bit"),
        pytest.param(partial(save, "L", "new.png"), "new.png", (18, 12), id="grey"),
        pytest.param(partial(save, "1", "new.png"), "new.png", (18, 12), id="black and white"),
        pytest.param(partial(save, "CMYK", "new.jpg"), "new.jpg", (18, 12), id="CMYK"),
        pytest.param(partial(save, "P", "new.png"), "new.png", (18, 12), id="palette"),
        pytest.param(partial(save, "RGBA", "new.png"), "new.png", (18, 12), id="transparent"),
        pytest.param(save_rotated, "new.jpg", (12, 18), id="EXIF-rotated"),
        pytest.param(partial(save_size, (1, 1)), "new.png", (1, 1), id="1 x 1"),
        pytest.param(partial(save_size, (20_000, 100)), "new.png", (20_000, 100), id="20000 x 100"),
    ],
)
def test_an_unusual_picture_is_a_row_of_the_index_like_any_other(
    do: Callable[[Project], None], name: str, size: tuple[int, int], project: Project
) -> None:
    do(project)
    assert run("fetch") == run("prepare") == ""
    table = pd.read_parquet("data/index/mine/index.parquet").set_index("path")
    row = table.loc[f"train/robin/{name}"]
    assert (row["width"], row["height"]) == size


def test_a_picture_between_pillows_two_limits_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load_image(tmp_path / "a.png").size == (30, 30)
        warnings.warn("as before", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["as before"]


def test_damaged_pictures_may_be_left_out_and_are_counted(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.replace("allow_partial: false", "allow_partial: true")
    cut(project)
    write_text_as_jpg(project)
    assert run("fetch") == run("prepare") == ""
    report = json.loads(Path("data/index/mine/report.json").read_text())
    assert report["num_left_out"] == 2 and sum(report["counts"].values()) == 16
    said = "left out: 2 of 18 pictures, which cannot be used: "
    assert said + "train/robin/000.jpg; train/robin/note.jpg" in report["warnings"]
    assert sum(said in record.getMessage() for record in caplog.records) == 1


def test_a_class_that_loses_all_its_pictures_is_a_mistake_all_the_same(project: Project) -> None:
    project.replace("allow_partial: false", "allow_partial: true")
    for path in (project.pictures / "train/wren").iterdir():
        path.write_bytes(b"")
    before = project.snapshot()
    assert "1 classes have no training picture that can be used: wren;" in run("prepare")
    assert project.snapshot() == before


def run_read_only(folder: Path, project: Project, stage: str) -> str:
    """Run a stage where a folder may be read and not written, which binds root as well."""
    mount = (
        'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$PROJECT" && '
        'exec "$PYTHON" -m pipelines."$1"'
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(folder), stage],
        env={
            **{"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(ROOT)},
            **{"PROJECT": str(project.folder), "PYTHON": sys.executable},
            "DCAL_WORK_ROOT": str(folder),
        },
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this machine permits no mount of one's own: {done.stderr.strip()}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["watch", "fetch", "prepare", "compose"])
def test_a_read_only_project_is_one_sentence(stage: str, project: Project) -> None:
    before = project.snapshot()
    said = run_read_only(project.folder, project, stage)
    assert re.search(r"could not be written in .*: that place is read-only; .* intact", said)
    assert project.snapshot() == before


@pytest.mark.slow
def test_a_read_only_work_root_is_one_sentence(project: Project, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    before = project.snapshot()
    said = run_read_only(tmp_path / "work", project, "watch")
    assert f"mlflow.db could not be written in {tmp_path / 'work'}: that place is read-only" in said
    assert project.snapshot() == before


@pytest.mark.slow
def test_a_project_without_git_works_where_dvc_is_told_so(tmp_path: Path) -> None:
    project = clone(tmp_path / "project")
    project.compose("preset=smoke")
    shutil.rmtree(project.folder / ".git")
    said = project.run("python", "-m", "pipelines.watch", succeeds=False)
    command = re.search(r"dvc config --local core\.no_scm true", said)
    assert command and "Traceback" not in said
    project.run(*command.group().split())
    project.run("python", "-m", "pipelines.watch")
    assert project.repro("prepare") == ["fetch", "prepare"]
    assert project.repro("prepare") == []


@pytest.mark.slow
def test_a_detached_and_dirty_git_works_and_is_noted(tmp_path: Path) -> None:
    project = clone(tmp_path / "project")
    project.run("git", "checkout", "-q", "--detach")
    project.compose("preset=smoke")
    (project.folder / "README.md").write_text("changed")
    project.run("python", "-m", "pipelines.watch")
    assert project.repro("prepare") == ["fetch", "prepare"]
    code = (
        "from dcal.tracking.environment import describe_environment as describe;"
        "found = describe(device='cpu'); print(len(found.git_commit), found.git_dirty)"
    )
    assert project.run("python", "-c", code).split() == ["40", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "- 1\n", "seed:\n\t- 1\n", "seed: 1\nseed: 2\n"])
def test_make_says_the_sentence_before_dvc_has_its_own_words(content: str, tmp_path: Path) -> None:
    """The recipe of `make repro` without its set-up: what looks first stops the rest."""
    recipe = (ROOT / "Makefile").read_text().partition("\nrepro:")[2].partition("\n\n")[0]
    lines = [line.strip().removeprefix("@") for line in recipe.splitlines()[1:]]
    assert lines[:2] == ["python -m pipelines.mend", "python -m pipelines.watch"]
    project = clone(tmp_path / "project")
    (project.folder / "params.yaml").write_text(content)
    said = project.run("bash", "-euc", "\n".join(lines[:3]), succeeds=False)
    assert len(said.strip().splitlines()) == 1 and said.startswith("watch: params.yaml: ")
