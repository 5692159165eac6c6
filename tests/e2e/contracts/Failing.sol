// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Fails in every way a contract can.
contract Failing {
    /// Slot 0, for eth_getStorageAt.
    uint256 public stored = 42;

    error Denied(address caller, uint256 wanted);

    function withReason() external {
        stored = 1;
        revert("not today");
    }

    function withoutReason() external {
        stored = 2;
        revert();
    }

    function withError(uint256 wanted) external {
        stored = 3;
        revert Denied(msg.sender, wanted);
    }

    function withPanic(uint256 divisor) external returns (uint256) {
        stored = 4;
        return 1 / divisor;
    }

    function withEndlessLoop() external {
        while (true) stored++;
    }
}
