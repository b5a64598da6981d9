// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IAVSRegistrar, IDelegationManager, OperatorSet, keyOf} from "./Types.sol";

/// Operator sets and who is in them. The order of the members, of the checks and of the events is the one that
/// programs meet on the public chains: removal swaps the last member into the gap, and one who left stays slashable,
/// and may not come back, for DEALLOCATION_DELAY blocks. An account may act for itself alone.
contract AllocationManager {
    struct CreateSetParams {
        uint32 operatorSetId;
        address[] strategies;
    }

    struct RegisterParams {
        address avs;
        uint32[] operatorSetIds;
        bytes data;
    }

    struct DeregisterParams {
        address operator;
        address avs;
        uint32[] operatorSetIds;
    }

    IDelegationManager public immutable delegation;
    uint32 public immutable DEALLOCATION_DELAY;

    mapping(address avs => bool) private described;
    mapping(address avs => address) private registrars;
    mapping(address avs => uint256) public getOperatorSetCount;
    mapping(bytes32 set => bool) private created;
    mapping(bytes32 set => address[]) private members;
    mapping(bytes32 set => mapping(address operator => uint256)) private place; // index in members, plus one
    mapping(bytes32 set => mapping(address operator => uint256)) private slashableUntil;

    event AVSMetadataURIUpdated(address indexed avs, string metadataURI);
    event AVSRegistrarSet(address avs, address registrar);
    event OperatorSetCreated(OperatorSet operatorSet);
    event OperatorAddedToOperatorSet(address indexed operator, OperatorSet operatorSet);
    event OperatorRemovedFromOperatorSet(address indexed operator, OperatorSet operatorSet);

    error AlreadyMemberOfSet();
    error InvalidAVSRegistrar();
    error InvalidCaller();
    error InvalidOperator();
    error InvalidOperatorSet();
    error InvalidPermissions();
    error NonexistentAVSMetadata();
    error NotMemberOfSet();

    modifier onlyAccount(address account) {
        if (msg.sender != account) revert InvalidPermissions();
        _;
    }

    constructor(IDelegationManager delegation_, uint32 deallocationDelay) {
        delegation = delegation_;
        DEALLOCATION_DELAY = deallocationDelay;
    }

    function updateAVSMetadataURI(address avs, string calldata metadataURI) external onlyAccount(avs) {
        described[avs] = true;
        emit AVSMetadataURIUpdated(avs, metadataURI);
    }

    function setAVSRegistrar(address avs, address registrar) external onlyAccount(avs) {
        if (!described[avs]) revert NonexistentAVSMetadata();
        if (!IAVSRegistrar(registrar).supportsAVS(avs)) revert InvalidAVSRegistrar();
        registrars[avs] = registrar;
        emit AVSRegistrarSet(avs, registrar);
    }

    function createOperatorSets(address avs, CreateSetParams[] calldata params) external onlyAccount(avs) {
        if (!described[avs]) revert NonexistentAVSMetadata();
        for (uint256 i = 0; i < params.length; i++) {
            OperatorSet memory operatorSet = OperatorSet(avs, params[i].operatorSetId);
            bytes32 set = keyOf(operatorSet);
            if (created[set]) revert InvalidOperatorSet();
            created[set] = true;
            getOperatorSetCount[avs]++;
            emit OperatorSetCreated(operatorSet);
        }
    }

    function registerForOperatorSets(address operator, RegisterParams calldata params) external onlyAccount(operator) {
        if (!delegation.isOperator(operator)) revert InvalidOperator();
        for (uint256 i = 0; i < params.operatorSetIds.length; i++) {
            OperatorSet memory operatorSet = OperatorSet(params.avs, params.operatorSetIds[i]);
            bytes32 set = keyOf(operatorSet);
            if (!created[set]) revert InvalidOperatorSet();
            if (slashable(set, operator)) revert AlreadyMemberOfSet();
            members[set].push(operator);
            place[set][operator] = members[set].length;
            emit OperatorAddedToOperatorSet(operator, operatorSet);
        }
        IAVSRegistrar(getAVSRegistrar(params.avs)).registerOperator(
            operator, params.avs, params.operatorSetIds, params.data
        );
    }

    function deregisterFromOperatorSets(DeregisterParams calldata params) external {
        if (msg.sender != params.operator && msg.sender != params.avs) revert InvalidCaller();
        for (uint256 i = 0; i < params.operatorSetIds.length; i++) {
            OperatorSet memory operatorSet = OperatorSet(params.avs, params.operatorSetIds[i]);
            bytes32 set = keyOf(operatorSet);
            if (!created[set]) revert InvalidOperatorSet();
            if (place[set][params.operator] == 0) revert NotMemberOfSet();
            swapAndPop(set, params.operator);
            slashableUntil[set][params.operator] = block.number + DEALLOCATION_DELAY;
            emit OperatorRemovedFromOperatorSet(params.operator, operatorSet);
        }
        IAVSRegistrar(getAVSRegistrar(params.avs)).deregisterOperator(
            params.operator, params.avs, params.operatorSetIds
        );
    }

    function getMembers(OperatorSet memory operatorSet) external view returns (address[] memory) {
        return members[keyOf(operatorSet)];
    }

    function getMemberCount(OperatorSet memory operatorSet) external view returns (uint256) {
        return members[keyOf(operatorSet)].length;
    }

    function isMemberOfOperatorSet(address operator, OperatorSet memory operatorSet) external view returns (bool) {
        return place[keyOf(operatorSet)][operator] != 0;
    }

    function isOperatorSet(OperatorSet memory operatorSet) external view returns (bool) {
        return created[keyOf(operatorSet)];
    }

    function isOperatorSlashable(address operator, OperatorSet memory operatorSet) external view returns (bool) {
        return slashable(keyOf(operatorSet), operator);
    }

    /// An AVS that has set no registrar is its own.
    function getAVSRegistrar(address avs) public view returns (address) {
        address registrar = registrars[avs];
        return registrar == address(0) ? avs : registrar;
    }

    function slashable(bytes32 set, address operator) private view returns (bool) {
        return place[set][operator] != 0 || block.number <= slashableUntil[set][operator];
    }

    function swapAndPop(bytes32 set, address operator) private {
        address[] storage list = members[set];
        uint256 gap = place[set][operator];
        address last = list[list.length - 1];
        list[gap - 1] = last;
        place[set][last] = gap;
        list.pop();
        delete place[set][operator];
    }
}
