"""Curves, sharing, signatures, identity-based encryption and key files.

Pure functions: no I/O, no clock, no global randomness.

Points cross every module boundary as canonical bytes: BLS12-381 compressed as in ZCash and the IETF drafts
(G1 48 bytes, G2 96), BN254 as the EVM precompiles read it (signature ``X ‖ Y`` 64 bytes, G2 key ``X.c1 ‖
X.c0 ‖ Y.c1 ‖ Y.c0`` 128 bytes), all big-endian. Secret scalars travel inside types that print redacted.
Functions that need randomness take ``rng``: n -> n random bytes.
"""
