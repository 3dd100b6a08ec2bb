"""Serves the function on 0.0.0.0:$PORT until SIGTERM, and then finishes what it has begun.

With `wait` and the path of a socket it waits there until it is told which function that is.
"""

import os
import sys

import uvicorn

from corefn.find import find

if sys.argv[1:2] == ["wait"]:
    from corefn.wait import wait
    wait(sys.argv[2])

uvicorn.run(
    find(),
    host="0.0.0.0",
    port=int(os.environ.get("PORT", "8080")),
    log_level="warning",
    access_log=False,
    server_header=False,
    # Longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.
    timeout_keep_alive=75,
)
