// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BN254} from "./BN254.sol";
import {ISlashability, OperatorSet, keyOf} from "./Types.sol";

/// The signing keys of operators, one for each operator set, each registered with a proof of possession. A key that was
/// once registered, by anyone for any set, can never be registered again.
contract KeyRegistrar {
    using BN254 for BN254.G1Point;

    uint8 private constant NONE = 0;
    uint8 private constant ECDSA = 1;
    uint8 private constant CURVE_BN254 = 2;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 public constant ECDSA_KEY_REGISTRATION_TYPEHASH =
        keccak256("ECDSAKeyRegistration(address operator,address avs,uint32 operatorSetId,address keyAddress)");
    bytes32 public constant BN254_KEY_REGISTRATION_TYPEHASH =
        keccak256("BN254KeyRegistration(address operator,address avs,uint32 operatorSetId,bytes keyData)");

    /// secp256k1's order, halved: the largest s of a signature that is not malleable.
    uint256 private constant HALF_N = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    ISlashability public immutable allocationManager;

    mapping(bytes32 set => uint8) private curveTypes;
    mapping(bytes32 set => mapping(address operator => bytes)) private keys;
    mapping(bytes32 set => mapping(bytes32 keyHash => address)) private owners;
    mapping(bytes32 keyHash => bool) public isKeyGloballyRegistered;

    event OperatorSetConfigured(OperatorSet operatorSet, uint8 curveType);
    event KeyRegistered(OperatorSet operatorSet, address indexed operator, uint8 curveType, bytes pubkey);
    event KeyDeregistered(OperatorSet operatorSet, address indexed operator, uint8 curveType);

    error ConfigurationAlreadySet();
    error InvalidCurveType();
    error InvalidKeyFormat();
    error InvalidPermissions();
    error InvalidSignature();
    error KeyAlreadyRegistered();
    error KeyNotFound(OperatorSet operatorSet, address operator);
    error OperatorAlreadyRegistered();
    error OperatorSetNotConfigured();
    error OperatorStillSlashable(OperatorSet operatorSet, address operator);
    error ZeroPubkey();

    modifier onlyAccount(address account) {
        if (msg.sender != account) revert InvalidPermissions();
        _;
    }

    constructor(ISlashability allocationManager_) {
        allocationManager = allocationManager_;
    }

    function configureOperatorSet(OperatorSet memory operatorSet, uint8 curveType)
        external
        onlyAccount(operatorSet.avs)
    {
        if (curveType != ECDSA && curveType != CURVE_BN254) revert InvalidCurveType();
        bytes32 set = keyOf(operatorSet);
        if (curveTypes[set] != NONE) revert ConfigurationAlreadySet();
        curveTypes[set] = curveType;
        emit OperatorSetConfigured(operatorSet, curveType);
    }

    function registerKey(
        address operator,
        OperatorSet memory operatorSet,
        bytes calldata pubkey,
        bytes calldata signature
    ) external onlyAccount(operator) {
        bytes32 set = keyOf(operatorSet);
        uint8 curveType = curveTypes[set];
        if (curveType == NONE) revert OperatorSetNotConfigured();
        if (keys[set][operator].length != 0) revert OperatorAlreadyRegistered();
        if (curveType == ECDSA) checkECDSA(operator, operatorSet, pubkey, signature);
        else checkBN254(operator, operatorSet, pubkey, signature);
        bytes32 keyHash = hashOf(curveType, pubkey);
        if (isKeyGloballyRegistered[keyHash]) revert KeyAlreadyRegistered();
        isKeyGloballyRegistered[keyHash] = true;
        keys[set][operator] = pubkey;
        owners[set][keyHash] = operator;
        emit KeyRegistered(operatorSet, operator, curveType, pubkey);
    }

    function deregisterKey(address operator, OperatorSet memory operatorSet) external onlyAccount(operator) {
        if (allocationManager.isOperatorSlashable(operator, operatorSet)) {
            revert OperatorStillSlashable(operatorSet, operator);
        }
        bytes32 set = keyOf(operatorSet);
        uint8 curveType = curveTypes[set];
        if (curveType == NONE) revert OperatorSetNotConfigured();
        bytes memory key = keys[set][operator];
        if (key.length == 0) revert KeyNotFound(operatorSet, operator);
        delete owners[set][hashOf(curveType, key)];
        delete keys[set][operator];
        emit KeyDeregistered(operatorSet, operator, curveType);
    }

    function getOperatorSetCurveType(OperatorSet memory operatorSet) external view returns (uint8) {
        return curveTypes[keyOf(operatorSet)];
    }

    function isRegistered(OperatorSet memory operatorSet, address operator) external view returns (bool) {
        return keys[keyOf(operatorSet)][operator].length != 0;
    }

    /// All zero for an operator without a key.
    function getBN254Key(OperatorSet memory operatorSet, address operator)
        external
        view
        returns (BN254.G1Point memory g1Point, BN254.G2Point memory g2Point)
    {
        bytes32 set = keyOf(operatorSet);
        if (curveTypes[set] != CURVE_BN254) revert InvalidCurveType();
        bytes memory key = keys[set][operator];
        if (key.length != 0) (g1Point, g2Point) = abi.decode(key, (BN254.G1Point, BN254.G2Point));
    }

    function getECDSAKey(OperatorSet memory operatorSet, address operator) public view returns (bytes memory) {
        bytes32 set = keyOf(operatorSet);
        if (curveTypes[set] != ECDSA) revert InvalidCurveType();
        return keys[set][operator];
    }

    function getECDSAAddress(OperatorSet memory operatorSet, address operator) external view returns (address) {
        return address(bytes20(getECDSAKey(operatorSet, operator)));
    }

    /// Zero for an operator without a key.
    function getKeyHash(OperatorSet memory operatorSet, address operator) external view returns (bytes32) {
        bytes32 set = keyOf(operatorSet);
        bytes memory key = keys[set][operator];
        return key.length == 0 ? bytes32(0) : hashOf(curveTypes[set], key);
    }

    function getOperatorFromSigningKey(OperatorSet memory operatorSet, bytes memory keyData)
        external
        view
        returns (address, bool)
    {
        bytes32 set = keyOf(operatorSet);
        address operator = owners[set][hashOf(curveTypes[set], keyData)];
        return (operator, operator != address(0));
    }

    function getECDSAKeyRegistrationMessageHash(address operator, OperatorSet memory operatorSet, address keyAddress)
        public
        view
        returns (bytes32)
    {
        return typedDataHash(
            keccak256(
                abi.encode(ECDSA_KEY_REGISTRATION_TYPEHASH, operator, operatorSet.avs, operatorSet.id, keyAddress)
            )
        );
    }

    function getBN254KeyRegistrationMessageHash(
        address operator,
        OperatorSet memory operatorSet,
        bytes calldata keyData
    ) public view returns (bytes32) {
        return typedDataHash(
            keccak256(
                abi.encode(
                    BN254_KEY_REGISTRATION_TYPEHASH, operator, operatorSet.avs, operatorSet.id, keccak256(keyData)
                )
            )
        );
    }

    function encodeBN254KeyData(BN254.G1Point memory g1Point, BN254.G2Point memory g2Point)
        external
        pure
        returns (bytes memory)
    {
        return abi.encode(g1Point, g2Point);
    }

    /// The EIP-712 domain. Its version is the first character of version() alone.
    function domainSeparator() public view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("EigenLayer"), keccak256("1"), block.chainid, address(this))
        );
    }

    function version() external pure returns (string memory) {
        return "1.0.0";
    }

    function typedDataHash(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    /// ECDSA: the 20 bytes of the address. BN254: the G1 point alone, the first 64 bytes of the key data.
    function hashOf(uint8 curveType, bytes memory key) private pure returns (bytes32) {
        if (curveType == ECDSA) return keccak256(key);
        (uint256 x, uint256 y) = abi.decode(key, (uint256, uint256));
        return keccak256(abi.encode(x, y));
    }

    function checkECDSA(
        address operator,
        OperatorSet memory operatorSet,
        bytes calldata pubkey,
        bytes calldata signature
    ) private view {
        if (pubkey.length != 20) revert InvalidKeyFormat();
        address keyAddress = address(bytes20(pubkey));
        if (keyAddress == address(0)) revert ZeroPubkey();
        if (signature.length != 65) revert InvalidSignature();
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        if (uint256(s) > HALF_N) revert InvalidSignature();
        bytes32 digest = getECDSAKeyRegistrationMessageHash(operator, operatorSet, keyAddress);
        if (ecrecover(digest, uint8(signature[64]), r, s) != keyAddress) revert InvalidSignature();
    }

    /// With γ from everything that is claimed, e(sig + γ·PK1, −G2) · e(H + γ·G1, PK2) = 1 holds only if the signature
    /// is PK2's and PK1 is the same key in G1.
    function checkBN254(
        address operator,
        OperatorSet memory operatorSet,
        bytes calldata keyData,
        bytes calldata signature
    ) private view {
        if (keyData.length != 192) revert InvalidKeyFormat();
        (BN254.G1Point memory pk1, BN254.G2Point memory pk2) = abi.decode(keyData, (BN254.G1Point, BN254.G2Point));
        if (pk1.X == 0 && pk1.Y == 0) revert ZeroPubkey();
        if (signature.length != 64) revert InvalidSignature();
        BN254.G1Point memory sig = abi.decode(signature, (BN254.G1Point));
        bytes32 digest = getBN254KeyRegistrationMessageHash(operator, operatorSet, keyData);
        uint256 gamma = uint256(keccak256(abi.encodePacked(digest, keyData, signature))) % BN254.R;
        bool valid = BN254.pairingProductIsOne(
            sig.add(pk1.mul(gamma)),
            BN254.negatedGeneratorG2(),
            BN254.hashToG1(digest).add(BN254.generatorG1().mul(gamma)),
            pk2
        );
        if (!valid) revert InvalidSignature();
    }
}
