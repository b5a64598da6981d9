// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Who is an operator. Delegation itself, and stake, are no part of a development chain.
contract DelegationManager {
    mapping(address => bool) public isOperator;

    event OperatorRegistered(address indexed operator, address delegationApprover);

    error ActivelyDelegated();

    function registerAsOperator(address initDelegationApprover, uint32, string calldata) external {
        if (isOperator[msg.sender]) revert ActivelyDelegated();
        isOperator[msg.sender] = true;
        emit OperatorRegistered(msg.sender, initDelegationApprover);
    }
}
