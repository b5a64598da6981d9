// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What an application's address belongs to, so that nobody else can have it.
contract App {
    address public immutable controller = msg.sender;
}

/// Applications: who made them, whether they run, and the release that they are to run.
///
/// The first release of an application counts at once; a later one is pending until the coordinator confirms it. The
/// contract keeps the number of the block in which a release was published; the release itself is in the log of that
/// block. So there is at most one release of an application in a block: which one was confirmed must be clear.
contract AppController {
    enum AppStatus {
        NONE,
        STARTED,
        STOPPED,
        TERMINATED,
        SUSPENDED,
        CREATED
    }

    struct Artifact {
        bytes32 digest;
        string registry;
    }

    struct RmsRelease {
        Artifact[] artifacts;
        uint32 upgradeByTime;
    }

    struct EnvironmentVariable {
        string key;
        string value;
    }

    struct ContainerPolicy {
        string[] args;
        string[] cmdOverride;
        EnvironmentVariable[] env;
        EnvironmentVariable[] envOverride;
        string restartPolicy;
    }

    struct Release {
        RmsRelease rmsRelease;
        bytes publicEnv;
        bytes encryptedEnv;
        ContainerPolicy containerPolicy;
    }

    struct Record {
        address creator;
        uint32 operatorSetId;
        uint32 latestReleaseBlockNumber;
        uint32 pendingReleaseBlockNumber;
        uint32 lastPublishedBlockNumber;
        AppStatus status;
    }

    address public immutable coordinator;

    mapping(address app => Record) private records;
    uint32 private applications;
    uint256 private releases;

    event AppCreated(address indexed creator, address indexed app, uint32 operatorSetId);
    event AppResumed(address indexed app);
    event AppStarted(address indexed app);
    event AppStopped(address indexed app);
    event AppSuspended(address indexed app);
    event AppTerminated(address indexed app);
    event AppUpgraded(address indexed app, uint256 rmsReleaseId, Release release);
    event UpgradeConfirmed(address indexed app, uint32 pendingReleaseBlockNumber);

    error AppAlreadyExists();
    error InvalidAppStatus(AppStatus status);
    error NoConfirmedRelease();
    error NoPendingUpgrade();
    error NotAppCreator();
    error NotCoordinator();
    error ReleaseInSameBlock();

    modifier onlyCreator(address app) {
        if (records[app].creator != msg.sender) revert NotAppCreator();
        _;
    }

    modifier onlyCoordinator() {
        if (msg.sender != coordinator) revert NotCoordinator();
        _;
    }

    constructor(address coordinator_) {
        coordinator = coordinator_;
    }

    function calculateAppId(address creator, bytes32 salt) public view returns (address) {
        bytes32 code = keccak256(type(App).creationCode);
        bytes32 hashed = keccak256(abi.encodePacked(bytes1(0xff), address(this), saltOf(creator, salt), code));
        return address(uint160(uint256(hashed)));
    }

    function createApp(bytes32 salt, Release calldata release) external returns (address app) {
        app = make(salt, AppStatus.STARTED);
        publish(app, release);
        records[app].latestReleaseBlockNumber = uint32(block.number);
    }

    function createEmptyApp(bytes32 salt) external returns (address app) {
        app = make(salt, AppStatus.CREATED);
    }

    function upgradeApp(address app, Release calldata release) external onlyCreator(app) {
        requireUsable(app);
        publish(app, release);
        records[app].pendingReleaseBlockNumber = uint32(block.number);
    }

    function confirmUpgrade(address app) external onlyCoordinator {
        requireUsable(app);
        uint32 pending = records[app].pendingReleaseBlockNumber;
        if (pending == 0) revert NoPendingUpgrade();
        records[app].latestReleaseBlockNumber = pending;
        records[app].pendingReleaseBlockNumber = 0;
        emit UpgradeConfirmed(app, pending);
    }

    function startApp(address app) external onlyCreator(app) {
        AppStatus status = records[app].status;
        if (status != AppStatus.STOPPED && status != AppStatus.CREATED) revert InvalidAppStatus(status);
        if (records[app].latestReleaseBlockNumber == 0) revert NoConfirmedRelease();
        records[app].status = AppStatus.STARTED;
        emit AppStarted(app);
    }

    function stopApp(address app) external onlyCreator(app) {
        change(app, AppStatus.STARTED, AppStatus.STOPPED);
        emit AppStopped(app);
    }

    function terminateApp(address app) external onlyCreator(app) {
        AppStatus status = records[app].status;
        if (status == AppStatus.TERMINATED) revert InvalidAppStatus(status);
        records[app].status = AppStatus.TERMINATED;
        emit AppTerminated(app);
    }

    function suspendApp(address app) external onlyCoordinator {
        change(app, AppStatus.STARTED, AppStatus.SUSPENDED);
        emit AppSuspended(app);
    }

    /// The end of a suspension; starting again is up to the creator.
    function resumeApp(address app) external onlyCoordinator {
        change(app, AppStatus.SUSPENDED, AppStatus.STOPPED);
        emit AppResumed(app);
    }

    function getAppCreator(address app) external view returns (address) {
        return records[app].creator;
    }

    function getAppStatus(address app) external view returns (AppStatus) {
        return records[app].status;
    }

    function getAppOperatorSetId(address app) external view returns (uint32) {
        return records[app].operatorSetId;
    }

    function getAppLatestReleaseBlockNumber(address app) external view returns (uint32) {
        return records[app].latestReleaseBlockNumber;
    }

    function getAppPendingReleaseBlockNumber(address app) external view returns (uint32) {
        return records[app].pendingReleaseBlockNumber;
    }

    function make(bytes32 salt, AppStatus status) private returns (address app) {
        if (records[calculateAppId(msg.sender, salt)].status != AppStatus.NONE) revert AppAlreadyExists();
        app = address(new App{salt: saltOf(msg.sender, salt)}());
        records[app].creator = msg.sender;
        records[app].operatorSetId = ++applications;
        records[app].status = status;
        emit AppCreated(msg.sender, app, applications);
    }

    function publish(address app, Release calldata release) private {
        if (records[app].lastPublishedBlockNumber == block.number) revert ReleaseInSameBlock();
        records[app].lastPublishedBlockNumber = uint32(block.number);
        emit AppUpgraded(app, releases++, release);
    }

    function change(address app, AppStatus from, AppStatus to) private {
        AppStatus status = records[app].status;
        if (status != from) revert InvalidAppStatus(status);
        records[app].status = to;
    }

    function requireUsable(address app) private view {
        AppStatus status = records[app].status;
        bool usable = status == AppStatus.STARTED || status == AppStatus.STOPPED || status == AppStatus.CREATED;
        if (!usable) revert InvalidAppStatus(status);
    }

    function saltOf(address creator, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(creator, salt));
    }
}
