"""What a tour of a data set says, in Markdown and in tables for a reader (ours)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

import pandas as pd

from dcal.analysis.chance import compute_majority_accuracy, compute_random_ranking
from dcal.analysis.data_counts import list_splits
from dcal.analysis.data_findings import DataSet, Finding, percent

MAX_ANSWERED = 3
_MARKS = re.compile(r"([\\`*_\[\]$|~#])")


def quote(text: str) -> str:
    """Write a text so that Markdown shows it as it is: names may hold any mark."""
    return _MARKS.sub(r"\\\1", escape(text, quote=False))


def list_sentences(sentences: Sequence[str], *, otherwise: str) -> str:
    """Return a list in Markdown, or what to say where it is empty."""
    return "\n".join(f"- {quote(sentence)}" for sentence in sentences) or otherwise


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of counts and medians, with the name of its rows in the line of its head."""
    shown = table.map("{:.12g}".format)
    return shown.rename_axis(index=None, columns=str(table.index.name))


def format_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `describe_sizes` for a reader."""
    shown = sizes.assign(
        shape=sizes["shape"].map("{:.2f}".format),
        enlarged=sizes["enlarged"].map(percent),
        stretched=sizes["stretched"].map(percent),
    )
    shown = shown.rename(columns={"shape": "width / height"})
    return shown.rename_axis(index=None, columns=str(sizes.index.name))


def tell_findings(findings: list[Finding]) -> str:
    """Return what was found as a list in Markdown, and below it what was not."""
    found = [f"{_capitalise(finding.sentence)}." for finding in findings if finding.sentence]
    not_found = [finding.looked_for for finding in findings if not finding.sentence]
    lines = list_sentences(found, otherwise="Nothing of what was looked for.")
    return f"{lines}\n\nLooked for and not found: {'; '.join(not_found) or 'nothing else'}."


def tell_contents(data: DataSet) -> str:
    """Return a sentence on what the data set holds and what guessing gets on it."""
    counts = ", ".join(f"{len(data.select(split))} {split}" for split in list_splits(data.table))
    name, total = data.report.dataset, len(data.table)
    if data.is_reid:
        trained = len(data.report.class_names)
        head = f"{name} holds {total} pictures ({counts}); {trained} identities are trained on"
        chance = compute_random_ranking(
            data.table, average_precision=data.config.evaluate.average_precision
        )
        if math.isnan(chance["cmc_1"]):
            return f"{head}, and no query has a picture to be found."
        return (
            f"{head}, and a gallery in random order is expected to score mean AP "
            f"{percent(chance['mean_ap'])} and rank-1 {percent(chance['cmc_1'])}."
        )
    num_classes = data.report.num_classes
    head = f"{name} holds {total} pictures of {num_classes} classes ({counts})"
    if data.select("test").empty:
        return f"{head}; guessing among the classes gets {percent(1 / num_classes)}."
    return (
        f"{head}; guessing among the classes gets {percent(1 / num_classes)}, and the commonest "
        f"class of train {percent(compute_majority_accuracy(data.table))} of test."
    )


def tell_answer(data: DataSet, findings: list[Finding]) -> str:
    """Return the contents, then what misleads most."""
    contents = quote(tell_contents(data))
    found = [quote(finding.sentence) for finding in findings if finding.sentence]
    if not found:
        return f"**{contents}** Nothing that was looked for would mislead a result."
    rest = len(found) - MAX_ANSWERED
    more = f"; {rest} more {'is' if rest == 1 else 'are'} told above" if rest > 0 else ""
    return f"**{contents}** What could mislead: {'; '.join(found[:MAX_ANSWERED])}{more}."


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
