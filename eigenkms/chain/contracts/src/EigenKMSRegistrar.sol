// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IAVSRegistrar, IKeyRegistrar, OperatorSet, keyOf} from "./Types.sol";

/// The AVS's own door: an operator comes in if the owner has put it on the set's list and its key is registered. Its
/// socket is one for each operator, whatever sets it is in, and stays when it leaves.
contract EigenKMSRegistrar is IAVSRegistrar {
    struct AvsConfig {
        uint32 operatorSetId;
        string platformRpcUrl;
    }

    address public immutable avs;
    address public immutable owner;
    address public immutable allocationManager;
    IKeyRegistrar public immutable keyRegistrar;

    AvsConfig private config;
    mapping(address operator => string) public getOperatorSocket;
    mapping(bytes32 set => address[]) private allowed;
    mapping(bytes32 set => mapping(address operator => uint256)) private place; // index in allowed, plus one

    event AvsConfigSet(uint32 operatorSetId, string platformRpcUrl);
    event OperatorAddedToAllowlist(OperatorSet indexed operatorSet, address indexed operator);
    event OperatorDeregistered(address indexed operator, uint32[] operatorSetIds);
    event OperatorRegistered(address indexed operator, uint32[] operatorSetIds);
    event OperatorRemovedFromAllowlist(OperatorSet indexed operatorSet, address indexed operator);
    event OperatorSocketSet(address indexed operator, string socket);

    error InvalidPermissions();
    error KeyNotRegistered();
    error NotAllocationManager();
    error OperatorAlreadyInAllowlist();
    error OperatorNotAllowed(address operator, uint32 operatorSetId);
    error OperatorNotInAllowlist();

    modifier onlyAccount(address account) {
        if (msg.sender != account) revert InvalidPermissions();
        _;
    }

    modifier onlyAllocationManager() {
        if (msg.sender != allocationManager) revert NotAllocationManager();
        _;
    }

    constructor(
        address allocationManager_,
        IKeyRegistrar keyRegistrar_,
        address avs_,
        address owner_,
        AvsConfig memory config_
    ) {
        allocationManager = allocationManager_;
        keyRegistrar = keyRegistrar_;
        avs = avs_;
        owner = owner_;
        writeConfig(config_);
    }

    function supportsAVS(address avs_) external view returns (bool) {
        return avs_ == avs;
    }

    function registerOperator(address operator, address avs_, uint32[] calldata operatorSetIds, bytes calldata data)
        external
        onlyAllocationManager
    {
        for (uint256 i = 0; i < operatorSetIds.length; i++) {
            OperatorSet memory operatorSet = OperatorSet(avs_, operatorSetIds[i]);
            if (!isOperatorAllowed(operatorSet, operator)) revert OperatorNotAllowed(operator, operatorSetIds[i]);
            if (!keyRegistrar.isRegistered(operatorSet, operator)) revert KeyNotRegistered();
        }
        writeSocket(operator, abi.decode(data, (string)));
        emit OperatorRegistered(operator, operatorSetIds);
    }

    function deregisterOperator(address operator, address, uint32[] calldata operatorSetIds)
        external
        onlyAllocationManager
    {
        emit OperatorDeregistered(operator, operatorSetIds);
    }

    function updateSocket(address operator, string memory socket) external onlyAccount(operator) {
        writeSocket(operator, socket);
    }

    function addOperatorToAllowlist(OperatorSet memory operatorSet, address operator) external onlyAccount(owner) {
        bytes32 set = keyOf(operatorSet);
        if (place[set][operator] != 0) revert OperatorAlreadyInAllowlist();
        allowed[set].push(operator);
        place[set][operator] = allowed[set].length;
        emit OperatorAddedToAllowlist(operatorSet, operator);
    }

    function removeOperatorFromAllowlist(OperatorSet memory operatorSet, address operator)
        external
        onlyAccount(owner)
    {
        bytes32 set = keyOf(operatorSet);
        uint256 gap = place[set][operator];
        if (gap == 0) revert OperatorNotInAllowlist();
        address last = allowed[set][allowed[set].length - 1];
        allowed[set][gap - 1] = last;
        place[set][last] = gap;
        allowed[set].pop();
        delete place[set][operator];
        emit OperatorRemovedFromAllowlist(operatorSet, operator);
    }

    function isOperatorAllowed(OperatorSet memory operatorSet, address operator) public view returns (bool) {
        return place[keyOf(operatorSet)][operator] != 0;
    }

    function getAllowedOperators(OperatorSet memory operatorSet) external view returns (address[] memory) {
        return allowed[keyOf(operatorSet)];
    }

    function getAvsConfig() external view returns (AvsConfig memory) {
        return config;
    }

    function setAvsConfig(AvsConfig memory config_) external onlyAccount(owner) {
        writeConfig(config_);
    }

    function writeSocket(address operator, string memory socket) private {
        getOperatorSocket[operator] = socket;
        emit OperatorSocketSet(operator, socket);
    }

    function writeConfig(AvsConfig memory config_) private {
        config = config_;
        emit AvsConfigSet(config_.operatorSetId, config_.platformRpcUrl);
    }
}
