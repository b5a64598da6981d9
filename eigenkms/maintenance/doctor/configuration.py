"""Checks of the configuration: settings, policy, and listeners of the node."""

from datetime import UTC, datetime, timedelta
from typing import Final

from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.maintenance.doctor.checks import Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.types import to_hex

RENEW_BEFORE: Final = timedelta(days=14)


async def configuration(case: CheckContext) -> Finding:
    """Check that the settings parse and fit together."""
    config = case.config
    return ok(
        f"operator {to_hex(config.operator)} on chain {config.chain.chain_id}, policy {config.policy.mode}"
    )


async def policy(case: CheckContext) -> Finding:
    """Check that no warning concerns the policy, which may be open on a devnet."""
    config = case.config
    usual = (
        "versions are not anchored",
        *(("policy is open",) if config.chain.chain_id == DEVNET_CHAIN_ID else ()),
    )
    odd = [told for told in config.warnings if not told.startswith(usual)]
    if odd:
        return warning("; ".join(odd), "read docs/security.md on policies, and set what you mean")
    return ok(f"policy {config.policy.mode}")


async def issuers(case: CheckContext) -> Finding:
    """Check that the attestation services serve their keys over HTTPS."""
    from eigenkms.attestation.jwks import KeySource

    attestation = case.config.policy.attestation
    services = attestation.services
    if case.config.policy.mode != "attested" or not services:
        return skipped("no attestation service is needed")
    found = []
    for name in (method for method in attestation.methods if method in services):
        service = services[name]
        count = await KeySource(service.keys, ca_file=attestation.ca).check()
        found.append(f"{name} serves {count} keys, images must be {' or '.join(service.support)}")
    return ok("; ".join(found))


async def certificate(case: CheckContext) -> Finding:
    """Check that the HTTP API's certificate is readable, fits its key, and is valid."""
    http = case.config.http
    if http.listen is None:
        return skipped("there is no HTTP API")
    if (files := http.tls) is None:
        return ok(f"HTTP without TLS at {http.listen}")
    files.load()
    begin, end = files.validity()
    path, now = files.certificate, datetime.fromtimestamp(case.clock(), UTC)
    renew = f"get a new certificate, write it to {path} with its chain, and start the node again"
    if now >= end:
        return failed(f"certificate {path} expired on {end:%Y-%m-%d}", renew)
    if now < begin:
        return failed(f"certificate {path} is not valid before {begin:%Y-%m-%d}", renew)
    if end - now < RENEW_BEFORE:
        return warning(f"certificate {path} expires on {end:%Y-%m-%d}", renew)
    return ok(f"certificate {path} is good until {end:%Y-%m-%d}")


async def monitor(case: CheckContext) -> Finding:
    """Check that the monitoring listener is for this machine alone: it has no login."""
    listen = case.config.monitor.listen
    if listen is None:
        return skipped("there is no monitoring listener")
    if not listen.host.is_loopback:
        return warning(
            f"the monitoring listener at {listen} has no login, and is not for this machine alone",
            f'set monitor_listen = "127.0.0.1:{listen.port}", or keep strangers from it by a firewall',
        )
    return ok(f"monitoring at {listen}, for this machine alone")
