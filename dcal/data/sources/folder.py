"""The user's own pictures: train/[val/]test folders of classes (ours).

    train/<class>/**/*.jpg   val/<class>/... (optional)   test/<class>/...

One folder may be wrapped around them. Labels are positions in the sorted class names of train.
Without val/, or with one that holds no picture, `dataset.val_ratio` of train is held out.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from pathlib import Path

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.images import PICTURE_SUFFIXES, is_picture
from dcal.data.source_path import use_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._listing import HIDDEN_PREFIXES, list_folders, name_below
from dcal.data.splits import hold_out

FOLDERS = ("train", "val", "test")


class Options(Section):
    """Folders need no options of their own."""


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place."""
    use_source(dataset, target)


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """List the pictures of every class folder.

    Raises:
        FileNotFoundError: No train or no test folder.
        ValueError: Fewer than two classes, an empty class, a test folder without any class, or a
            class that train lacks.
    """
    parse_options(dataset, Options)
    top = _find_top(root)
    class_names = list_folders(top / "train")
    if len(class_names) < 2:
        raise ValueError(
            f"{top / 'train'}: expected a folder for each class, two at least; "
            f"got {len(class_names)}"
        )
    ignored: Counter[str] = Counter()
    has_val = _has_pictures(top / "val")
    rows = []
    for split in FOLDERS:
        if split != "val" or has_val:
            rows += _list_split(top / split, class_names, root=root, ignored=ignored)
    table = pd.DataFrame(rows)
    warnings = _describe(table, top, class_names, ignored=ignored)
    if not has_val:
        if (top / "val").is_dir():
            warnings.append("val/ is not used, because no class folder in it holds a picture")
        table = hold_out(table, ratio=dataset.val_ratio, seed=dataset.split_seed)
    elif dataset.val_ratio:
        warnings.append("dataset.val_ratio is not used, because val/ exists")
    return SourceTable(table, class_names, warnings=warnings)


def _find_top(root: Path) -> Path:
    top = root
    folders = list_folders(root)
    if "train" not in folders and len(folders) == 1:
        top = root / folders[0]
    found = list_folders(top)
    for name in ("train", "test"):
        if name not in found:
            raise FileNotFoundError(
                f"{top}: expected the folders train and test (and, if you like, val), each with a "
                f"folder for each class; found {', '.join(found) or 'no folder'}"
            )
    return top


def _has_pictures(split: Path) -> bool:
    """Return whether any class folder of a split, which need not exist, holds a picture."""
    if not split.is_dir():
        return False
    return any(_list_pictures(split / name, Counter()) for name in list_folders(split))


def _list_split(
    folder: Path, class_names: list[str], *, root: Path, ignored: Counter[str]
) -> list[dict[str, object]]:
    names = list_folders(folder)
    if not names:
        raise ValueError(
            f"{folder}: expected a folder for each class, with pictures in it; found no folder"
        )
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        hint = _find_near_name(unknown[0], class_names)
        raise ValueError(
            f"{folder}: class folders that train lacks: {', '.join(unknown[:5])}; "
            f"a class can only be scored if train has it under the same name{hint}"
        )
    _count_others(folder, ignored)
    rows: list[dict[str, object]] = []
    for name in names:
        paths = _list_pictures(folder / name, ignored)
        if not paths:
            raise ValueError(
                f"{folder / name}: no picture in this class folder "
                f"({', '.join(PICTURE_SUFFIXES)}); add some or remove the folder"
            )
        label = class_names.index(name)
        for path in paths:
            relative = name_below(path, root)
            rows.append({"path": relative, "split": folder.name, "label": label})
    return rows


def _find_near_name(unknown: str, class_names: list[str]) -> str:
    same = [name for name in class_names if name.casefold() == unknown.casefold()]
    near = same or difflib.get_close_matches(unknown, class_names, n=1)
    return f"; did you mean {near[0]}, which train has?" if near else ""


def _count_others(folder: Path, ignored: Counter[str]) -> None:
    """Count what lies beside the class folders."""
    for path in folder.iterdir():
        if path.name.startswith(HIDDEN_PREFIXES):
            ignored["hidden files"] += 1
        elif not path.is_dir():
            ignored["files outside a class folder"] += 1


def _list_pictures(folder: Path, ignored: Counter[str]) -> list[Path]:
    pictures = []
    for parent, folders, names in os.walk(folder):
        ignored["links to folders"] += sum(Path(parent, name).is_symlink() for name in folders)
        folders[:] = [name for name in folders if not name.startswith(HIDDEN_PREFIXES)]
        for name in names:
            path = Path(parent, name)
            if is_picture(path):
                pictures.append(path)
            else:
                kind = "hidden files" if name.startswith(".") else "other suffixes or no file"
                ignored[kind] += 1
    return sorted(pictures)


def _describe(
    table: pd.DataFrame, top: Path, class_names: list[str], *, ignored: Counter[str]
) -> list[str]:
    warnings = [f"ignored ({why}): {num}" for why, num in sorted(ignored.items()) if num]
    others = [name for name in list_folders(top) if name not in FOLDERS]
    if others:
        warnings.append(f"ignored (folders beside train and test): {', '.join(others)}")
    num_scored = table.loc[table["split"] == "test", "label"].nunique()
    if num_scored < len(class_names):
        num_missing = len(class_names) - num_scored
        warnings.append(f"classes without a test picture: {num_missing} of {len(class_names)}")
    return warnings
