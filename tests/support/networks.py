"""A company's network: an HTTP proxy, and a server whose certificate is its own."""

import datetime
import ipaddress
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Listener:
    """A TCP server that serves each connection in a thread."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def accept_all(self) -> None:
        """Serve connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve_safely, args=[connection], daemon=True
            ).start()

    def _serve_safely(self, connection: socket.socket) -> None:
        # The other end may go away at any time.
        with connection, suppress(OSError):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class ForwardProxy(Listener):
    """An HTTP proxy, also for CONNECT; `requests` are the first lines it has read."""

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__()
        self.requests: list[str] = []
        self._credentials = b""
        if user:
            self._credentials = b64encode(f"{user}:{password}".encode())

    def serve(self, connection: socket.socket) -> None:
        request = _head_of(connection)
        first, _, rest = request.partition(b"\r\n")
        method, address, version = first.decode().split(" ")
        self.requests.append(first.decode())
        if self._credentials not in request:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        if method == "CONNECT":
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), 5) as server:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                pump(connection, server)
            return
        url = urlsplit(address)
        assert url.hostname
        with socket.create_connection((url.hostname, url.port or 80), 5) as server:
            path = f"{url.path}?{url.query}" if url.query else url.path
            server.sendall(f"{method} {path} {version}\r\n".encode() + rest)
            pump(connection, server)


class TlsFront(Listener):
    """Decrypts TLS in front of a port of this machine."""

    def __init__(self, target: int, certificate: Path) -> None:
        super().__init__()
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def serve(self, connection: socket.socket) -> None:
        with (
            self._context.wrap_socket(connection, server_side=True) as decrypted,
            socket.create_connection(("127.0.0.1", self._target), 5) as server,
        ):
            pump(decrypted, server)


def _head_of(connection: socket.socket) -> bytes:
    """Return what has come up to the end of the headers, at least."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError("the client has gone")
        request += piece
    return request


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on data in both directions until an end closes."""
    back = threading.Thread(target=_pass_on, args=[other, one], daemon=True)
    back.start()
    _pass_on(one, other)
    back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Serve connections in threads, and close the listeners afterwards."""
    threads = [threading.Thread(target=each.accept_all) for each in listeners]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in listeners:
            each.close()
        for thread in threads:
            thread.join()


def make_certificates(directory: Path) -> tuple[Path, Path]:
    """Return files of a private authority, and of a certificate for this machine.

    The second also has the certificate's key.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("Company CA")
    authority = (
        _certificate(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(CA_USAGE, critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        _certificate(_name("localhost"), authority_name, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python 3.13 demands this, and what a CA's key may be used for.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(
                authority_key.public_key()
            ),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    server_file = directory / "server.pem"
    server_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return ca_file, server_file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
