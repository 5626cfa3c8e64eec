"""A process that must not outlive the one that started it: it holds the reading end of a pipe and ends at its end.

A pipe, because the kernel closes it however the starter ends, on every Unix, and whichever thread started the process.
"""

import os
import signal
import threading

VARIABLE = "MARKETSWARM_TETHER"
"""Names the file descriptor that the starter handed over."""


def hold(grace_s: float) -> None:
    """Watch the tether, if there is one. Starter gone: SIGTERM to this process, and after grace_s its end."""
    text = os.environ.pop(VARIABLE, "")  # popped, so that what this process starts does not take it for its own
    if not text:
        return
    tether = int(text)
    os.set_inheritable(tether, False)
    threading.Thread(target=_watch, args=(tether, grace_s), name="tether", daemon=True).start()


def _watch(tether: int, grace_s: float) -> None:
    try:
        while os.read(tether, 1):
            pass
    except OSError:
        pass  # not a descriptor of ours: as good as its end
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(grace_s)
    os._exit(1)
