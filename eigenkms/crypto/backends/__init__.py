"""The curve libraries, and the choice between them.

Chosen once, when this package is first imported: for each curve the native library if it is installed and
gives the known answers (``selftest``), else py_ecc, which is some hundred times slower and gives the same
bytes. ``eigenkms version`` shows the choice. ``select`` and ``use`` change it for the whole process; they
are for the command line and for tests, not for running nodes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from eigenkms.crypto.backends.interface import Bls12381, Bn254
from eigenkms.crypto.backends.selftest import SelfTestError, check_bls12381, check_bn254
from eigenkms.errors import InputError

NAMES = ("auto", "native", "py_ecc")


@dataclass(frozen=True, slots=True)
class Backends:
    """One implementation for each curve.

    ``fallbacks``: for a curve on py_ecc by necessity, why.
    """

    bls12381: Bls12381
    bn254: Bn254
    fallbacks: tuple[tuple[str, str], ...] = ()


@cache
def _native_bls12381() -> Bls12381:
    from eigenkms.crypto.backends.native_bls12381 import NativeBls12381

    curve = NativeBls12381()
    check_bls12381(curve)
    return curve


@cache
def _native_bn254() -> Bn254:
    from eigenkms.crypto.backends.native_bn254 import NativeBn254

    curve = NativeBn254()
    check_bn254(curve)
    return curve


@cache
def _reference_bls12381() -> Bls12381:
    from eigenkms.crypto.backends.pyecc_bls12381 import PyEccBls12381

    curve = PyEccBls12381()
    check_bls12381(curve)
    return curve


@cache
def _reference_bn254() -> Bn254:
    from eigenkms.crypto.backends.pyecc_bn254 import PyEccBn254

    curve = PyEccBn254()
    check_bn254(curve)
    return curve


Curve = TypeVar("Curve")


def _first_good(native: Callable[[], Curve], reference: Callable[[], Curve]) -> tuple[Curve, str]:
    """Return the native backend and "", or the reference and the reason why not the native one."""
    try:
        return native(), ""
    except (ImportError, SelfTestError) as error:
        return reference(), str(error)


def load(name: str) -> Backends:
    """Return the backends called ``auto``, ``native`` or ``py_ecc``, self-tested.

    Raises InputError if the name is unknown or native ones are missing.
    """
    if name == "py_ecc":
        return Backends(_reference_bls12381(), _reference_bn254())
    if name not in NAMES:
        raise InputError(f"select crypto backend: {name!r} is not one of {', '.join(NAMES)}")
    bls, bls_reason = _first_good(_native_bls12381, _reference_bls12381)
    bn, bn_reason = _first_good(_native_bn254, _reference_bn254)
    reasons = (("bls12-381", bls_reason), ("bn254", bn_reason))
    chosen = Backends(bls, bn, tuple((curve, reason) for curve, reason in reasons if reason))
    if name == "native" and chosen.fallbacks:
        curve, reason = chosen.fallbacks[0]
        raise InputError(
            f"select crypto backend: native {curve}: {reason}",
            hint="install the native wheels, or select py_ecc",
        )
    return chosen


class _BackendChoice:
    """The process's current backends; one mutable cell, so that no module keeps its own copy."""

    current: Backends = load("auto")


def bls12381() -> Bls12381:
    """Return the BLS12-381 backend in use."""
    return _BackendChoice.current.bls12381


def bn254() -> Bn254:
    """Return the BN254 backend in use."""
    return _BackendChoice.current.bn254


def names() -> dict[str, str]:
    """Curve to library, for people: ``{"bls12-381": "arkworks+pyblst", "bn254": "zksnake"}``."""
    return {"bls12-381": bls12381().name, "bn254": bn254().name}


def fallbacks() -> dict[str, str]:
    """Curves that run on py_ecc because their native library is missing or failed its self-test, with the
    reason.
    """
    return dict(_BackendChoice.current.fallbacks)


def select(chosen: str | Backends) -> None:
    """Use these backends from now on, in the whole process."""
    _BackendChoice.current = load(chosen) if isinstance(chosen, str) else chosen


@contextmanager
def use(chosen: str | Backends) -> Iterator[Backends]:
    """Use these backends inside the block, in the whole process.

    The former ones again after it.
    """
    former = _BackendChoice.current
    select(chosen)
    try:
        yield _BackendChoice.current
    finally:
        _BackendChoice.current = former
