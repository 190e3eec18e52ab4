"""Ports of loopback that nobody has at the moment."""

import random
import socket

PORTS = range(20_000, 32_768)
"""Above those that Ray gives its workers, below those that Linux gives to whoever connects: nobody takes one by chance
between the look here and the start of the server that it is for."""
_UNTRIED = iter(random.sample(PORTS, len(PORTS)))


def free_port() -> int:
    """One that was not given before."""
    for port in _UNTRIED:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
