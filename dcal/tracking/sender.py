"""The thread that sends a spool while the run goes on (ours).

MLflow is imported here and by what this calls, never by the thread that trains.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time

from filelock import Timeout

from dcal.tracking.answers import describe_failure
from dcal.tracking.delivery import Delivery, OtherServerError
from dcal.tracking.spool import Spool
from dcal.tracking.store import describe_tracking_uri

logger = logging.getLogger(__name__)

# MLflow's own work on a batch is the larger part of what tracking costs, and grows less than the
# batch: 0.15 ms a point for 5 s of birds, 0.11 for 15 s (sqlite).
SEND_SECONDS = 15.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
PATIENCE_SECONDS = 15.0  # longer than one call to a server that hangs
POLL_SECONDS = 0.05


class Sender:
    """Sends what is and will be in a spool, until it is closed.

    Of several processes with the same spool one sends; the others wait for its end.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._delivery: Delivery | None = None
        self._wake = threading.Event()
        self._is_stopped = False
        self._next_wait = FIRST_WAIT_SECONDS
        self._is_failing = False
        self._has_warned = False
        self._cpu_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        # A daemon thread inside a library call at the interpreter's end may crash it.
        atexit.register(self._stop, 1.0)
        self._thread.start()

    @property
    def cpu_seconds(self) -> float:
        """Return the processor time of the thread so far."""
        if self._thread.ident is None or not self._thread.is_alive():
            return self._cpu_seconds
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    @property
    def run_id(self) -> str | None:
        """Return the run's id, if a server has answered."""
        state = self._delivery.state if self._delivery else self.spool.read_state()
        return state.run_id

    def close(self, patience: float | None = None) -> bool:
        """Send what is left and stop; say whether all was sent.

        Args:
            patience: Seconds without progress after which the rest is left in the spool;
                none = 15.
        """
        patience = PATIENCE_SECONDS if patience is None else patience
        self._next_wait = FIRST_WAIT_SECONDS
        self._wake.set()
        state, since = self.spool.read_state(), time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < patience:
            if self.spool.is_delivered():
                break
            time.sleep(POLL_SECONDS)
            before, state = state, self.spool.read_state()
            if state != before:
                since = time.monotonic()
        self._stop(1.0)
        self._warn_of_the_rest()
        return self.spool.is_delivered()

    def _stop(self, seconds: float) -> None:
        atexit.unregister(self._stop)
        self._is_stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        lock = self.spool.sender_lock()
        while not self._is_stopped:
            try:
                with lock:
                    self._send_until_stopped()
            except Timeout:
                self._sleep(FIRST_WAIT_SECONDS)
            except OSError as error:
                self._note_failure(error)
                self._back_off()
        self._cpu_seconds = time.thread_time()

    def _send_until_stopped(self) -> None:
        self._delivery = Delivery(self.spool)
        while not self._is_stopped:
            try:
                has_sent = self._delivery.send_next()
            except OtherServerError as error:
                logger.warning("%s", error)
                self._is_stopped = True
            except Exception as error:
                # Whatever it was, the run goes on, and nothing that waits is lost.
                self._note_failure(error)
                self._back_off()
            else:
                if has_sent:
                    self._note_success()
                else:
                    self._sleep(SEND_SECONDS)

    def _sleep(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _back_off(self) -> None:
        wait, self._next_wait = self._next_wait, min(self._next_wait * 2, LONGEST_WAIT_SECONDS)
        self._sleep(wait)

    def _note_failure(self, error: Exception) -> None:
        self._is_failing = True
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        logger.log(
            level,
            "MLflow at %s takes nothing (%s): the run goes on, and what it says waits in %s",
            describe_tracking_uri(),
            describe_failure(error),
            self.spool.place,
        )

    def _note_success(self) -> None:
        if self._is_failing:
            logger.info("MLflow at %s answers again", describe_tracking_uri())
        self._is_failing, self._next_wait = False, FIRST_WAIT_SECONDS

    def _warn_of_the_rest(self) -> None:
        delivery, place = self._delivery, self.spool.place
        if not self.spool.is_delivered():
            logger.warning(
                "%d entries wait in %s for MLflow: make sync, or the run's next stage, sends them",
                self.spool.num_waiting,
                place,
            )
        if delivery and delivery.num_rejected:
            logger.warning(
                "MLflow refused %d entries: they are kept, with its reasons, in %s/%s",
                delivery.num_rejected,
                place,
                self.spool.rejected.name,
            )
        if delivery and delivery.num_gone:
            logger.warning(
                "%d files of the run were sent before MLflow lost it, and are not kept here",
                delivery.num_gone,
            )


def send_spool(spool: Spool) -> int:
    """Send what waits in a spool now; return how many entries still wait."""
    sender = Sender(spool)
    sender.start()
    return 0 if sender.close() else spool.num_waiting
