"""Everything in the lab that waits has a deadline, and says what it waited for when it passes."""

import time


class LabTimeout(RuntimeError):
    pass


class Deadline:
    def __init__(self, seconds, what):
        self.end = time.monotonic() + seconds
        self.seconds = seconds
        self.what = what

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def check(self):
        if self.left() <= 0:
            raise LabTimeout(f"not within {self.seconds:.0f} s: {self.what}")


def wait_until(condition, seconds, what, interval=0.2):
    """Returns the first true result of `condition`; LabTimeout after `seconds`."""
    deadline = Deadline(seconds, what)
    while True:
        result = condition()
        if result:
            return result
        deadline.check()
        time.sleep(min(interval, deadline.left()))
