"""A network with the policy attested and the HTTP API, whose operators accept tokens of an issuer that the tests have."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eigenkms.client.attesters import Attester, EcdsaAttester
from eigenkms.crypto import sealing
from eigenkms.devnet.node_config import Access, Timing
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Authorisation, Scope
from eigenkms.wire.client_rpc import PartialRequest
from tests.support.launcher import launch
from tests.support.live_network import LiveNetwork, Loop, Said, eigenkms, live_network
from tests.support.token_issuer import PROJECT, Authority, jwk, jwk_set, make_authority, serve
from tests.support.waiting import wait_until

SELDOM = Timing(interval_blocks=20, block_seconds=60.0, window_seconds=1.0, on_demand=True)
"""Each transaction is a block, and applications take many."""


@dataclass
class Attested:
    """Three operators with the policy attested and the HTTP API.

    ``authority`` signed the certificates of the API and of the issuers' server; launchers of workloads may listen in ``sockets``.
    """

    net: LiveNetwork
    loop: Loop
    authority: Authority
    sockets: Path

    def app(self, verb: str, *args: str | Path, code: int = 0) -> Said:
        """``eigenkms devnet app VERB``."""
        said = eigenkms("devnet", "app", verb, "--config", self.net.network.client_config, *args)
        assert said.code == code, said.err
        return said

    def secrets(self, *args: str | Path) -> Said:
        """``eigenkms secrets get``."""
        return eigenkms("secrets", "get", "--config", self.net.network.client_config, *args)

    def created(self, *args: str | Path) -> AppId:
        """A new application's id, which is all that is printed."""
        return AppId(self.app("create", *args).out.removesuffix("\n"))

    def creator(self) -> EcdsaAttester:
        return EcdsaAttester(bytes.fromhex(self.net.network.creator_key.read_text()))

    def workload(self, app: AppId) -> Path:
        """The socket of the launcher in a VM of this application, which runs ``DIGEST``."""
        socket = self.sockets / f"{app[-8:]}.sock"
        if not socket.exists():
            self.loop.enter(lambda: self.loop.stack.enter_async_context(launch(socket, app)))
        return socket

    def scope(self, index: int, app: AppId) -> Scope:
        """What a fresh request to this operator is for."""
        cluster = ClusterId(bytes.fromhex(self.net.status(index)["cluster"]))
        _, reply_key = sealing.x25519_keypair(os.urandom)
        return Scope(cluster, OperatorAddress(self.net.members[index].address), app, reply_key)

    def evidence(self, attester: Attester, scope: Scope) -> Authorisation:
        return self.loop.run(attester.attest, scope)

    def outcome(self, index: int, scope: Scope, shown: Authorisation | None) -> str:
        """What the operator answers to a request for a partial signature: "granted", or the code of its refusal."""
        transcript = bytes.fromhex(self.net.status(index)["transcript"])
        request = PartialRequest(
            scope.cluster,
            scope.app_id,
            2,
            transcript,
            scope.reply_key,
            os.urandom(32),
            None if shown is None else shown.encoded,
        )
        try:
            self.net.call(index, rpc_methods.PARTIAL, request.encoded)
        except CallRefusedError as refused:
            return refused.code
        return "granted"

    def ask(self, app: AppId, attester: Attester | None = None, index: int = 0) -> str:
        """The outcome of an honest request, with fresh evidence."""
        scope = self.scope(index, app)
        return self.outcome(index, scope, self.evidence(attester or self.creator(), scope))

    def asked_until(self, wanted: str, app: AppId, attester: Attester | None = None) -> str:
        """The outcome once it is ``wanted``: an operator looks at the chain again after a while."""
        wait_until(lambda: self.ask(app, attester) == wanted, f"an operator answers {wanted}")
        return wanted


@contextmanager
def attested_network(folder: Path) -> Iterator[Attested]:
    """With all methods and a master key; the issuers' keys come from an HTTPS server of ours."""
    authority = make_authority(folder)
    sockets = Path(tempfile.mkdtemp(prefix="ekms-"))  # a socket's path may have a hundred characters
    with Loop.opened() as loop:
        endpoint = loop.enter(lambda: loop.stack.enter_async_context(serve(authority)))
        endpoint.body = jwk_set(jwk("k1"))
        access = Access(
            "attested",
            {
                "attestation_methods": ["ecdsa", "gcp", "intel"],
                "attestation_ecdsa_reference": True,
                "attestation_project": PROJECT,
                "attestation_gcp_keys": endpoint.url,
                "attestation_intel_keys": endpoint.url,
                "attestation_ca": str(authority.ca),
                "http_listen": "127.0.0.1:0",
                "http_certificate": str(authority.server),
                "http_key": str(authority.server),
                "http_rate": 1000,
            },
        )
        with live_network(folder / "net", operators=3, timing=SELDOM, access=access) as net:
            net.start_all([0, 1, 2])
            net.genesis()
            wait_until(lambda: all(net.status(index)["share"] for index in range(3)), "each has its share")
            yield Attested(net, loop, authority, sockets)
    shutil.rmtree(sockets)
