"""A table of your own: one CSV or parquet file with a row a picture (ours).

    path,label,split                      birds/1.jpg,finch,train
    path,identity,split,camera,view       a/1.jpg,17,query,3,

`dataset.source` is the folder (or an archive of it) that holds the table and that its paths start
from. `dataset.kind` says which is wanted, label (fgvc) or identity (reid). Further columns: camera,
view, and a box in pixels from the top left corner (box_x, box_y, box_width, box_height). An empty
field of those is one that is not known.
"""

from __future__ import annotations

import csv
import difflib
import os
from pathlib import Path
from typing import Any

import pandas as pd

from dcal.config import DatasetConfig, Section
from dcal.data.boxes import BOX_COLUMNS
from dcal.data.identities import label_identities
from dcal.data.index import SPLITS_OF_KIND
from dcal.data.source_path import use_source
from dcal.data.sources import SourceTable, parse_options
from dcal.data.sources._naming import require_allowed
from dcal.data.sources._text import parse_decimal, parse_whole, require_below
from dcal.data.splits import hold_out, hold_out_identities
from dcal.sentences import to_one_line

SUFFIXES = (".csv", ".parquet")
OPTIONAL = ("camera", "view", *BOX_COLUMNS)
WANTED = {"fgvc": "label", "reid": "identity"}
SEPARATORS = {"tabs": "\t", "semicolons": ";"}
Row = dict[str, Any]


class Options(Section):
    """What a table takes under `dataset.options`."""

    table: str | None  # its place below dataset.source; null = the only CSV or parquet file there


def fetch(dataset: DatasetConfig, target: Path) -> None:
    """Unpack the user's archive, or note the user's folder for use in place.

    Raises:
        FileNotFoundError: `dataset.source` is null or does not exist.
        ValueError: It is a file, such as the table itself.
    """
    source = dataset.source or ""
    if source.lower().endswith(SUFFIXES):
        name = Path(source).name
        raise ValueError(
            f"dataset.source: expected the folder that the table lies in and its paths start from; "
            f"got the table: set dataset.source={Path(source).parent} and "
            f"dataset.options.table={name}"
        )
    use_source(dataset, target)


def build_table(dataset: DatasetConfig, root: Path) -> SourceTable:
    """Read the table's rows, and hold out a share of train where no row is val.

    Raises:
        FileNotFoundError: No table there.
        ValueError: Several tables, a missing column, a field that is none of its kind, or a path
            that is not there.
    """
    place = _find_table(root, parse_options(dataset, Options).table)
    rows, warnings = _read(place, WANTED[dataset.kind])
    table = pd.DataFrame(
        [_parse(row, f"{place}:{number}", dataset.kind) for number, row in rows.items()]
    )
    if table.empty:
        raise ValueError(f"{place}: expected a row for each picture; found none")
    table["path"] = [(place.parent / path).relative_to(root).as_posix() for path in table["path"]]
    whole = {name: "Int64" for name in ("identity", "camera", "view") if name in table}
    table, said = _keep_present(table.astype(whole), root, allow_partial=dataset.allow_partial)
    warnings += said
    ratio = dataset.val_ratio
    if ratio and (table["split"] == "val").any():
        warnings.append("dataset.val_ratio is not used, because the table has val pictures")
        ratio = 0.0
    if dataset.kind == "reid":
        table = hold_out_identities(table, ratio=ratio, seed=dataset.split_seed)
        table, names = label_identities(table)
        return SourceTable(table, names, warnings=warnings)
    names = sorted(set(table["label"]))
    table["label"] = table["label"].map({name: label for label, name in enumerate(names)})
    table = hold_out(table, ratio=ratio, seed=dataset.split_seed)
    return SourceTable(table, names, warnings=warnings)


