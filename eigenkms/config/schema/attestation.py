"""Settings of the policy attested: which evidence of a right to a key is accepted."""

from eigenkms.config import parsers as p
from eigenkms.config.settings import Setting

TOKEN_METHODS = ("gcp", "intel")
"""Methods whose evidence is a token of an attestation service."""
METHODS = (*TOKEN_METHODS, "ecdsa")
SUPPORT_ATTRIBUTES = ("LATEST", "STABLE", "USABLE", "EXPERIMENTAL")
"""Support attributes of an image of Confidential Space.

Google supports LATEST and STABLE images. An image that is USABLE alone is no longer supported, an EXPERIMENTAL one not yet.
"""
GCP_SUPPORT = ("STABLE",)
INTEL_SUPPORT = ("STABLE", "EXPERIMENTAL")
"""Intel's tokens list EXPERIMENTAL for the production image for which Google's list STABLE."""

ATTESTATION = (
    Setting(
        "attestation_methods",
        p.choice(*METHODS),
        "Ways to prove the right to a key, with policy attested: gcp, intel, ecdsa; may be repeated.",
        many=True,
        default=(),
        flag_name="--attestation-method",
    ),
    Setting(
        "attestation_project",
        p.text,
        "Google Cloud project that workloads run in, for gcp and intel.",
        example="my-project",
    ),
    Setting(
        "attestation_audiences",
        p.text,
        "Accepted audience of tokens; may be repeated. A token has exactly one.",
        many=True,
        default=("https://sts.googleapis.com", "EigenX KMS"),
        flag_name="--attestation-audience",
    ),
    Setting(
        "attestation_min_swversion",
        p.integer(0, 10**9),
        "Oldest accepted image of Confidential Space.",
        int,
        default=250300,
    ),
    Setting(
        "attestation_gcp_issuer",
        p.text,
        "Issuer of gcp's tokens.",
        default="https://confidentialcomputing.googleapis.com",
    ),
    Setting(
        "attestation_gcp_keys",
        p.https_url,
        "URL of the keys (JWK set) that sign gcp's tokens.",
        default="https://www.googleapis.com/service_accounts/v1/metadata/jwk/"
        "signer@confidentialspace-sign.iam.gserviceaccount.com",
    ),
    Setting(
        "attestation_gcp_support",
        p.choice(*SUPPORT_ATTRIBUTES),
        "Support attributes of which the image in gcp's tokens must have one; may be repeated.",
        many=True,
        default=GCP_SUPPORT,
    ),
    Setting(
        "attestation_intel_issuer",
        p.text,
        "Issuer of intel's tokens.",
        default="https://portal.trustauthority.intel.com",
    ),
    Setting(
        "attestation_intel_keys",
        p.https_url,
        "URL of the keys (JWK set) that sign intel's tokens.",
        default="https://portal.trustauthority.intel.com/certs",
    ),
    Setting(
        "attestation_intel_support",
        p.choice(*SUPPORT_ATTRIBUTES),
        "Support attributes of which the image in intel's tokens must have one; may be repeated.",
        many=True,
        default=INTEL_SUPPORT,
    ),
    Setting(
        "attestation_ca",
        p.path,
        "PEM file of the certificate authorities accepted for these URLs; default: the system's.",
        is_path=True,
        example="authorities.pem",
    ),
    Setting(
        "attestation_app_rate",
        p.integer(1, 10**6),
        "Keys a second for one application, with a burst of 50 times as many.",
        int,
        default=20,
    ),
    Setting(
        "attestation_ecdsa_reference",
        p.boolean,
        "Also accept the reference's signed text, which an observer can replay at other operators.",
        bool,
        default=False,
    ),
)
