"""Settings of the chain, of the anchor, and of the sending account."""

from eigenkms.config import parsers as p
from eigenkms.config.settings import Setting

DEFAULT_FINALITY, DEFAULT_ANCHOR_FINALITY = "finalized", "latest"
"""Text forms of the defaults that apply if a finality is not set."""

CHAIN = (
    Setting(
        "environment",
        p.text,
        "Preset of contracts and intervals: sepolia, mainnet or devnet.",
        example="sepolia",
    ),
    Setting(
        "rpc_url",
        p.rpc_url,
        "JSON-RPC endpoint of the L1 chain, the preferred one first; may be repeated.",
        many=True,
        scalar_allowed=True,
    ),
    Setting("chain_id", p.integer(1, 2**63 - 1), "Id that the L1 chain must have.", int),
    Setting("avs", p.address, f"Address of the AVS ({p.ADDRESS_FORM})."),
    Setting("operator_set_id", p.integer(0, 2**32 - 1), "Operator set of the AVS.", int, default=0),
    Setting("allocation_manager", p.address, "EigenLayer's AllocationManager contract."),
    Setting("key_registrar", p.address, "EigenLayer's KeyRegistrar contract."),
    Setting(
        "app_controller",
        p.address,
        "Contract of applications and releases, for policy attested and for secrets.",
    ),
    Setting("finality", p.finality, "Blocks that count: finalized, safe, latest or latest-K."),
)

ANCHOR = (
    Setting(
        "anchor_rpc_url",
        p.rpc_url,
        "JSON-RPC endpoint of the chain with the commitment registry, if there is one.",
    ),
    Setting("anchor_chain_id", p.integer(1, 2**63 - 1), "Id that the anchor's chain must have.", int),
    Setting("anchor_registry", p.address, "Commitment registry of the cluster, on the anchor's chain."),
    Setting(
        "anchor_finality",
        p.finality,
        "Blocks of the anchor's chain that count for clients: finalized, safe, latest or latest-K.",
        example="latest",
    ),
    Setting(
        "anchor_account_keystore",
        p.path,
        "Encrypted keystore of the operator's account, which writes to the anchor; without it the node only reads.",
        is_path=True,
        example="account.json",
    ),
    Setting(
        "anchor_password_file",
        p.path,
        "File whose first line is the password of anchor_account_keystore; default: the node's own password.",
        is_path=True,
        example="account-password",
    ),
)

ACCOUNT = (
    Setting("delegation_manager", p.address, "EigenLayer's DelegationManager contract."),
    Setting(
        "account_keystore",
        p.path,
        "Encrypted keystore (of eigenkms or geth) of the account that sends transactions.",
        is_path=True,
        example="account.json",
    ),
    Setting(
        "account_password_file",
        p.path,
        "File whose first line is the password of account_keystore.",
        is_path=True,
        example="account-password",
    ),
    Setting(
        "web3signer_url",
        p.signer_url,
        "URL of a web3signer that holds the account's key, instead of a keystore.",
    ),
    Setting("account", p.address, "Address of the account that web3signer signs for."),
    Setting(
        "max_gas_price_gwei",
        p.integer(1, 10**6),
        "Highest price of a unit of gas, in gwei.",
        int,
        default=100,
    ),
    Setting(
        "confirmations",
        p.integer(1, 1000),
        "Confirmations of a transaction, its own block included.",
        int,
        default=1,
    ),
)
