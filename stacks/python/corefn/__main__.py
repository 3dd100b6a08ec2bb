"""Serves the function until SIGTERM, and then finishes what it has begun: on the socket that is the descriptor
$COREFN_SOCKET if that is set, else on 0.0.0.0:$PORT.

With `wait` and the path of a socket it waits there until it is told which function that is.
"""

import os
import socket
import sys

import uvicorn

from corefn.find import find

if sys.argv[1:2] == ["wait"]:
    from corefn.wait import wait
    wait(sys.argv[2])

config = uvicorn.Config(
    find(),
    host="0.0.0.0",
    port=int(os.environ.get("PORT", "8080")),
    # How many connections may wait until they are accepted: at a socket, one more is refused at once.
    backlog=4096,
    log_level="warning",
    access_log=False,
    server_header=False,
    # Longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.
    timeout_keep_alive=75,
)
sockets = None
if number := os.environ.get("COREFN_SOCKET"):
    sockets = [socket.socket(fileno=int(number))]
    sockets[0].set_inheritable(False)
server = uvicorn.Server(config)
server.run(sockets)
if not server.started:
    sys.exit(1)
