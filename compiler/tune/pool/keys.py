"""The keys of a pool: one certificate and its private key, in a folder that every member holds a copy of.

Connections are encrypted and both ends prove that they hold the key (mutual TLS).  A job is code that a device runs, so
there is no way to run a pool without keys, not even on one machine, where other users could reach it.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from distributed.security import Security

from compiler.tune.pool.errors import PoolError

CERTIFICATE, KEY = "pool.crt", "pool.key"


def default_folder() -> Path:
    """Where keys are when nothing else is said: ``vdla/pool`` in the user's configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "vdla" / "pool"


def create_keys(folder: Path) -> None:
    """Make new keys, valid for a year, readable by the user alone.

    Raises PoolError when the folder holds keys already or cannot be written.
    """
    if (folder / KEY).exists():
        raise PoolError(f"{folder} holds keys already; remove it, or choose another folder")
    made = Security.temporary()
    certificate, key = made.tls_ca_file, made.tls_scheduler_key
    assert certificate is not None and key is not None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in ((CERTIFICATE, certificate), (KEY, key)):
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as stream:  # mode 0600
                stream.write(content)
            os.replace(stream.name, folder / name)
    except OSError as error:
        raise PoolError(f"cannot write keys to {folder}: {error.strerror or error}") from error


def load_keys(folder: Path) -> Security:
    """The keys in a folder.  Raises PoolError when there are none, or when they have expired."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    try:
        content = certificate.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise PoolError(f"{certificate} is not a certificate, or {key} not its key: {error}") from error
    except OSError as error:
        raise PoolError(
            f"no keys of a pool in {folder} ({error.strerror}): make them with `vdla pool keys`, "
            "and copy the folder to every machine of the pool"
        ) from error
    _check_date(content, folder)
    mine = {f"tls_{role}_{what}": str(path) for role in ("client", "scheduler", "worker")
            for what, path in (("cert", certificate), ("key", key))}  # fmt: skip
    return Security(tls_ca_file=str(certificate), require_encryption=True, **mine)


def _check_date(certificate: bytes, folder: Path) -> None:
    """PoolError when a certificate is no longer valid.  A board may lack `cryptography`; TLS refuses it there as well,
    with less to read."""
    try:
        from cryptography import x509
    except ImportError:
        return
    ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    if ends < datetime.now(UTC):
        raise PoolError(f"the keys in {folder} expired on {ends:%Y-%m-%d}; make new ones with `vdla pool keys`")
