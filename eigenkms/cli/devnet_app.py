"""``eigenkms devnet app``: make applications on the chain of a devnet.

Its verbs also publish their releases, and start and stop them.
"""

import json
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from eigenkms.applications import Application, AppRelease, ContainerPolicy
from eigenkms.cli.support import client_runner
from eigenkms.cli.support.attester_options import creator_key
from eigenkms.cli.support.input_file import InputFile
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_result
from eigenkms.errors import InputError
from eigenkms.plain_text import without_mark
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.config import ChainConfig
    from eigenkms.config.settings import Settings
    from eigenkms.devnet.applications import ApplicationAdmin

_CREATOR = (*client_runner.NETWORK_SETTINGS, "ecdsa_key_file", "password_file")
_APP = "0x5fbdb2315678afecb367f032d93f642f64180aa3"


@click.group("app")
def command() -> None:
    """Manage applications on the chain of a devnet.

    These verbs read the network's client.toml: --config FOLDER/client.toml, or EIGENKMS_CONFIG. That file also names the creator's
    key, of an account with ether; --ecdsa-key-file replaces it.
    """


def _with_release(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a release, passed on as ``release``.

    It is None without --image-digest.
    """

    @wraps(function)
    def wrapped(
        *,
        image_digest: str | None,
        registry: str,
        public_env: str | None,
        encrypted_env: str | None,
        arg: tuple[str, ...],
        cmd_override: tuple[str, ...],
        env: tuple[str, ...],
        env_override: tuple[str, ...],
        restart_policy: str,
        **rest: Any,
    ) -> Any:
        policy = ContainerPolicy(arg, cmd_override, _pairs(env), _pairs(env_override), restart_policy)
        if image_digest is None:
            if policy != ContainerPolicy() or registry or public_env or encrypted_env:
                raise InputError(
                    "read the release: the digest of its image is not given",
                    hint="give --image-digest, or nothing of a release",
                )
            return function(release=None, **rest)
        release = AppRelease(
            _digest(image_digest),
            registry,
            policy,
            b"{}" if public_env is None else _read(public_env),
            b"" if encrypted_env is None else InputFile(encrypted_env).read_unarmored(),
        )
        return function(release=release, **rest)

    for option in reversed(
        (
            click.option(
                "--image-digest", metavar="DIGEST", help="Digest of the image: sha256: and 64 hex digits."
            ),
            click.option(
                "--registry", default="", metavar="TEXT", help="Name of the image, without tag and digest."
            ),
            click.option(
                "--public-env", metavar="FILE", help="JSON object of public variables: names and texts."
            ),
            click.option(
                "--encrypted-env",
                metavar="FILE",
                help="JSON object of variables, encrypted for the application.",
            ),
            click.option(
                "--arg", multiple=True, metavar="TEXT", help="Argument of the container; may be repeated."
            ),
            click.option(
                "--cmd-override",
                multiple=True,
                metavar="TEXT",
                help="Command of the container; may be repeated.",
            ),
            click.option(
                "--env",
                multiple=True,
                metavar="NAME=VALUE",
                help="Variable that must be set; may be repeated.",
            ),
            click.option(
                "--env-override",
                multiple=True,
                metavar="NAME=VALUE",
                help="Variable that must be overridden.",
            ),
            click.option(
                "--restart-policy",
                default="",
                metavar="TEXT",
                help="Restart policy: Always, Never or OnFailure.",
            ),
        )
    ):
        wrapped = option(wrapped)
    return wrapped


def _read(name: str) -> bytes:
    from eigenkms.chain.app_releases import MAX_RELEASE_BYTES

    return without_mark(InputFile(name).read(MAX_RELEASE_BYTES))


def _digest(text: str) -> bytes:
    digits = text.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits, re.ASCII):
        raise InputError(f"read image digest {text[:80]!r}: it is not sha256: and 64 hex digits")
    return bytes.fromhex(digits)


def _pairs(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"read environment variable {text[:40]!r}: it is not NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)


def _administer(
    settings: "Settings", act: "Callable[[ApplicationAdmin], Awaitable[Application]]"
) -> Application:
    """Run ``act`` on the network of ``settings``, and return the application.

    The connections are closed by then.
    """

    async def visit(config: "ChainConfig") -> Application:
        from eigenkms.devnet.applications import open_admin

        async with open_admin(config) as admin:
            return await act(admin)

    return client_runner.run(visit, client_runner.client_settings(settings))


@verb("create", "eigenkms devnet app create --config my-devnet/client.toml")
@_with_release
@settings_options(*_CREATOR)
@json_option
def _create(*, release: AppRelease | None, settings: "Settings", as_json: bool) -> None:
    """Create an application and print its id.

    With --image-digest the application gets this release and is started. Without it, the application waits for a release, so its
    secrets can be encrypted for the id first.
    """
    key = creator_key(settings, "create an application")
    made = _administer(settings, lambda admin: admin.create(key, release))
    if as_json:
        _print(made, as_json=True)
    else:
        print_result(made.app_id)


@verb(
    "release",
    f"eigenkms devnet app release --app-id {_APP} --image-digest sha256:6c1f…e0 --encrypted-env secrets.ibe",
)
@_with_release
@settings_options("app_id", *_CREATOR)
@json_option
def _release(*, release: AppRelease | None, settings: "Settings", as_json: bool) -> None:
    """Publish and confirm a release of an application.

    An option that is not given is empty in the release. The container must run with exactly the given arguments and command, if
    any, and with at least the given variables.
    """
    if release is None:
        raise InputError("read the release: the digest of its image is not given", hint="give --image-digest")
    app_id = client_runner.checked_app_id(settings)
    key = creator_key(settings, "publish a release")
    _print(_administer(settings, lambda admin: admin.release(app_id, key, release)), as_json=as_json)


def _status_verb(change: str, text: str, *, by_creator: bool) -> click.Command:
    @verb(change, f"eigenkms devnet app {change} --app-id {_APP}")
    @settings_options("app_id", *(_CREATOR if by_creator else client_runner.NETWORK_SETTINGS))
    @json_option
    def declared(*, settings: "Settings", as_json: bool) -> None:
        app_id = client_runner.checked_app_id(settings)
        key = creator_key(settings, f"{change} application {app_id}") if by_creator else None
        _print(_administer(settings, lambda admin: admin.change(app_id, key, change)), as_json=as_json)

    declared.help = text
    return declared


@verb("show", f"eigenkms devnet app show --app-id {_APP} --json")
@settings_options("app_id", *client_runner.NETWORK_SETTINGS)
@json_option
def _show(*, settings: "Settings", as_json: bool) -> None:
    """Show an application: creator, status and release."""
    app_id = client_runner.checked_app_id(settings)
    _print(_administer(settings, lambda admin: admin.show(app_id)), as_json=as_json)


def facts(application: Application) -> dict[str, Any]:
    """Return the fields that ``--json`` prints."""
    release = application.release
    found: dict[str, Any] = dict.fromkeys(_RELEASE_FACTS)
    if release is not None:
        policy = release.policy
        values = (
            "sha256:" + release.image_digest.hex(),
            release.registry,
            json.loads(release.public_env),
            len(release.encrypted_env),
            list(policy.args),
            list(policy.cmd_override),
            ["=".join(pair) for pair in policy.env],
            ["=".join(pair) for pair in policy.env_override],
            policy.restart_policy,
        )
        found = dict(zip(_RELEASE_FACTS, values, strict=True))
    creator = to_hex(application.creator)
    return {
        "app_id": application.app_id,
        "creator": creator,
        "status": str(application.status),
        **found,
    }


_RELEASE_FACTS = (
    "image_digest",
    "registry",
    "public_env",
    "encrypted_env_bytes",
    "args",
    "cmd_override",
    "env",
    "env_override",
    "restart_policy",
)


def _print(application: Application, *, as_json: bool) -> None:
    """Print an application as JSON, or the values that it has as lines.

    A release's own text is escaped, so that it does not control the terminal.
    """
    shown = facts(application)
    if not as_json:
        shown = {name: _plain(value) for name, value in shown.items() if value is not None}
    print_result_fields(shown, as_json=as_json)


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() and value else json.dumps(value)


_STATUS_VERBS = (
    _status_verb("start", "Start an application that is not running.", by_creator=True),
    _status_verb("stop", "Stop an application, so that it gets no keys.", by_creator=True),
    _status_verb("terminate", "End an application for good.", by_creator=True),
    _status_verb("suspend", "Suspend an application, as the network's owner.", by_creator=False),
    _status_verb("resume", "End a suspension; the application stays stopped.", by_creator=False),
)

for _verb in (_create, _release, *_STATUS_VERBS, _show):
    command.add_command(_verb)
