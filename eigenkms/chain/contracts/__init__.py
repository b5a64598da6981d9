"""The contracts of a development chain, and the commitment registry.

Their source is in ``src``, the compiled artefacts are in ``artifacts``. They offer the part of EigenLayer's interface that
the network uses, with the same names, events, errors and order of checks. They leave out delegation, stake, slashing,
appointed callers, contract (ERC-1271) signers and upgradeable proxies. The AppController has the functions that are read, and
its event, as the deployed one has them; errors, and who may change what, are its own. The artefacts are what
scripts/build-contracts makes of the sources, to the byte.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Artefact:
    """A compiled contract: its ABI as JSON data and its creation bytecode, without constructor arguments."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes


@cache
def artefact(name: str) -> Artefact:
    """AllocationManager, AppController, CommitmentRegistry, DelegationManager, EigenKMSRegistrar or KeyRegistrar."""
    text = (resources.files(__package__) / "artifacts" / f"{name}.json").read_text()
    fields = json.loads(text)
    return Artefact(fields["contractName"], tuple(fields["abi"]), bytes.fromhex(fields["bytecode"][2:]))
