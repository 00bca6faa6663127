"""The model: backbone, branches, heads, and its weights in and out."""

from dcal.models.build import build_model as build_model
from dcal.models.build import count_parameters as count_parameters
from dcal.models.build import load_model as load_model
from dcal.models.dcal import DCAL as DCAL
from dcal.models.dcal import DCALOutput as DCALOutput
