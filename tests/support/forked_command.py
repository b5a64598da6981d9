"""``python -I -S forked_command.py SOCKET WORD…``: let ``forker`` carry out the command in the place of this process."""

import json
import os
import socket
import sys

umask = os.umask(0)
os.umask(umask)
request = {"words": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd(), "umask": umask}  # noqa: PTH109
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
    control.connect(sys.argv[1])
    socket.send_fds(control, [json.dumps(request).encode()], [0, 1, 2])
    sys.exit((control.recv(1) or b"\x46")[0])
