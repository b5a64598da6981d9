"""The contracts in the package: the interface that EigenLayer's callers use, and bytes that are those of the sources."""

import subprocess
import sys
from pathlib import Path

import pytest

from eigenkms.chain import abi, revert_reasons
from eigenkms.chain.contracts import artefact
from eigenkms.crypto.hashing import keccak256
from eigenkms.types import to_hex
from tests.support.tools import require

ROOT = Path(__file__).resolve().parents[2]

SELECTORS = {
    abi.GET_MEMBERS: "6e875dba",
    abi.GET_AVS_REGISTRAR: "304c10cd",
    abi.GET_SOCKET: "8481931d",
    abi.GET_CURVE_TYPE: "7cffe48c",
    abi.GET_BN254_KEY: "9a43e3fb",
    abi.BN254_MESSAGE_HASH: "7690e395",
    abi.REGISTER_KEY: "d40cda16",
    abi.DEREGISTER_KEY: "87ab86f4",
    abi.IS_OPERATOR: "6d70f7ae",
    abi.REGISTER_AS_OPERATOR: "2aa6d888",
    abi.REGISTER_FOR_SETS: "adc2e3d9",
    abi.UPDATE_SOCKET: "6591666a",
    abi.CREATE_OPERATOR_SETS: "261f84e0",
    abi.GET_APP_CREATOR: "67962d48",
    abi.GET_APP_STATUS: "d5aae178",
    abi.GET_APP_RELEASE_BLOCK: "9ffbdce6",
    abi.SUBMIT_COMMITMENT: "d50b3748",
    abi.GET_COMMITMENT: "56a62d0f",
}

TOPICS = {
    abi.ADDED: "43232edf9071753d2321e5fa7e018363ee248e5f2142e6c08edd3265bfb4895e",
    abi.REMOVED: "ad34c3070be1dffbcaa499d000ba2b8d9848aefcac3059df245dd95c4ece14fe",
    abi.KEY_REGISTERED: "1201ce0c5e577111bce91e907fd99cb183da5edc1e3fb650ca40769e4e9176dd",
    abi.KEY_DEREGISTERED: "28d3c3cee49478ec6fd219cfd685cd15cd01d95cabf69b4b7b57f9eaa3eb6442",
    abi.APP_UPGRADED: "5e69c7a791a6bb49176e938952d5ebf7b706e399ca57a98ea0de48d5ed248408",
    abi.COMMITMENT_SUBMITTED: "c67cced54d126bd1721153300cdbf3ee48fdd6f98a5a643b5afa983f558419d5",
}

OWNERS = {
    "AllocationManager": [
        abi.GET_MEMBERS,
        abi.IS_OPERATOR_SET,
        abi.GET_AVS_REGISTRAR,
        abi.UPDATE_AVS_METADATA_URI,
        abi.SET_AVS_REGISTRAR,
        abi.CREATE_OPERATOR_SETS,
        abi.REGISTER_FOR_SETS,
        abi.DEREGISTER_FROM_SETS,
        abi.DEALLOCATION_DELAY,
    ],
    "AppController": [
        abi.CREATE_APP,
        abi.CREATE_EMPTY_APP,
        abi.CALCULATE_APP_ID,
        abi.UPGRADE_APP,
        abi.CONFIRM_UPGRADE,
        abi.START_APP,
        abi.STOP_APP,
        abi.TERMINATE_APP,
        abi.SUSPEND_APP,
        abi.RESUME_APP,
        abi.GET_APP_CREATOR,
        abi.GET_APP_STATUS,
        abi.GET_APP_RELEASE_BLOCK,
    ],
    "CommitmentRegistry": [
        abi.SUBMIT_COMMITMENT,
        abi.GET_COMMITMENT,
        abi.PROVE_EQUIVOCATION,
        abi.EQUIVOCATION_PROVEN,
        abi.SET_MEMBER,
        abi.IS_REGISTRY_MEMBER,
        abi.SUBMISSIONS,
        abi.REGISTRY_CHAIN_ID,
        abi.REGISTRY_AVS,
        abi.REGISTRY_SET,
    ],
    "DelegationManager": [abi.IS_OPERATOR, abi.REGISTER_AS_OPERATOR],
    "KeyRegistrar": [
        abi.GET_CURVE_TYPE,
        abi.GET_BN254_KEY,
        abi.CONFIGURE_OPERATOR_SET,
        abi.REGISTER_KEY,
        abi.DEREGISTER_KEY,
        abi.BN254_MESSAGE_HASH,
        abi.VERSION,
    ],
    "EigenKMSRegistrar": [
        abi.SUPPORTS_AVS,
        abi.GET_SOCKET,
        abi.UPDATE_SOCKET,
        abi.ADD_TO_ALLOWLIST,
        abi.REMOVE_FROM_ALLOWLIST,
        abi.IS_ALLOWED,
    ],
}


