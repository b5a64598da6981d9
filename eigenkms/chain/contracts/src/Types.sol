// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// An operator set: the AVS that owns it and its number under that AVS.
struct OperatorSet {
    address avs;
    uint32 id;
}

/// What the allocation manager asks of the contract that an AVS has put at its door.
interface IAVSRegistrar {
    function supportsAVS(address avs) external view returns (bool);
    function registerOperator(address operator, address avs, uint32[] calldata operatorSetIds, bytes calldata data)
        external;
    function deregisterOperator(address operator, address avs, uint32[] calldata operatorSetIds) external;
}

interface IDelegationManager {
    function isOperator(address operator) external view returns (bool);
}

interface ISlashability {
    function isOperatorSlashable(address operator, OperatorSet memory operatorSet) external view returns (bool);
}

interface IKeyRegistrar {
    function isRegistered(OperatorSet memory operatorSet, address operator) external view returns (bool);
}

/// A storage key for an operator set.
function keyOf(OperatorSet memory operatorSet) pure returns (bytes32) {
    return keccak256(abi.encode(operatorSet.avs, operatorSet.id));
}
