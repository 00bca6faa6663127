"""What happened during a run: MLflow, and the run record that outlives it.

The only package that imports mlflow, and only when a run is started.
"""

from dcal.tracking.environment import Environment as Environment
from dcal.tracking.environment import describe_environment as describe_environment
from dcal.tracking.lookup import find_runs as find_runs
from dcal.tracking.pages import NOTE_TAG as NOTE_TAG
from dcal.tracking.pages import describe_result as describe_result
from dcal.tracking.record import DatasetRecord as DatasetRecord
from dcal.tracking.record import RunRecord as RunRecord
from dcal.tracking.record import read_run_record as read_run_record
from dcal.tracking.record import write_run_record as write_run_record
from dcal.tracking.runs import name_run as name_run
from dcal.tracking.runs import read_last_words as read_last_words
from dcal.tracking.runs import resume_run as resume_run
from dcal.tracking.runs import start_run as start_run
from dcal.tracking.spool import list_spools as list_spools
from dcal.tracking.spool import remove_spool as remove_spool
from dcal.tracking.tracker import NullTracker as NullTracker
from dcal.tracking.tracker import Tracker as Tracker