def _type(entry: dict) -> str:
    if not entry["type"].startswith("tuple"):
        return entry["type"]
    inner = ",".join(_type(component) for component in entry["components"])
    return f"({inner}){entry['type'][5:]}"


def signatures(name: str, kind: str) -> set[str]:
    return {
        f"{entry['name']}({','.join(_type(argument) for argument in entry['inputs'])})"
        for entry in artefact(name).abi
        if entry["type"] == kind
    }


@pytest.mark.parametrize("function", SELECTORS, ids=lambda function: function.name)
def test_selectors_are_those_of_eigenlayer(function: abi.Function) -> None:
    """What is sent to a public chain is what its contracts listen to."""
    assert function.selector.hex() == SELECTORS[function]


@pytest.mark.parametrize("topic", TOPICS, ids=TOPICS.values())
def test_event_topics_are_those_of_eigenlayer(topic: bytes) -> None:
    """What is searched in the logs is what the contracts of a public chain emit."""
    assert topic.hex() == TOPICS[topic]


@pytest.mark.parametrize("name", OWNERS)
def test_the_own_contracts_have_every_function_that_is_called(name: str) -> None:
    """The devnet offers the same functions, by selector."""
    offered = {keccak256(signature.encode())[:4] for signature in signatures(name, "function")}
    assert {function.selector for function in OWNERS[name]} <= offered


def test_the_own_contracts_emit_the_events_that_are_read() -> None:
    """By topic."""
    emitted = {keccak256(signature.encode()) for name in OWNERS for signature in signatures(name, "event")}
    assert set(TOPICS) <= emitted


def test_every_error_of_the_contracts_has_its_sentence() -> None:
    """A revert is told in words, whatever the contract."""
    for name in OWNERS:
        for signature in signatures(name, "error"):
            reason, _ = revert_reasons.explain_revert(keccak256(signature.encode())[:4], "execution reverted")
            assert not reason.startswith("the contract refused"), signature


def test_unknown_reverts_are_told_as_they_are() -> None:
    """Error(string), an unknown selector, broken data and nothing at all."""
    told = bytes.fromhex("08c379a0") + bytes(31) + b"\x20" + bytes(31) + b"\x02no" + bytes(30)
    assert revert_reasons.explain_revert(told, "")[0] == "the contract refused: 'no'"
    assert revert_reasons.explain_revert(told[:40], "")[0] == "the contract refused: 'unreadable'"
    assert (
        revert_reasons.explain_revert(b"\x01\x02\x03\x04", "")[0]
        == "the contract refused with error 0x01020304"
    )
    assert (
        revert_reasons.explain_revert(b"", "reverted")[0]
        == "the contract refused without a reason ('reverted')"
    )


@pytest.mark.parametrize("name", OWNERS)
def test_artefacts_are_reproducible_bytes(name: str) -> None:
    """No metadata hash, no path of the machine that compiled."""
    compiled = artefact(name)
    assert compiled.name == name
    assert compiled.bytecode
    assert b"ipfs" not in compiled.bytecode
    assert to_hex(compiled.bytecode).startswith("0x6")


@pytest.mark.slow
def test_artefacts_are_what_the_sources_compile_to() -> None:
    """scripts/build-contracts --check compares every byte."""
    require("solc")
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "build-contracts"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 artefacts, 0 differ" in run.stdout


def test_nothing_names_a_package_registry() -> None:
    """The lock file holds versions and hashes only: any registry serves."""
    lock = (ROOT / "contracts" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
