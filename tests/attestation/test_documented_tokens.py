"""Tokens of the shapes that Google and Intel document, and their users published, against the defaults of the settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from eigenkms.attestation.confidential_space import GCP, INTEL, ConfidentialSpace, Expectations
from eigenkms.attestation.interface import AttestationRefusedError, Claims, Context
from eigenkms.config.schema import SETTINGS
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Scope
from tests.support.token_issuer import FetchedKeys, jwk, jwk_set, token

FOLDER = Path(__file__).parent / "documented"
FILES = sorted(path.stem for path in FOLDER.glob("*.json"))
CONTEXT = Context(Scope(ClusterId(b"\x01" * 32), OperatorAddress(b"\x02" * 20), AppId("app"), b"\x03" * 32))


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def service_of(made: dict[str, Any]) -> ConfidentialSpace:
    """As a node has it that sets nothing but its project, with our key under the token's id in hand."""
    name, header = made["method"], made["header"]
    issuer, url = (SETTINGS[f"attestation_{name}_{what}"].default for what in ("issuer", "keys"))
    assert isinstance(issuer, str)
    assert isinstance(url, str)
    keys = FetchedKeys.of(jwk_set(jwk("k1", kid=header["kid"], alg=header["alg"])), url)
    defaults: dict[str, Any] = {
        "audiences": SETTINGS["attestation_audiences"].default,
        "min_swversion": SETTINGS["attestation_min_swversion"].default,
        "support": SETTINGS[f"attestation_{name}_support"].default,
    }
    project = made["claims"]["submods"]["gce"]["project_id"]
    expected = Expectations(issuer=issuer, project_id=project, **defaults)
    return ConfidentialSpace({"gcp": GCP, "intel": INTEL}[name], expected, keys)


async def verify(made: dict[str, Any]) -> Claims:
    """Of a token with these claims and header, signed by us, in the middle of its life."""
    header, claims = made["header"], made["claims"]
    evidence = token(claims, alg=header["alg"], header=header)
    return await service_of(made).verify(evidence, CONTEXT, (claims["iat"] + claims["exp"]) / 2)


@pytest.mark.parametrize("name", FILES)
async def test_a_token_as_it_is_in_the_field(name: str) -> None:
    """A good one says what runs, for how long, and for whom; all others are refused for what is wrong with them."""
    made = load(name)
    if made["refusal"] is not None:
        with pytest.raises(AttestationRefusedError) as error:
            await verify(made)
        assert error.value.code == made["refusal"]
        return
    claims, submods = made["claims"], made["claims"]["submods"]
    nonces = claims["eat_nonce"]
    found = await verify(made)
    assert (found.method, found.expires_at) == (made["method"], claims["exp"])
    assert submods["gce"]["instance_name"].endswith(found.app_id)
    assert found.image is not None
    assert f"sha256:{found.image.digest.hex()}" == submods["container"]["image_digest"]
    assert found.image.container.args == tuple(submods["container"]["args"])
    assert found.nonces == {nonce.lower() for nonce in ([nonces] if isinstance(nonces, str) else nonces)}


def test_tokens_of_both_services_are_there_that_are_accepted() -> None:
    """So that the test above has both to say yes and no to."""
    made = [load(name) for name in FILES]
    assert {each["method"] for each in made if each["refusal"] is None} == {"gcp", "intel"}
    assert {each["refusal"] for each in made} >= {"wrong-platform", "debug-enabled", "not-bound"}


@pytest.mark.parametrize("name", [name for name in FILES if load(name)["refusal"] is None])
async def test_a_token_without_a_name_is_named_by_all_that_is_signed(name: str) -> None:
    """The same token is the same use, whatever the service signed it with; any other claim or key id makes it another one."""
    made = load(name)
    assert "jti" not in made["claims"]
    header = {**made["header"], "kid": "another"}
    later = {**made["claims"], "iat": made["claims"]["iat"] + 1}
    named = {**made["claims"], "jti": "token"}
    first, again = await verify(made), await verify(load(name))
    others = [
        await verify({**made, **change})
        for change in ({"header": header}, {"claims": later}, {"claims": named})
    ]
    assert first.use_id == again.use_id
    assert len({first.use_id, *(other.use_id for other in others)}) == 4
