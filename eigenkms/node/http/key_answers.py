"""Answers of one operator about its keys: public key, partial signatures, secrets.

    decoded request → a version that is held → the policy → the answer → its entry in the audit log → JSON

A request through libp2p meets the same policy and the same issuer (``client_handlers``).
"""

from dataclasses import dataclass

from eigenkms.authorisation.policy import Policy
from eigenkms.authorisation.signature_issuer import IssueRequest, PartialSignatureIssuer
from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.node.http import responses
from eigenkms.node.http.errors import ApiError, no_version, stack_not_supported
from eigenkms.node.http.requests import SecretsRequest, SignRequest
from eigenkms.node.key_versions import Versions
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire.transcript import Transcript


@dataclass(frozen=True)
class KeyAnswers:
    """The answers of ``operator`` from its ``versions``, encoded as JSON.

    ``app_sign`` gives anybody partial signatures in the clear, if the policy is open too.
    """

    cluster: ClusterId
    operator: OperatorAddress
    versions: Versions
    policy: Policy
    issuer: PartialSignatureIssuer
    app_sign: bool

    def pubkey(self) -> bytes:
        """Return the newest master public key with its commitments.

        Raises ``ApiError`` if there is none yet.
        """
        held = self.versions.newest
        if held is None:
            raise no_version("no master key has been generated yet")
        return responses.pubkey_answer(self.operator, held.epoch.transcript)

    def require_app_sign(self) -> None:
        """Raise ``ApiError`` unless anybody may have partial signatures in the clear."""
        if not self.app_sign or self.policy.mode != "open":
            raise ApiError(
                403,
                "development-only",
                "this operator gives no partial signatures to whoever asks",
                hint="use /secrets with an attestation",
            )

    async def sign(self, request: SignRequest, client: str) -> bytes:
        """Return a partial signature in the clear, once its log entry is durable.

        Raises ``ApiError``, ``AttestationRefusedError`` and ``StorageError``.
        """
        transcript, share = self._version(request.attestation_time)
        grant = await self.policy.authorise(request, client=client)

        def make() -> bytes:
            identity = identity_of(1, self.cluster, request.app_id)
            return responses.sign_answer(self.operator, bls.partial_sign(share, identity))

        issue = IssueRequest(request.app_id, 1, transcript, request.reply_key)
        return await self.issuer.issue(issue, grant, make, client=client)

    async def secrets(self, request: SecretsRequest, client: str) -> bytes:
        """Return the release's environment, with a partial signature that is sealed.

        It is sealed to the key of the request. The log entry is durable then. Raises ``ApiError``, ``AttestationRefusedError`` and
        ``StorageError``.
        """
        if request.is_for_stack:
            raise stack_not_supported()
        transcript, share = self._version(request.attestation_time)
        grant = await self.policy.authorise(request, client=client, reference_nonce=request.reference_nonce)
        release = None if grant is None else grant.application.release

        def make() -> bytes:
            identity = identity_of(request.ciphertext_version, self.cluster, request.key_id)
            return responses.secrets_answer(request, release, bls.partial_sign(share, identity))

        issue = IssueRequest(request.key_id, request.ciphertext_version, transcript, request.reply_key)
        return await self.issuer.issue(issue, grant, make, client=client)

    def _version(self, at: int) -> tuple[Transcript, SecretScalar]:
        """Return a version that this operator holds a share of, with the share.

        It is the newest that was made up to the time ``at`` (unix seconds). If there is none, or ``at`` is 0, it is the newest of
        all. Answers name no version, and fit together only if all operators choose the same one. So they choose by the client's
        time, not by what each has received. Shares of older versions are erased (docs/http.md, Which version).
        """
        held = [(each.epoch.transcript, each.share) for each in self.versions if each.share is not None]
        if not held:
            raise no_version("this operator holds no share of the master key yet")
        made = [each for each in held if each[0].version <= at] if at else held
        return (made or held)[-1]
