"""The report: one self-contained page about one run (ours)."""

from dcal.visual.report.inputs import ReportInputs as ReportInputs
from dcal.visual.report.inputs import TrainingResults as TrainingResults
from dcal.visual.report.page import render_report as render_report

__all__ = ["ReportInputs", "TrainingResults", "render_report"]
