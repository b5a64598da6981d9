"""Publicly verifiable dealings: shares of all recipients, encrypted and proven.

A dealing carries every share f(x_i), encrypted to its recipient, with a proof that it is that share. Anybody
can check such a dealing, so no recipient needs to be there, to complain or to be answered. A verified dealing
that anybody keeps serves each recipient that has its key, at any later time.

The shape is that of Groth, *Non-interactive distributed key generation and key resharing* (ePrint 2021/339):
chunks encrypted by ElGamal "in the exponent" to all recipients with shared randomness, a proof of correct
sharing, a proof of small chunks. Its forward-secure encryption is left out: keys are renewed instead. Three
things are ours: bits as challenges of the range proof, one randomness for all masks, and one linear proof for
all equations. Nobody outside the project has reviewed this module. docs/dealing.md tells the same with figures.

**Notation.** n recipients with coordinates x_i and keys ``y_i = sk_i·G1``. The dealer's polynomial f has t
coefficients, committed to by ``com_j = a_j·G2``. B = 2^16, 16 chunks k, 128 repetitions j. Share
``s_i = f(x_i) = Σ_k s_ik·B^k mod R`` with digits s_ik in −B/2..B/2−1.

**Dealing.** ``R_k = r_k·G1``; ``C_ik = s_ik·G1 + r_k·y_i``; ``base = β·G1``; ``Q_j = σ_j·G1 + β·Y_j``, with
Y_j hashed to the curve, so that nobody knows a logarithm, and σ_j uniform in ±mask;
``z_j = Σ_ik e_ikj·s_ik + σ_j`` for the bits e drawn from all of this. If a z_j lies beyond ±response, or a
sum beyond ±honest, the dealer draws new masks (``parameters.Bounds``).

**Equations**, after the weights ω_j and γ_i are drawn from the z_j as well, with ``c_ik = Σ_j ω_j·e_ikj``.
One Schnorr proof with announcements A, challenge χ and answers u shows that there are r_k, β and a with

    (1)  r_k·G1 = R_k                                                     for each k
    (2)  β·G1 = base
    (3)  Σ_ik r_k·c_ik·y_i + β·Σ_j ω_j·Y_j = Σ_ik c_ik·C_ik + Σ_j ω_j·Q_j − (Σ_j ω_j·z_j)·G1
    (4)  a·G1 + (Σ_k B^k·r_k)·Σ_i γ_i·y_i = Σ_ik γ_i·B^k·C_ik
    (5)  a·G2 = Σ_j (Σ_i γ_i·x_i^j)·com_j

The verifier checks besides that every point is canonical and in the subgroup, that ``|z_j| ≤ response``, that
there are t commitments, and in a rotation that com_0 is the dealer's public share of the source.

**Soundness.** R_k and base fix r_k and β, so C_ik fixes s_ik and Q_j fixes σ_j, modulo R and whatever the
dealer does. Each step below lets a false claim pass with the probability given at most, for each hash that a
forger computes. So q hashes forge with probability below q·2^-125.

- (1) to (5) hold for the r_k, β and a that are fixed, or one value of χ at most is answered for (2^-128 for
  each of the two equations that can then be false).
- (4) and (5): ``Σ_i γ_i·(Σ_k B^k·s_ik − f(x_i)) = 0``; so all sums are the shares (2^-128).
- (3): ``z_j = Σ e_ikj·s_ik + σ_j mod R`` for every j (2^-128).
- Range: if s_ik mod R has no representative in ±2·response, then for each j the two values of e_ikj give sums
  that cannot both be in ±response. All other bits and σ_j are fixed, so a repetition passes with 1/2 at most,
  and all of them with 2^-128.

**Slack.** An accepted digit is in ±digit = ±2·response, not in ±B/2: up to 2^30.6 for n = 20. The digits'
weighted sum is the share all the same, so this costs a recipient time and nothing else: ``decrypter`` searches
±digit, at most 778,000 additions for n = 20. A dealer cannot stretch all 16 digits so far: half of the
digits, taken at random, must fit 128 times. Sixteen digits of response/4 each fit after about 16 tries, of
response/3 after 2^15, of response/2 after 2^44, of response after 2^112.

**What a forger gains.** With 2^128 hashes: a recipient that cannot decrypt (range), or gets a share that does
not fit the commitments (sharing), which it notices. No secret, and no other master key.

**Secrecy.** Under the decisional Diffie-Hellman assumption in G1 (there is a pairing, so this is half of SXDH)
the ciphertexts of recipients that keep their secrets say nothing, in the random oracle model: the proof is
simulated, as z_j is uniform in ±response whatever the digits are, and the linear proof is honest-verifier
zero-knowledge. Beyond the commitments nothing of a share is shown, not even s_i·G1. sk·G2 and r·G2 must never
be shown (``encryption_key``). A recipient's key must come with a proof of possession. The proof is one of
knowledge of r_k, so copied or changed ciphertexts cannot be dealt on, and a decrypter is no oracle.

**Replay.** The hash covers cluster, session, dealer, source, recipients and keys in order, commitments, and
all of the dealing that was fixed before. So a proof holds for one context only.

Keys that are stolen later open the dealings that were made to them. That is what keys are renewed and
erased for, by the protocol.
"""

from eigenkms.crypto.pvss.dealing import DealingContext, EncryptedShare, EncryptedShares
from eigenkms.crypto.pvss.decrypter import decrypt, most_additions
from eigenkms.crypto.pvss.encryption_key import EncryptionKey, KeySlot, check_possession, prove_possession
from eigenkms.crypto.pvss.errors import InvalidDealing, InvalidEncryptionKey, UndecryptableShare
from eigenkms.crypto.pvss.logarithms import LogarithmTable
from eigenkms.crypto.pvss.parameters import MAX_RECIPIENTS, Bounds, bounds_for, encoded_size
from eigenkms.crypto.pvss.prover import deal
from eigenkms.crypto.pvss.recipients import Recipients, ShareRecipient
from eigenkms.crypto.pvss.verifier import DealingClaim, check_dealing, find_invalid

__all__ = [
    "MAX_RECIPIENTS",
    "Bounds",
    "DealingClaim",
    "DealingContext",
    "EncryptedShare",
    "EncryptedShares",
    "EncryptionKey",
    "InvalidDealing",
    "InvalidEncryptionKey",
    "KeySlot",
    "LogarithmTable",
    "Recipients",
    "ShareRecipient",
    "UndecryptableShare",
    "bounds_for",
    "check_dealing",
    "check_possession",
    "deal",
    "decrypt",
    "encoded_size",
    "find_invalid",
    "most_additions",
    "prove_possession",
]
