"""Check that the configuration fits the chain before anything is read by it."""

from collections.abc import Collection

from eigenkms.chain import abi
from eigenkms.chain.block_reader import BlockReader, call_request, code_request, decode_address
from eigenkms.chain.config import ChainConfig
from eigenkms.chain.operator_keys import CURVES
from eigenkms.chain.rpc import RpcRefusedError
from eigenkms.chain.rpc_values import Json, parse_bytes
from eigenkms.errors import ChainError
from eigenkms.types import to_hex


async def check_deployment(chain: BlockReader, curves: Collection[int] = (abi.CURVE_BN254,)) -> int:
    """Check chain id, contracts, operator set and registrar.

    Return the curve of the set's keys, one of ``curves``.

    Raises ChainError.
    """
    config = chain.config
    manager, keys = config.allocation_manager, config.key_registrar
    named = {"allocation manager": manager, "key registrar": keys}
    codes = await chain.batch([code_request(address) for address in named.values()])
    for (name, address), code in zip(named.items(), codes, strict=True):
        chain.require_code(name, address, code)
    set_id = (config.avs, config.operator_set_id)
    answers = await chain.batch(
        [
            call_request(manager, abi.IS_OPERATOR_SET.encode(set_id), "latest"),
            call_request(manager, abi.GET_AVS_REGISTRAR.encode(config.avs), "latest"),
            call_request(keys, abi.GET_CURVE_TYPE.encode(set_id), "latest"),
        ]
    )
    _require_set(config, answers[0])
    curve = _require_curve(config, curves, answers[2])
    await _require_registrar(chain, decode_address(abi.GET_AVS_REGISTRAR, answers[1]))
    return curve


def _require_set(config: ChainConfig, answer: Json) -> None:
    (exists,) = abi.IS_OPERATOR_SET.decode(parse_bytes(answer, "answer of isOperatorSet"))
    if not exists:
        raise ChainError(
            f"check operator set {_set_name(config)}: it does not exist",
            hint="correct the AVS address or the operator set id, or let the AVS create the set",
        )


def _require_curve(config: ChainConfig, curves: Collection[int], answer: Json) -> int:
    (curve,) = abi.GET_CURVE_TYPE.decode(parse_bytes(answer, "answer of getOperatorSetCurveType"))
    if curve not in curves:
        wanted = " or ".join(CURVES[each] for each in curves)
        raise ChainError(
            f"check operator set {_set_name(config)}: its key curve is {CURVES.get(curve, f'unknown type {curve}')}, "
            f"not {wanted}",
            hint=f"use an operator set that the AVS configured for {wanted} keys in the key registrar",
        )
    found: int = curve
    return found


async def _require_registrar(chain: BlockReader, registrar: bytes) -> None:
    avs = chain.config.avs
    named = f"check AVS registrar {to_hex(registrar)} of {to_hex(avs)}"
    hint = "let the AVS set its registrar, or correct the AVS address"
    (code,) = await chain.batch([code_request(registrar)])
    if not any(registrar) or not parse_bytes(code, "code of the AVS registrar"):
        raise ChainError(f"{named}: the AVS has set no registrar contract", hint=hint)
    try:
        (answer,) = await chain.batch([call_request(registrar, abi.SUPPORTS_AVS.encode(avs), "latest")])
        (supported,) = abi.SUPPORTS_AVS.decode(parse_bytes(answer, "answer of supportsAVS"))
    except RpcRefusedError:
        supported = False
    if not supported:
        raise ChainError(f"{named}: it does not support this AVS", hint=hint)


def _set_name(config: ChainConfig) -> str:
    return f"{config.operator_set_id} of AVS {to_hex(config.avs)}"