def _find_table(root: Path, name: str | None) -> Path:
    if name is not None:
        require_below(name, place="dataset.options.table")
        if Path(name).suffix.lower() not in SUFFIXES or not (root / name).is_file():
            raise FileNotFoundError(
                f"dataset.options.table: expected a CSV or parquet file below {root}; {name} is "
                "none that is there"
            )
        return root / name
    listed = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
    found = [path for path in listed if path.is_file() and not path.name.startswith(".")]
    if not found:
        raise FileNotFoundError(
            f"{root}: expected a table (.csv or .parquet) there; found none; its place can be "
            "named by dataset.options.table"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise ValueError(f"{root}: several tables ({names}); name one by dataset.options.table")
    return found[0]


def _read(path: Path, wanted: str) -> tuple[dict[int, Row], list[str]]:
    """Return the rows by their number, with texts for values, and what is said of the columns."""
    rows = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    columns = list(next(iter(rows.values()), {}))
    needed = ("path", "split", wanted)
    boxes = [name for name in BOX_COLUMNS if name in columns]
    wanted_columns = (*needed, *BOX_COLUMNS) if boxes else needed
    missing = [name for name in wanted_columns if rows and name not in columns]
    if missing:
        raise ValueError(
            f"{path}: expected the columns {', '.join(wanted_columns)}; {', '.join(missing)} is "
            f"missing among {', '.join(map(repr, columns[:20]))}"
        )
    known = (*needed, *OPTIONAL)
    extra = [name for name in columns if name not in known]
    warnings = []
    if extra:
        near = difflib.get_close_matches(extra[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        shown = to_one_line(", ".join(extra[:10]))
        warnings.append(f"ignored (columns of {path.name} that are not used): {shown}{hint}")
    return rows, warnings


def _require_commas(header: list[str], path: Path) -> None:
    for name, mark in SEPARATORS.items():
        if len(header) == 1 and mark in header[0]:
            raise ValueError(f"{path}: it is separated by {name}; save it with commas")


def _read_csv(path: Path) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _require_commas(header, path)
            if len(set(header)) < len(header):
                raise ValueError(f"{path}: a column is there twice: {', '.join(header[:20])}")
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise ValueError(
                        f"{path}:{reader.line_num}: expected {len(header)} fields, as in the first "
                        f"line; got {len(fields)}: put quotes around a field that holds a comma"
                    )
                rows[reader.line_num] = dict(zip(header, map(str.strip, fields), strict=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text; byte {error.start} is none") from None
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: no CSV ({error})") from None
    return rows


def _read_parquet(path: Path) -> dict[int, Row]:
    try:
        frame = pd.read_parquet(path)
        columns = {str(name): _to_texts(frame[name]) for name in frame.columns}
    # What the reader lets out on damaged bytes is not one kind of error.
    except Exception as error:
        reason = to_one_line(str(error)) or type(error).__name__
        raise ValueError(f"{path}: no parquet file that can be read ({reason:.200})") from error
    return dict(
        enumerate(
            (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)),
            start=1,
        )
    )


def _to_texts(values: pd.Series) -> list[str]:
    """Return texts as a CSV file would hold them: whole numbers without a point, none as empty."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return [
        "" if value is pd.NA or value is None or value != value else str(value) for value in values
    ]


def _parse(row: Row, place: str, kind: str) -> Row:
    split = row["split"]
    if split not in SPLITS_OF_KIND[kind]:
        raise ValueError(
            f"{place}: expected a split, one of {', '.join(SPLITS_OF_KIND[kind])}; got "
            f"{split[:80]!r}"
        )
    parsed: Row = {"path": require_below(row["path"], place=place), "split": split}
    if kind == "reid":
        parsed["identity"] = parse_whole(row["identity"], place=f"{place}, identity", at_least=-1)
    else:
        parsed["label"] = _parse_label(row["label"], place)
    for name in ("camera", "view"):
        if name in row:
            least = 1 if name == "camera" else 0
            found = row[name]
            where = f"{place}, {name}"
            parsed[name] = parse_whole(found, place=where, at_least=least) if found else pd.NA
    if all(name in row for name in BOX_COLUMNS):
        for name in BOX_COLUMNS:
            found = row[name]
            parsed[name] = parse_decimal(found, place=f"{place}, {name}") if found else float("nan")
    return parsed


def _parse_label(label: str, place: str) -> str:
    if not label or not label.isprintable():
        raise ValueError(
            f"{place}: expected a label, the name of a class in one line; got {label[:80]!r}"
        )
    return label


def _keep_present(
    table: pd.DataFrame, root: Path, *, allow_partial: bool
) -> tuple[pd.DataFrame, list[str]]:
    # Not Path.is_file, which lets out that a name is too long.
    is_there = pd.Series(
        [os.path.isfile(root / path) for path in table["path"]], index=table.index, dtype=bool
    )
    warnings = require_allowed(
        "are named by the table and not there",
        [to_one_line(path) for path in table.loc[~is_there, "path"]],
        num_pictures=len(table),
        allow_partial=allow_partial,
    )
    return table[is_there].reset_index(drop=True), warnings
