"""Imported under libfaketime by every interpreter: its sleep fails where the monotonic clock is left true."""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
