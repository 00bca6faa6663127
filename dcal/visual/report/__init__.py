"""The report: self-contained pages about one run (ours)."""

from dcal.visual.report.inputs import PastRun as PastRun
from dcal.visual.report.inputs import ReportInputs as ReportInputs
from dcal.visual.report.inputs import TrainingResults as TrainingResults
from dcal.visual.report.page import render_notebook as render_notebook
from dcal.visual.report.page import render_report as render_report
from dcal.visual.report.search import render_search as render_search

__all__ = [
    "PastRun",
    "ReportInputs",
    "TrainingResults",
    "render_notebook",
    "render_report",
    "render_search",
]
