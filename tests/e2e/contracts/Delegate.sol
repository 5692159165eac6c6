// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Code that an externally owned account borrows (EIP-7702).
contract Delegate {
    uint256 public noted;

    event Noted(address indexed account, uint256 value);

    function note(uint256 value) external {
        noted = value;
        emit Noted(address(this), value);
    }
}
