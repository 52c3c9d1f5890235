"""Send standard input as one datagram to a port of this host and print what comes back.

For hosts without `nc`: echo hi | python tools/say.py 7007
"""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
    end.settimeout(1)
    end.sendto(sys.stdin.buffer.read(), ("127.0.0.1", int(sys.argv[1])))
    try:
        sys.stdout.buffer.write(end.recv(65536))
    except OSError:
        sys.exit(1)
