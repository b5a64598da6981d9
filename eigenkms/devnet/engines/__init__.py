"""Chains on this machine, each in a process that dies with its parent.

``embedded`` is py-evm behind JSON-RPC and needs nothing but Python; ``anvil`` is Foundry's, faster and closer to a
public node. Both mine each transaction in a block of its own, and also an empty block every ``block_time`` seconds.
Both answer to ``evm_mine``, ``anvil_mine``, ``anvil_rollback``, ``evm_snapshot``, ``evm_revert`` and
``evm_setAutomine``, so that reorganisations can be made. Both call the head minus one ``safe`` and the head minus two
``finalized``.

Block timestamps are whole seconds and strictly increase, as on every Ethereum chain. More than one block a second
(a short ``block_time``, or several transactions) therefore makes the chain's time run ahead of the wall clock.

The accounts are the same on both, derived from a public string: they are worthless anywhere else.
"""

from eigenkms.devnet.engines.launch import ENGINES, ChainProcess, EngineName, open_engine

__all__ = ["ENGINES", "ChainProcess", "EngineName", "open_engine"]
