"""A TLS handshake in memory: whether who knows certain authorities believes what a server shows, as OpenSSL sees it."""

import ssl
from contextlib import suppress
from pathlib import Path


def believes(authorities: bytes, *, certificate: Path, key: Path, name: str = "localhost") -> bool:
    """Whether a client that trusts `authorities` (PEM) alone takes the server's certificate."""
    client_in, server_in = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cadata=authorities.decode())
    server = serving.wrap_bio(server_in, client_in, server_side=True)
    client = trusting.wrap_bio(client_in, server_in, server_hostname=name)
    for _ in range(10):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError:
            return False
        else:
            return True
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise AssertionError("the handshake comes to no end")
