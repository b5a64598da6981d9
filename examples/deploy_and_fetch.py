"""From deployment to decrypted secret, as the account that creates the application.

    $ eigenkms devnet up --dir my-devnet --policy attested --attestation-method ecdsa
    $ python examples/deploy_and_fetch.py my-devnet

The application is made first, since its id, an address, is what its environment is encrypted for. Then the release is published,
with the encrypted environment in it, and the application started. Operators give the key to whoever signs as the creator, and to
nobody else.
"""

import json
import secrets
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import trio
from network import read_settings

from eigenkms.client import AppId, Client, EcdsaAttester, encrypt, open_client
from eigenkms.errors import RefusedError

IMAGE = "sha256:" + "cd" * 32
"""Digest of the image that runs, as the registry has it; here of none."""


def eigenkms(*words: str | Path) -> str:
    """Run the command line; what it prints."""
    command = [sys.executable, "-m", "eigenkms.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def create(config: Path) -> AppId:
    """Make an application on chain, without a release yet; its id."""
    made: dict[str, Any] = json.loads(eigenkms("devnet", "app", "create", "--config", config, "--json"))
    return AppId(made["app_id"])


def release(config: Path, app_id: AppId, public: dict[str, str], encrypted: bytes) -> None:
    """Publish a release with this environment, have it confirmed, and start the application."""
    with tempfile.TemporaryDirectory() as folder:
        public_file, encrypted_file = Path(folder) / "public.json", Path(folder) / "encrypted.ibe"
        public_file.write_text(json.dumps(public))
        encrypted_file.write_bytes(encrypted)
        environment = ("--public-env", public_file, "--encrypted-env", encrypted_file)
        image = ("--image-digest", IMAGE, "--registry", "docker.io/acme/app")
        eigenkms("devnet", "app", "release", "--config", config, "--app-id", app_id, *image, *environment)
    eigenkms("devnet", "app", "start", "--config", config, "--app-id", app_id)


async def deploy(client: Client, config: Path) -> tuple[AppId, dict[str, str]]:
    """An application with a release; its id, and the secrets that were encrypted for it."""
    app_id = await trio.to_thread.run_sync(create, config)
    print(f"created application {app_id}")
    cluster = await client.fetch()
    hidden = {"API_KEY": secrets.token_hex(16)}
    sealed = encrypt(cluster, app_id, json.dumps(hidden).encode())
    publish = partial(release, config, app_id, {"MODE": "production"}, sealed)
    await trio.to_thread.run_sync(publish)
    print(f"released it with {len(sealed)} bytes of encrypted environment")
    return app_id, hidden


async def main(folder: Path) -> None:
    config = folder / "client.toml"
    creator = EcdsaAttester(bytes.fromhex((folder / "creator.key").read_text()))
    async with open_client(read_settings(config)) as client:
        app_id, hidden = await deploy(client, config)
        try:
            await client.fetch_secrets(app_id)
        except RefusedError as refused:
            print(f"without attestation: exit code {refused.exit_code}, {str(refused).partition(';')[0]}")
        found = await client.fetch_secrets(app_id, creator)
        assert found == {"MODE": "production", **hidden}
        print(f"as the creator: {found}")
    shown = eigenkms(
        *("exec", "--config", config, "--app-id", app_id, "--attest", "ecdsa"),
        *("--ecdsa-key-file", folder / "creator.key", "--", "sh", "-c", 'printf %s "$MODE $API_KEY"'),
    )
    assert shown == f"production {hidden['API_KEY']}"
    print("eigenkms exec has the same in its environment")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
