"""A signature over every file of a package (OpenSSF model signing, with a key of our own: it works offline)."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError

SIGNATURE = "signature"
PUBLIC_NAME = "signing.pub"
SIGNING_KEY_VARIABLE = "IMAGELOOP_SIGNING_KEY"
VERIFICATION_KEY_VARIABLE = "IMAGELOOP_VERIFICATION_KEY"


class SignatureError(ImageLoopError):
    """A package that is not, byte for byte, what the owner of the key signed."""


def private_key(keys: Path) -> Path:
    """The key that signs: the file that `IMAGELOOP_SIGNING_KEY` names, or one of our own, made on first use.

    Raises: SignatureError if the variable names no file, or of a pair the public key alone is left.
    """
    return _named_file(SIGNING_KEY_VARIABLE) or _own_key(keys)


def public_key(keys: Path) -> Path:
    """The key that verifies: the file that `IMAGELOOP_VERIFICATION_KEY` names, or the pair of our own signing key.

    Raises: SignatureError if there is neither; a key made now would verify nothing.
    """
    named = _named_file(VERIFICATION_KEY_VARIABLE)
    if named is None and not (keys / PUBLIC_NAME).exists():
        raise SignatureError(
            f"expected the key that verifies packages, got none in '{keys}'; restore it, or name its file in {VERIFICATION_KEY_VARIABLE}. "
            "If it is lost for good, train under another name: --set promotion.model_name=NAME"
        )
    return named or keys / PUBLIC_NAME


def _named_file(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not Path(value).is_file():
        raise SignatureError(f"expected a key in the file that {variable} names, got no file at '{value}'; correct or unset it")
    return Path(value)


def _own_key(keys: Path) -> Path:
    private, public = keys / "signing.key", keys / PUBLIC_NAME
    if not public.exists():
        _make_pair(keys, private, public)
    if not private.exists():
        raise SignatureError(
            f"expected the private key of '{public}', got the public one alone; restore it, or name its file in {SIGNING_KEY_VARIABLE}"
        )
    return private


def _make_pair(keys: Path, private: Path, public: Path) -> None:
    from filelock import FileLock  # what only verifies has it not

    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(keys.with_name("keys.lock")):
        if public.exists():  # another run made both meanwhile
            return
        key = ec.generate_private_key(ec.SECP256R1())
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with replacing(private) as aside:
            aside.touch(mode=0o600)
            aside.write_bytes(content)
        with replacing(public) as aside:
            aside.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def sign(folder: Path, key: Path) -> None:
    """Write the file `signature` into `folder`, over all other files of it."""
    from model_signing import hashing, signing  # a second of loading that only this needs

    signature = folder / SIGNATURE
    signature.unlink(missing_ok=True)
    contents = hashing.Config().set_ignored_paths(paths=[signature])
    signing.Config().set_hashing_config(contents).use_elliptic_key_signer(private_key=key).sign(folder, signature)


def verify(folder: Path, key: Path) -> None:
    """Hash every file and hold it against the signature; nothing is parsed but the signature itself.

    Raises: SignatureError for a missing signature, another key, or a file that is changed, missing or added.
    """
    from model_signing import hashing, verifying

    signature = folder / SIGNATURE
    if not signature.is_file():
        raise SignatureError(f"expected a signed package, got no signature in '{folder}'; train again or restore the package")
    if links := [path.name for path in folder.rglob("*") if path.is_symlink()]:
        raise SignatureError(f"expected files, got links in '{folder}': {', '.join(links)}; restore the package")
    contents = hashing.Config().set_ignored_paths(paths=[signature])
    try:
        verifying.Config().set_hashing_config(contents).use_elliptic_key_verifier(public_key=key).verify(folder, signature)
    except Exception as error:  # the library lets its parsers' and its cryptography's errors through
        raise SignatureError(
            f"the package in '{folder}' is not what was signed with the key of '{key}' "
            f"({_first_line(error)}); restore the package, name the right key in {VERIFICATION_KEY_VARIABLE}, "
            "or sign it anew with the key that there is now: python run.py train --no-cache"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
