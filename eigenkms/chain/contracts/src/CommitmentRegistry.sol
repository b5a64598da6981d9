// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What the operators of one cluster say of each key version, on whatever chain: for each version (epoch) and operator the hash
/// of the version's transcript, and a root that binds what a client needs of it. Written once, never changed, by members only. A
/// witness: nothing depends on it.
///
/// The chain it stands on knows no operator set, so the owner keeps the list of members. The owner can keep an operator from
/// writing, or let a stranger in, whom readers do not count; it cannot write for an operator, nor change what was written.
///
/// Honest operators write one hash for an epoch, since at most one transcript of it is certified. So an equivocation is: two
/// operators, one epoch, two commitment hashes. Nothing else counts, in particular no difference of roots. It does not say
/// which of the two is wrong; the certificate of the version does.
contract CommitmentRegistry {
    struct Commitment {
        bytes32 commitmentHash;
        bytes32 ackMerkleRoot;
        uint256 submittedAt; // block number
    }

    address public immutable owner;
    uint256 public immutable chainId; // of the chain that has the operator set
    address public immutable avs;
    uint32 public immutable operatorSetId;

    mapping(address operator => bool) public isMember;
    mapping(uint64 epoch => bool) public equivocationProven;
    mapping(uint64 epoch => mapping(address operator => Commitment)) private written;
    uint256 public submissions;

    event CommitmentSubmitted(
        uint64 indexed epoch, address indexed operator, bytes32 commitmentHash, bytes32 ackMerkleRoot
    );
    event EquivocationProven(uint64 indexed epoch, address one, address other);
    event MemberSet(address indexed operator, bool isMember);

    error CommitmentAlreadySubmitted();
    error InvalidCommitmentHash();
    error InvalidMerkleRoot();
    error NoCommitment();
    error NoEquivocationDetected();
    error NotMember();
    error NotOwner();

    constructor(address owner_, uint256 chainId_, address avs_, uint32 operatorSetId_) {
        owner = owner_;
        chainId = chainId_;
        avs = avs_;
        operatorSetId = operatorSetId_;
    }

    function setMember(address operator, bool member) external {
        if (msg.sender != owner) revert NotOwner();
        isMember[operator] = member;
        emit MemberSet(operator, member);
    }

    function submitCommitment(uint64 epoch, bytes32 commitmentHash, bytes32 ackMerkleRoot) external {
        if (!isMember[msg.sender]) revert NotMember();
        if (commitmentHash == 0) revert InvalidCommitmentHash();
        if (ackMerkleRoot == 0) revert InvalidMerkleRoot();
        if (written[epoch][msg.sender].submittedAt != 0) revert CommitmentAlreadySubmitted();
        written[epoch][msg.sender] = Commitment(commitmentHash, ackMerkleRoot, block.number);
        submissions++;
        emit CommitmentSubmitted(epoch, msg.sender, commitmentHash, ackMerkleRoot);
    }

    function getCommitment(uint64 epoch, address operator)
        external
        view
        returns (bytes32 commitmentHash, bytes32 ackMerkleRoot, uint256 submittedAt)
    {
        Commitment storage found = written[epoch][operator];
        return (found.commitmentHash, found.ackMerkleRoot, found.submittedAt);
    }

    /// Anyone may show it; what is in storage is the proof, each entry signed by its operator's transaction.
    function proveEquivocation(uint64 epoch, address one, address other) external {
        bytes32 hashOne = written[epoch][one].commitmentHash;
        bytes32 hashOther = written[epoch][other].commitmentHash;
        if (hashOne == 0 || hashOther == 0) revert NoCommitment();
        if (hashOne == hashOther) revert NoEquivocationDetected();
        equivocationProven[epoch] = true;
        emit EquivocationProven(epoch, one, other);
    }
}
